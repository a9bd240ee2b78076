"""What an onboarding leaves on a machine until it is over: packages on their way, and what is to be undone.

A folder of the login user's own, so that nobody else on the machine can put anything there. It is gone when the machine
belongs to the fleet; while it is there, `--undo` knows what was made by us, also when everything was killed meanwhile.
"""

from __future__ import annotations

from typing import Final

import attrs

from pharos.helm.onboard.join.parts import Part
from pharos.helm.onboard.remote import Remote

FOLDER: Final = ".cache/pharos-onboard"
# Relative to the user's home wherever a shell begins; its own mode counts, whatever the umask is.
_OPEN: Final = (
    f"cd && umask 077 && mkdir -p {FOLDER} && chmod 700 {FOLDER} && cd {FOLDER} && pwd && touch made && cat made"
)
_READ: Final = f"cd && cd {FOLDER} 2>/dev/null && pwd && cat made 2>/dev/null || true"
_NOTE: Final = 'cd "$1" && printf "%s\\n" "$2" >> made && sync made'
_REMOVE: Final = 'rm -rf -- "$1"'


@attrs.define
class Traces:
    """Open on one machine."""

    remote: Remote
    folder: str
    """Absolute; empty: there are none."""
    made: set[str]

    def has(self, what: str, part: Part) -> bool:
        """Tell whether this onboarding made a part's ``package``, ``identity``, ``settings`` or ``record``."""
        return f"{what} {part.value}" in self.made

    @property
    def name(self) -> str:
        """What the machine was to be called; empty: nobody has come so far."""
        return next((line.removeprefix("name ") for line in self.made if line.startswith("name ")), "")

    async def note(self, what: str, part: Part) -> None:
        """Write down that something is about to be made."""
        await self._write(f"{what} {part.value}")

    async def note_name(self, name: str) -> None:
        """Write down what the machine is to be called; what an earlier try called it does not count any more."""
        self.made = {line for line in self.made if not line.startswith("name ")}
        await self._write(f"name {name}")

    async def _write(self, line: str) -> None:
        if line not in self.made:
            await self.remote.run("sh", "-c", _NOTE, "sh", self.folder, line)
            self.made.add(line)

    async def remove(self) -> None:
        """It is over."""
        if self.folder:
            await self.remote.run("sh", "-c", _REMOVE, "sh", self.folder)


async def open_traces(remote: Remote) -> Traces:
    """Return those of an earlier try, or begin some."""
    return _traces(remote, await remote.run("sh", "-c", _OPEN))


async def read_traces(remote: Remote) -> Traces:
    """Return those of an earlier try, and change nothing."""
    return _traces(remote, await remote.run("sh", "-c", _READ))


def _traces(remote: Remote, printed: bytes) -> Traces:
    folder, *made = printed.decode(errors="replace").splitlines() or [""]
    names = [line for line in made if line.startswith("name ")][-1:]
    return Traces(remote, folder, {*(line for line in made if line and not line.startswith("name ")), *names})
