"""Which Xray this is, and what it can be asked: its API grew over the years, and answers UNIMPLEMENTED to the rest."""

from __future__ import annotations

import enum
import re
import subprocess
from pathlib import Path
from typing import Final, TypeAlias

import attrs
import trio

from pharos.buoy.dataplane.base import EngineError
from pharos.wire.units import SECONDS
from pharos.wire.world import this_world

Version: TypeAlias = tuple[int, int, int]

PROBE_TIMEOUT: Final = 10 * SECONDS
"""A packed program takes a tenth of a second to start; a machine that swaps, some more."""
OLDEST: Final[Version] = (24, 11, 21)
"""What this driver was written against at first; older ones lack calls that it cannot do without."""
_FIRST_LINE: Final = re.compile(r"Xray (\d{1,4})\.(\d{1,4})\.(\d{1,4})\b")


class Call(enum.Enum):
    """A call that not every version answers, and the first one that does."""

    ONLINE_ADDRESSES = (25, 2, 18)
    """GetStatsOnlineIpList."""


@attrs.define
class Abilities:
    """What one Xray can be asked; a call that it did not know is not tried a second time."""

    version: Version
    _unknown: set[Call] = attrs.field(factory=set, init=False)

    def has(self, call: Call) -> bool:
        first: Version = call.value
        return self.version >= first and call not in self._unknown

    def forget(self, call: Call) -> None:
        """It answered UNIMPLEMENTED."""
        self._unknown.add(call)


def parse_version(text: str) -> Version:
    """Read the output of ``xray version``.

    Raises: EngineError — it is no Xray's, or that of one which is too old.
    """
    found = _FIRST_LINE.match(text)
    if found is None:
        raise EngineError("the program does not say which Xray it is")
    version = (int(found[1]), int(found[2]), int(found[3]))
    if version < OLDEST:
        raise EngineError(f"Xray {spell(version)} is too old: {spell(OLDEST)} is the oldest that can be used")
    return version


def spell(version: Version) -> str:
    return ".".join(map(str, version))


async def probe(program: Path) -> Version:
    """Ask a program which Xray it is.

    Raises: EngineError — it is none, or cannot be run.
    """
    try:
        with trio.fail_after(PROBE_TIMEOUT):
            done = await this_world().run_process(
                [program, "version"], capture_stdout=True, stderr=subprocess.DEVNULL, check=False
            )
    except OSError as error:
        raise EngineError(f"{program} cannot be run: {error.strerror}") from error
    except trio.TooSlowError:
        raise EngineError(f"{program} does not say within {PROBE_TIMEOUT:.0f} s which Xray it is") from None
    return parse_version(done.stdout.decode(errors="replace"))
