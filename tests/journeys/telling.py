"""A page of documentation, done by people at their computers, with servers that a provider has just handed over."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import attrs

from tests.journeys.person import Person, open_person
from tests.journeys.story import Block
from tests.system.bare import open_bare_machine, open_internet
from tests.system.lab.network import Lab, open_lab
from tests.system.machines import Machine

DESKS: Final = {"laptop": "helm", "device": "clienta"}
"""Where in the lab somebody types: the laptop is behind a NAT."""
README, TUTORIAL = "README.md", "docs/guide/tutorial.md"
SERVERS: Final = {README: ("buoya",), TUTORIAL: ("buoya", "beacon")}
"""Which servers a page speaks of; its addresses are theirs in the lab."""
# What is asked, and what the pages tell to answer.
ANSWERS: Final = {"Make a personal fleet": "y", "Is it the same?": "yes", "Take back what was done": "n"}
_LINK: Final = re.compile(r"pharosvpn://(enroll)\?\S+")
# All that keeps running says where it listens.
_LISTENS: Final = "://127.0.0.1"
_MAKE_KEY: Final = "mkdir -m 0700 ~/.ssh && ssh-keygen -q -t ed25519 -N '' -f ~/.ssh/id_ed25519 && cat ~/.ssh/*.pub"


@attrs.frozen
class Told:
    """A block that was typed."""

    block: Block
    seconds: float
    shown: str


@attrs.define
class Telling:
    """The people and servers of a story, and what was typed so far; ``open_telling`` makes it."""

    lab: Lab
    people: dict[str, Person]
    servers: dict[str, Machine]
    """By their places in the lab."""
    told: list[Told] = attrs.field(factory=list)
    _blanks: dict[str, str] = attrs.field(factory=dict)

    async def tell(self, story: Sequence[Block]) -> None:
        """Type a story to its end.

        Raises: CommandError — a command failed. ProcessEndedError — what should go on has ended.
        """
        for number, block in enumerate(story):
            begun = time.monotonic()
            text, person = block.filled(**self._blanks), self.people[block.who]
            if block.stays:
                name = f"{block.who}-{number}"
                log = (await person.leave_running(text, name, until=_LISTENS)).log
                shown = log.read_text()
            else:
                shown = await person.type(text, ANSWERS)
            self._blanks |= {found[1]: found[0] for found in _LINK.finditer(shown)}
            self.told.append(Told(block, time.monotonic() - begun, shown))
            self.lab.check()

    def seconds(self, part: str = "") -> float:
        """Return how long the blocks took that have this in them."""
        return sum(each.seconds for each in self.told if part in each.block.text)

    def shown(self, part: str) -> str:
        """Return what was shown by the blocks that have this in them."""
        return "".join(each.shown for each in self.told if part in each.block.text)


@asynccontextmanager
async def open_telling(
    folder: Path, release: str, servers: Sequence[str], *, debs: Path | None = None
) -> AsyncIterator[Telling]:
    """Have the people of a story and its servers, which let in the laptop's SSH key.

    ``debs`` has the packages that the laptop built before the story begins.
    """
    async with AsyncExitStack() as stack:
        lab = await stack.enter_async_context(open_lab(folder))
        await stack.enter_async_context(open_internet(lab, release))
        people = {who: await stack.enter_async_context(open_person(lab, host)) for who, host in DESKS.items()}
        key = await people["laptop"].run("sh", "-euc", _MAKE_KEY)
        if debs is not None:
            await people["laptop"].run("sh", "-euc", 'mkdir -p dist && cp "$0"/*.deb dist', str(debs))
        machines = {}
        for host in servers:
            machines[host] = await stack.enter_async_context(open_bare_machine(lab, host, release, key=key))
        yield Telling(lab, people, machines)
