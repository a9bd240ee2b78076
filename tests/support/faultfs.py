"""The n-th write point of a process fails: by an error, by death, or by death with half of the writes lost.

`FaultFS` counts what changes files: our own calls (``os.open`` for writing, ``os.write``, ``os.fsync``, ``os.rename``
and their kin) and SQLite's. A `Rehearsal` is a process that forks a child per attempt, so that each n costs
milliseconds and not a start of Python. What children do is in `tests.support.faultwork`. A child may also note all that
it writes (`tests.support.disklog`), from which `tests.support.diskimage` makes the disk of any crash without a child.
"""

from __future__ import annotations

import enum
import errno
import json
import os
import pickle
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Final, Self

import attrs

import pharos
from tests.support.disklog import DiskLog, Step, write_plainly
from tests.support.faultvfs import FaultVfs

_CALLS: Final = (
    *("write", "pwrite", "fsync", "fdatasync", "ftruncate", "fchmod", "chmod"),
    *("rename", "replace", "unlink", "remove", "link", "symlink", "mkdir", "rmdir"),
)
_OURS: Final = str(Path(pharos.__file__).parent)


class Fate(enum.Enum):
    """What happens at the n-th write point."""

    KILL = "kill"
    """The process is killed before it."""
    TEAR = "tear"
    """The process is killed in the middle of it."""
    POWER = "power"
    """The machine loses its power: any of SQLite's writes that were not synced are gone."""
    EIO = "eio"
    """It fails once; the process lives."""
    FULL = "full"
    """It and the three after it fail for want of room."""


_CODES: Final = {Fate.EIO: (sqlite3.SQLITE_IOERR, errno.EIO, 1), Fate.FULL: (sqlite3.SQLITE_FULL, errno.ENOSPC, 4)}


class FaultFS:
    """Counts the write points of this process, and lets the n-th fail; for good, so use it in a child."""

    def __init__(self) -> None:
        self.points = 0
        self.visited: set[str] = set()
        """Our own functions in which a write point was, as ``wire/files.py write_atomic``."""
        self.log: DiskLog | None = None
        """Where all that is written is noted, if it is."""
        self._at = 0
        self._fate = Fate.KILL
        self._chance = random.Random(0)
        self._vfs = FaultVfs(self._in_sqlite)
        for name in _CALLS:
            setattr(os, name, self._wrapped(getattr(os, name), name))
        os.open = self._wrapped(
            os.open, "open", lambda _path, flags, *_rest, **_more: bool(flags & (os.O_WRONLY | os.O_RDWR))
        )
        write_plainly()

    def note(self, root: Path) -> DiskLog:
        """Note from here on what is changed below ``root``."""
        self.log = DiskLog(root)
        self._vfs.seen = self.log.sqlite
        return self.log

    def fail_at(self, n: int, fate: Fate, *, seed: int = 0) -> None:
        """Count from here, and let ``fate`` come at the n-th write point from now; 0 is never."""
        self.points, self._at, self._fate, self._chance = 0, n, fate, random.Random(seed)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let nothing fail and nothing be noted while the block looks at what is there."""
        before = self.points, self._at, self.log
        self._at, self.log, self._vfs.seen = 0, None, None
        yield
        self.points, self._at, self.log = before
        self._vfs.seen = None if self.log is None else self.log.sqlite

    def _point(self, name: str) -> bool:
        """Count one point; return whether it fails."""
        self.points += 1
        self._visit()
        if not self._at:
            return False
        if self._fate in _CODES:
            return self._at <= self.points < self._at + _CODES[self._fate][2]
        if self.points == self._at + 1 and self._fate is Fate.TEAR:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.points == self._at:
            if self._fate is Fate.POWER:
                self._vfs.cut_power(self._chance)
            if self._fate is Fate.TEAR and name.startswith("write"):
                self._vfs.tear_next()
                return False
            os.kill(os.getpid(), signal.SIGKILL)
        return False

    def _visit(self) -> None:
        frame: FrameType | None = sys._getframe(2)
        while frame is not None:
            code = frame.f_code
            if code.co_filename.startswith(_OURS):
                self.visited.add(f"{code.co_filename[len(_OURS) + 1 :]} {code.co_qualname.replace('.<locals>', '')}")
            frame = frame.f_back

    def _in_sqlite(self, name: str) -> int:
        return _CODES[self._fate][0] if self._point(name) else 0

    def _wrapped(
        self, real: Callable[..., Any], name: str, counts: Callable[..., bool] = lambda *_: True
    ) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if counts(*args) and self._point(f"os.{name}"):
                number = _CODES[self._fate][1]
                raise OSError(number, os.strerror(number))
            log = self.log
            if log is None:
                return real(*args, **kwargs)
            with log.lock:
                result = real(*args, **kwargs)
                log.called(name, result, *args, **kwargs)
            return result

        return call


@attrs.frozen(kw_only=True)
class Attempt:
    """What came of one child."""

    acknowledged: list[list[Any]]
    """What it said was done, in order."""
    finished: bool
    """Whether it came to its end: there were fewer than n write points."""
    points: int
    """How many there were in all; 0 for one that did not finish."""
    code: int
    """As `subprocess` gives it: 0, or -9."""
    visited: list[str]
    """Our functions in which it wrote, if it came to its end."""
    steps: list[Step] = attrs.field(factory=list)
    """What it changed, if that was noted."""


class Rehearsal:
    """A process that has everything imported, and forks a child for each attempt."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.faultwork"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()

    def attempt(
        self,
        work: str,
        state: Path,
        *,
        n: int = 0,
        fate: Fate = Fate.KILL,
        seed: int = 0,
        after: float = 0,
        weak: str = "",
        note: Path | None = None,
    ) -> Attempt:
        """Let a child do ``work`` below ``state``, and meet its fate at write point n, or after so many seconds.

        What it changes below ``note`` is noted, if that is given.
        """
        log = None if note is None else note.parent / "log"
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {
            "work": work,
            "state": str(state),
            "n": n,
            "fate": fate.value,
            "seed": seed,
            "after": after,
            "weak": weak,
            "note": None if note is None else str(note),
            "log": str(log),
        }
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the rehearsal died"
        steps = [] if log is None else pickle.loads(log.read_bytes())
        attempt = Attempt(**json.loads(line), steps=steps)
        assert attempt.code in (0, -signal.SIGKILL), "the child came to an end that was not its fate; see above"
        return attempt


@contextmanager
def rehearsing() -> Iterator[Rehearsal]:
    """Keep one process for many attempts."""
    with Rehearsal() as rehearsal:
        yield rehearsal
