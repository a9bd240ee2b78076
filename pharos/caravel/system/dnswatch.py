"""News of a directory: that something in it was written, moved or removed (inotify(7))."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pharos.caravel.errors import SystemModeError
from pharos.wire.units import KIB

_IN_CLOSE_WRITE, _IN_MOVED_FROM, _IN_MOVED_TO, _IN_CREATE, _IN_DELETE = 0x8, 0x40, 0x80, 0x100, 0x200
_EVENTS: Final = _IN_CLOSE_WRITE | _IN_MOVED_FROM | _IN_MOVED_TO | _IN_CREATE | _IN_DELETE
_ROOM_BYTES: Final = 64 * KIB


@contextmanager
def open_watch(directory: Path) -> Iterator[int]:
    """Yield what can be read when a directory has news.

    Raises: SystemModeError — there are too many such already.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if descriptor < 0:
        raise _failure(directory)
    try:
        if libc.inotify_add_watch(descriptor, os.fsencode(directory), _EVENTS) < 0:
            raise _failure(directory)
        yield descriptor
    finally:
        os.close(descriptor)


def skip_watch(descriptor: int) -> None:
    """Read what there is; what it was shows a look."""
    while True:
        try:
            os.read(descriptor, _ROOM_BYTES)
        except BlockingIOError:
            return


def _failure(directory: Path) -> SystemModeError:
    return SystemModeError(f"{directory} cannot be watched: {os.strerror(ctypes.get_errno())}")
