"""What a process does to files, in its order and with all that it writes: enough to build the disk of any crash.

`DiskLog` notes the steps; `tests.support.diskimage` makes disks of them. A step is a tuple that begins with what it is:

``("names", [(path, inode or None), …])``  one change of a directory: made, taken away, or several at once by a rename
``("data", inode, offset, bytes)``         a write; ``("size", inode, length)``: a file is cut or lengthened
``("sync", inode)``                        a file's data is durable from here on
``("sync names", directory)``              so are the names in a directory
``("said",)``                              what came before was acknowledged
"""

from __future__ import annotations

import builtins
import io
import os
import shutil
import stat
import threading
from pathlib import Path
from typing import Any, Final, TypeVar

Step = tuple[Any, ...]
T = TypeVar("T")

DIRECTORY: Final = 0
"""The inode of every directory."""


class DiskLog:
    """Notes what this process changes below ``root``, which is as it is now."""

    def __init__(self, root: Path) -> None:
        self.steps: list[Step] = []
        self.lock: Final = threading.RLock()
        """Held around a change and its note, so that the order of notes is the order of changes."""
        self._root = str(root.resolve())
        self._files: dict[int, tuple[int, os.stat_result]] = {}
        """The inode behind each descriptor that was opened, and what the system said of it then."""
        self._folders: dict[int, tuple[str, os.stat_result]] = {}
        self._fresh: set[int] = set()
        found = sorted(root.resolve().rglob("*"))
        self._inodes = {
            str(path): DIRECTORY if path.is_dir() else number for number, path in enumerate(found, start=DIRECTORY + 1)
        }
        self._last = len(found)

    def said(self) -> None:
        """Note that what was done until now has been acknowledged."""
        self.steps.append(("said",))

    def called(self, name: str, result: Any, *args: Any, **kwargs: Any) -> None:
        """Note a call of ``os.name`` that has succeeded."""
        act = getattr(self, f"_{name}", None)
        if act is not None:
            act(result, *args, **kwargs)

    def sqlite(self, what: str, path: str, number: int, data: bytes) -> None:
        """Note what SQLite has done: ``number`` is an offset, a size, or whether the directory is synced."""
        if not self._is_ours(path):
            return
        inode = self._inodes.get(path)
        if inode is None:
            if what == "delete":
                return
            inode = self._made(path)
            if path.endswith(("-wal", "-journal")):
                self._fresh.add(inode)
        match what:
            case "write":
                self.steps.append(("data", inode, number, data))
            case "truncate":
                self.steps.append(("size", inode, number))
            case "sync":
                self.steps.append(("sync", inode))
                if inode in self._fresh:
                    # Of a journal that it has made it syncs the directory, with its first sync (os_unix.c, DIRSYNC).
                    self._fresh.remove(inode)
                    self.steps.append(("sync names", path.rpartition("/")[0]))
            case "delete":
                self._renamed([(path, None)])
                if number:
                    self.steps.append(("sync names", path.rpartition("/")[0]))

    # -- os.*

    def _open(self, descriptor: int, path: Any, flags: int, *_mode: int, dir_fd: int | None = None, **_: Any) -> None:
        name = self._path(path, dir_fd)
        if not self._is_ours(name) and name != self._root:
            return
        about = os.fstat(descriptor)
        if stat.S_ISDIR(about.st_mode):
            self._folders[descriptor] = (name, about)
            return
        if name not in self._inodes:
            self._made(name)
        elif flags & os.O_TRUNC:
            self.steps.append(("size", self._inodes[name], 0))
        self._files[descriptor] = (self._inodes[name], about)

    def _write(self, written: int, descriptor: int, data: Any) -> None:
        if (inode := _behind(self._files, descriptor)) is not None:
            offset = os.lseek(descriptor, 0, os.SEEK_CUR) - written
            self.steps.append(("data", inode, offset, bytes(data[:written])))

    def _ftruncate(self, _result: None, descriptor: int, length: int) -> None:
        if (inode := _behind(self._files, descriptor)) is not None:
            self.steps.append(("size", inode, length))

    def _fsync(self, _result: None, descriptor: int) -> None:
        if (inode := _behind(self._files, descriptor)) is not None:
            self.steps.append(("sync", inode))
        elif (folder := _behind(self._folders, descriptor)) is not None:
            self.steps.append(("sync names", folder))

    _fdatasync = _fsync

    def _rename(self, _result: None, source: Any, target: Any) -> None:
        old, new = self._path(source), self._path(target)
        moved = [(old, new), *((path, new + path[len(old) :]) for path in self._inodes if path.startswith(f"{old}/"))]
        inodes = {path: self._inodes.get(path) for path, _ in moved}
        changes: list[tuple[str, int | None]] = []
        for path, to in moved:
            changes += [(path, None)] if self._is_ours(path) else []
            changes += [(to, inodes[path])] if self._is_ours(to) else []
        self._renamed(changes)

    _replace = _rename

    def _unlink(self, _result: None, path: Any, *, dir_fd: int | None = None) -> None:
        self._renamed([(self._path(path, dir_fd), None)])

    _rmdir = _remove = _unlink

    def _mkdir(self, _result: None, path: Any, *_mode: int, **_: Any) -> None:
        self._renamed([(self._path(path), DIRECTORY)])

    def _link(self, _result: None, source: Any, target: Any, **_: Any) -> None:
        self._renamed([(self._path(target), self._inodes[self._path(source)])])

    # -- names

    def _path(self, path: Any, dir_fd: int | None = None) -> str:
        name = os.fsdecode(path)
        if dir_fd is not None:
            name = str(Path(f"/proc/self/fd/{dir_fd}").readlink() / name)
        # The file itself may be a link, its directory is not to be.
        path = Path(name)
        return str(path.parent.resolve() / path.name)

    def _is_ours(self, path: str) -> bool:
        return path.startswith(f"{self._root}/")

    def _made(self, path: str) -> int:
        self._last += 1
        self._renamed([(path, self._last)])
        return self._last

    def _renamed(self, changes: list[tuple[str, int | None]]) -> None:
        ours = [(path, inode) for path, inode in changes if self._is_ours(path)]
        if not ours:
            return
        for path, inode in ours:
            if inode is None:
                self._inodes.pop(path, None)
            else:
                self._inodes[path] = inode
        self.steps.append(("names", ours))


def _behind(known: dict[int, tuple[T, os.stat_result]], descriptor: int) -> T | None:
    """Return what is behind a descriptor, if it is still what it was when it was opened."""
    if descriptor not in known:
        return None
    what, then = known[descriptor]
    now = os.fstat(descriptor)
    return what if (now.st_dev, now.st_ino) == (then.st_dev, then.st_ino) else None


class PlainFile(io.FileIO):
    """A file whose writes and end go through ``os``, where they are seen."""

    def __init__(self, file: Any, mode: str, closefd: bool = True) -> None:
        super().__init__(file, mode, closefd, opener=lambda path, flags: os.open(path, flags, 0o666))

    def write(self, data: Any) -> int:
        return os.write(self.fileno(), memoryview(data).cast("B"))


def write_plainly() -> None:
    """Let what Python's own files write go through ``os.open`` and ``os.write`` from now on, for good."""
    real = io.open

    def opened(
        file: Any,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        closefd: bool = True,
        opener: Any = None,
    ) -> Any:
        if opener is not None or not set(mode) & set("wax+"):
            return real(file, mode, buffering, encoding, errors, newline, closefd, opener)
        raw = PlainFile(file, mode.replace("b", "").replace("t", "") + "b", closefd)
        if buffering == 0:
            return raw
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding or "utf-8", errors, newline)

    io.open = builtins.open = opened
    # It would have the kernel copy, which nobody sees.
    shutil._USE_CP_SENDFILE = False  # type: ignore[attr-defined]
