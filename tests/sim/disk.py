"""A machine's disk: real files, of which a loss of power takes away what was not synced.

The files that are there are what programs see, synced or not. Beside them stands what a disk would have: the octets of
each file as of its last fsync, and the names of each directory as of its last. Whatever was there before this machine
first touched it counts as synced.
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import stat
from collections.abc import Callable
from pathlib import Path

import attrs


@attrs.define(eq=False)
class _File:
    """One file, whatever its name."""

    synced: bytes | None
    """None: it was never synced."""


@attrs.define(eq=False)
class _Directory:
    """The names of one directory."""

    now: dict[str, _File]
    synced: dict[str, _File]


class SimDisk:
    """What `SimWorld` does with files."""

    def __init__(self, chance: random.Random) -> None:
        self.full = False
        """Whether nothing more can be written; what is there stays."""
        self.broken = False
        """Whether writing and syncing fail with EIO."""
        self.honest = True
        """Whether a sync is one: a weakened disk says so and does nothing."""
        self.syncs = 0
        self._chance = chance
        self._directories: dict[Path, _Directory] = {}
        self._open: dict[int, tuple[Path, _File | None]] = {}

    # -- what the machine does

    def open(self, path: Path, flags: int, mode: int) -> int:
        """Raises: OSError."""
        path = Path(path)
        if flags & os.O_CREAT and self.full and not path.exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        directory = None if flags & os.O_DIRECTORY else self._directory(path.parent)
        descriptor = os.open(path, flags, mode)
        file = None if directory is None else directory.now.setdefault(path.name, _File(None))
        self._open[descriptor] = path, file
        return descriptor

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        """Raises: OSError."""
        self._check()
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return os.write(descriptor, data)

    def sync(self, descriptor: int) -> None:
        """Raises: OSError."""
        self._check()
        self.syncs += 1
        path, file = self._open[descriptor]
        if not self.honest:
            return
        if file is None:
            directory = self._directory(path)
            directory.synced = dict(directory.now)
        else:
            file.synced = Path(f"/proc/self/fd/{descriptor}").read_bytes()

    def close(self, descriptor: int) -> None:
        self._open.pop(descriptor, None)
        os.close(descriptor)

    def replace(self, source: Path, target: Path) -> None:
        """Raises: OSError."""
        self._check()
        here, there = self._directory(source.parent), self._directory(target.parent)
        source.replace(target)
        # What another made, such as SQLite, is as good as synced.
        known = here.now.pop(source.name) if source.name in here.now else _File(target.read_bytes())
        there.now[target.name] = known

    def unlink(self, path: Path, *, missing_ok: bool) -> None:
        """Raises: OSError."""
        directory = self._directory(path.parent)
        path.unlink(missing_ok=missing_ok)
        directory.now.pop(path.name, None)

    # -- what happens to it

    def remember(self) -> Callable[[], None]:
        """Return what makes of this disk the one that it is now: what was synced since was not."""
        known = {path: (dict(one.now), dict(one.synced)) for path, one in self._directories.items()}
        octets = {file: file.synced for now, synced in known.values() for file in (*now.values(), *synced.values())}

        def forget() -> None:
            self._directories = {path: _Directory(*names) for path, names in known.items()}
            for file, content in octets.items():
                file.synced = content

        return forget

    def lose_power(self, *, but: tuple[str, ...] = ()) -> None:
        """Leave what a disk has after the power went: what was synced, and by chance some of the rest.

        Files with the names in ``but`` are somebody else's affair.
        """
        for descriptor in list(self._open):
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self._open.clear()
        for path, directory in self._directories.items():
            if path.is_dir():
                self._revert(path, directory, but)
        self._directories.clear()

    def _revert(self, path: Path, directory: _Directory, but: tuple[str, ...]) -> None:
        # A directory's changes go to the disk in their order or not at all: with a journal, as ext4 has it.
        lucky = self._chance.random() < 0.5
        names = directory.now if lucky else directory.synced
        contents = {name: self._octets(path / name, file) for name, file in names.items() if name not in but}
        for name in directory.now.keys() - names.keys():
            if name not in but:
                (path / name).unlink(missing_ok=True)
        for name, octets in contents.items():
            if octets is not None:
                descriptor = os.open(path / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                with os.fdopen(descriptor, "wb") as written:
                    written.write(octets)

    def _octets(self, path: Path, file: _File) -> bytes | None:
        """Return what is left of a file; None: as it is there."""
        seen = path.read_bytes() if path.is_file() else b""
        if file.synced == seen:
            return None
        synced = file.synced or b""
        # Of what was appended, some may have arrived; of what was written anew, nothing or all.
        if seen.startswith(synced):
            return seen[: self._chance.randint(len(synced), len(seen))]
        return synced

    def _check(self) -> None:
        if self.broken:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def _directory(self, path: Path) -> _Directory:
        known = self._directories.get(path)
        if known is None:
            found = {one.name: _File(one.read_bytes()) for one in path.iterdir() if _is_plain(one)}
            known = self._directories[path] = _Directory(dict(found), dict(found))
        return known


def _is_plain(path: Path) -> bool:
    # What SQLite has open is read by whoever makes its crash; sockets are no files.
    return stat.S_ISREG(path.lstat().st_mode) and not path.name.endswith((".db", ".db-wal", ".db-shm"))
