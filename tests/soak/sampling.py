"""What the processes of a soak have, read from /proc every few seconds, incarnation by incarnation."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NoReturn

import attrs
import trio

from tests.soak.judge import Life, Sample

INTERVAL: Final = 2.0
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_PROGRAM: Final = "python"


def read(pid: int) -> Sample | None:
    """Return what a process has now; None: it has ended, or is not yet the program it is to be."""
    proc = Path(f"/proc/{pid}")
    try:
        if _PROGRAM not in (proc / "exe").readlink().name:
            return None
        return Sample(
            at=trio.current_time(),
            memory=int((proc / "statm").read_text().split()[1]) * _PAGE,
            descriptors=_count(proc / "fd"),
            threads=_count(proc / "task"),
        )
    except (FileNotFoundError, ProcessLookupError):
        return None


def _count(folder: Path) -> int:
    return sum(1 for _ in folder.iterdir())


@attrs.define
class Sampler:
    """Watches processes by name; a name with another pid is another incarnation."""

    pids: Callable[[], Mapping[str, int]]
    """What runs now."""
    lives: list[Life] = attrs.field(factory=list)
    _current: dict[str, Life] = attrs.field(factory=dict)

    def look(self) -> None:
        """Take one sample of each."""
        for name, pid in self.pids().items():
            if (sample := read(pid)) is None:
                continue
            life = self._current.get(name)
            if life is None or life.pid != pid:
                life = self._current[name] = Life(name=name, pid=pid)
                self.lives.append(life)
            life.samples.append(sample)

    def latest(self) -> dict[str, Sample]:
        """Return the newest sample of each name."""
        return {name: life.samples[-1] for name, life in self._current.items()}

    async def run(self) -> NoReturn:
        """Look until cancelled."""
        while True:
            self.look()
            await trio.sleep(INTERVAL)


def disk(folders: Mapping[str, Path]) -> dict[str, int]:
    """Return how many bytes the databases below each folder take, with what is not yet in them (WAL)."""
    sizes = {}
    for name, folder in folders.items():
        total = 0
        for path in folder.rglob("*.db*"):
            try:
                total += path.stat().st_size
            except FileNotFoundError:
                # A WAL goes with the last connection.
                continue
        sizes[name] = total
    return sizes
