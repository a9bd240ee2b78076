"""SQLite's own writes, seen from Python: its file system layer (VFS) wrapped with ctypes, no compiler needed.

The structures are those of sqlite3.h, which have only grown at their ends since 2010. The wrapper replaces four methods
of the platform's own VFS, so locks, shared memory and reads are the real ones.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import random
from collections.abc import Callable
from typing import Any, Final

Point = Callable[[str], int]
"""Is asked before each write point, by name; returns 0 to go on, an SQLite result code to fail, or does not return."""
Seen = Callable[[str, str, int, bytes], None]
"""Is told what was done and of which file: ``write`` with offset and data, ``truncate`` with the size, ``sync``,
``delete`` with whether the directory is synced, ``open``."""

_POINTER = ctypes.c_void_p
_SIZE: Final = ctypes.sizeof(_POINTER)
# Names go through as pointers: SQLite keeps them for as long as the file is open.
_OPEN = ctypes.CFUNCTYPE(ctypes.c_int, _POINTER, _POINTER, _POINTER, ctypes.c_int, _POINTER)
_DELETE = ctypes.CFUNCTYPE(ctypes.c_int, _POINTER, _POINTER, ctypes.c_int)
_READ = ctypes.CFUNCTYPE(ctypes.c_int, _POINTER, _POINTER, ctypes.c_int, ctypes.c_int64)
_WRITE = ctypes.CFUNCTYPE(ctypes.c_int, _POINTER, _POINTER, ctypes.c_int, ctypes.c_int64)
_TRUNCATE = ctypes.CFUNCTYPE(ctypes.c_int, _POINTER, ctypes.c_int64)
_SYNC = ctypes.CFUNCTYPE(ctypes.c_int, _POINTER, ctypes.c_int)


class _Vfs(ctypes.Structure):
    _fields_ = (
        ("version", ctypes.c_int),
        ("file_size", ctypes.c_int),
        ("max_path", ctypes.c_int),
        ("next", _POINTER),
        ("name", ctypes.c_char_p),
        ("data", _POINTER),
        ("open", _POINTER),
        ("delete", _POINTER),
        ("others", _POINTER * 14),
    )


class _Methods(ctypes.Structure):
    _fields_ = (
        ("version", ctypes.c_int),
        ("close", _POINTER),
        ("read", _POINTER),
        ("write", _POINTER),
        ("truncate", _POINTER),
        ("sync", _POINTER),
        ("others", _POINTER * 13),
    )


class FaultVfs:
    """The default VFS of this process from now on; it lasts as long as the process."""

    def __init__(self, point: Point) -> None:
        self.seen: Seen | None = None
        library = ctypes.CDLL(ctypes.util.find_library("sqlite3"))
        library.sqlite3_vfs_find.restype = ctypes.POINTER(_Vfs)
        self._point = point
        self._real = library.sqlite3_vfs_find(None)
        self._methods: dict[int, _Methods] = {}
        self._paths: dict[int, str] = {}
        self._unsynced: dict[str, list[tuple[int, bytes]]] = {}
        self._torn = False
        real = self._real.contents
        self._vfs = _Vfs.from_buffer_copy(real)
        self._vfs.name, self._vfs.next = b"fault", None
        # Kept here, for SQLite keeps pointers only.
        self._callbacks = [_OPEN(self._open), _DELETE(self._delete)]
        self._vfs.open, self._vfs.delete = (ctypes.cast(each, _POINTER).value for each in self._callbacks)
        self._real_open, self._real_delete = _OPEN(real.open), _DELETE(real.delete)
        if library.sqlite3_vfs_register(ctypes.byref(self._vfs), 1) != 0:
            raise RuntimeError("SQLite does not take another VFS")

    def cut_power(self, chance: random.Random) -> None:
        """Take back what was not synced yet, each write by the toss of a coin, as a disk that loses its power does."""
        for path, writes in self._unsynced.items():
            with open(path, "r+b", buffering=0) as file:  # noqa: PTH123 -- as SQLite names it
                for offset, before in reversed(writes):
                    if chance.random() < 0.5:
                        file.seek(offset)
                        file.write(before)

    def tear_next(self) -> None:
        """Let the next write be half of one."""
        self._torn = True

    def _open(self, _vfs: Any, name: int | None, file: int, flags: int, out: Any) -> int:
        code: int = self._real_open(ctypes.addressof(self._real.contents), name, file, flags, out)
        slot = ctypes.cast(file, ctypes.POINTER(_POINTER)).contents
        if code == 0 and slot.value and name is not None:
            self._paths[file] = _text(name)
            self._tell("open", _text(name))
            slot.value = ctypes.addressof(self._wrapped(slot.value))
        return code

    def _wrapped(self, methods: int) -> _Methods:
        if methods not in self._methods:
            real = _Methods.from_address(methods)
            ours = _Methods.from_buffer_copy(real)
            read = _READ(real.read)
            write, truncate, sync = _WRITE(real.write), _TRUNCATE(real.truncate), _SYNC(real.sync)

            def on_write(file: int, data: int, size: int, offset: int) -> int:
                path = self._paths[file]
                code = self._point(f"write {path} {offset}")
                if self._torn:
                    write(file, data, size // 2, offset)
                    self._point("torn")
                if code:
                    return code
                # Beyond the end of the file it reads zeros, which is what a lost write leaves there.
                before = ctypes.create_string_buffer(size)
                read(file, ctypes.addressof(before), size, offset)
                self._unsynced.setdefault(path, []).append((offset, before.raw))
                written: int = write(file, data, size, offset)
                if written == 0 and self.seen is not None:
                    self._tell("write", path, offset, ctypes.string_at(data, size))
                return written

            def on_truncate(file: int, size: int) -> int:
                code = self._point(f"truncate {self._paths[file]}") or truncate(file, size)
                if code == 0:
                    self._tell("truncate", self._paths[file], size)
                return code

            def on_sync(file: int, flags: int) -> int:
                path = self._paths[file]
                code = self._point(f"sync {path}") or sync(file, flags)
                if code == 0:
                    self._unsynced.pop(path, None)
                    self._tell("sync", path)
                return code

            callbacks = [_WRITE(on_write), _TRUNCATE(on_truncate), _SYNC(on_sync)]
            self._callbacks += callbacks
            ours.write, ours.truncate, ours.sync = (ctypes.cast(each, _POINTER).value for each in callbacks)
            self._methods[methods] = ours
        return self._methods[methods]

    def _delete(self, _vfs: Any, name: int, sync: int) -> int:
        path = _text(name)
        self._unsynced.pop(path, None)
        code: int = self._point(f"delete {path}") or self._real_delete(
            ctypes.addressof(self._real.contents), name, sync
        )
        if code == 0:
            self._tell("delete", path, sync)
        return code

    def _tell(self, what: str, path: str, number: int = 0, data: bytes = b"") -> None:
        if self.seen is not None:
            self.seen(what, path, number, data)


def _text(name: int) -> str:
    return os.fsdecode(ctypes.string_at(name))
