"""Changes to a state file, written behind each other beside it, so that a small one does not cost the whole file.

A journal begins with the checksum of the document that it goes on from, and each line holds one over itself and all
lines before it. A line without an end was never acknowledged; a line that does not fit, and what follows it, is damage.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, Final

from pharos.wire.errors import StateFileError
from pharos.wire.files import MAX_STATE_SIZE, PRIVATE_FILE, write_atomic
from pharos.wire.pki.canonical import encode_canonical
from pharos.wire.world import this_world

_FORMAT: Final = "pharos/buoy-journal/v1"
_LINK: Final = 32
"""Hexadecimal digits of a line's checksum: 128 bits, against accidents."""


class Journal:
    """One file; whoever owns it writes from one thread at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        """Octets in it, its head not counted."""
        self._link = ""
        self._descriptor: int | None = None
        self._is_whole = False

    @property
    def is_open(self) -> bool:
        """Whether it may be written to: it was begun or read to its end, and no write has failed half way."""
        return self._is_whole

    def begin(self, head: str) -> None:
        """Begin anew behind the document with this checksum; blocks on the disk.

        Raises: OSError — the journal of before is as it was.
        """
        self.close()
        write_atomic(self.path, encode_canonical({"format": _FORMAT, "head": head}) + b"\n")
        self._start(head)

    def read(self, head: str) -> list[dict[str, Any]]:
        """Return the changes behind the document with this checksum; a journal of another document has none.

        Raises: StateFileError — a line is damaged; ``changes`` of the error are those before it.
        """
        try:
            raw = self.path.read_bytes()
        except FileNotFoundError:
            return []
        if len(raw) > MAX_STATE_SIZE:
            raise JournalError(f"{self.path} is too large", [])
        # What stands behind the last end of a line was being written when we were killed.
        first, *lines = raw.split(b"\n")[:-1] or [b""]
        if first != encode_canonical({"format": _FORMAT, "head": head}):
            if lines and not _is_of_another(first, lines[0]):
                raise JournalError(f"{self.path}, line 1, is corrupt", [])
            return []
        self._start(head)
        changes: list[dict[str, Any]] = []
        for number, line in enumerate(lines, start=2):
            link, _, body = line.partition(b" ")
            if link.decode("ascii", "replace") != self._next(body):
                self._is_whole = False
                raise JournalError(f"{self.path}, line {number}, is corrupt", changes)
            changes.append(json.loads(body))
            self._link = link.decode()
            self.size += len(line) + 1
        if raw.endswith(b"\n"):
            return changes
        self._is_whole = False
        return changes

    def append(self, change: dict[str, Any]) -> None:
        """Write one change; durable when this returns.

        Raises: OSError — it is not there; what was before is.
        """
        body = encode_canonical(change)
        link = self._next(body)
        line = f"{link} ".encode() + body + b"\n"
        if self._descriptor is None:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
            self._descriptor = this_world().open(self.path, flags, PRIVATE_FILE)
        end, world = os.fstat(self._descriptor).st_size, this_world()
        try:
            view = memoryview(line)
            while view:
                view = view[world.write(self._descriptor, view) :]
            world.fdatasync(self._descriptor)
        except OSError:
            # Half a line would make the next one damage.
            self._is_whole = False
            world.truncate(self._descriptor, end)
            world.fdatasync(self._descriptor)
            self._is_whole = True
            raise
        self._link = link
        self.size += len(line)

    def close(self) -> None:
        """Let go of the file."""
        self._is_whole = False
        if self._descriptor is not None:
            this_world().close(self._descriptor)
            self._descriptor = None

    def _start(self, head: str) -> None:
        self._link, self.size, self._is_whole = head, 0, True

    def _next(self, body: bytes) -> str:
        return _after(self._link, body)


def _after(link: str, body: bytes) -> str:
    """Return the checksum of a line behind one with the checksum ``link``."""
    return hashlib.sha256(link.encode() + b"\n" + body).hexdigest()[:_LINK]


def _is_of_another(first: bytes, line: bytes) -> bool:
    """Whether a journal goes on from another document, as one does that was left by a kill; else it is damaged."""
    try:
        head = str(json.loads(first)["head"])
    except (KeyError, TypeError, ValueError, RecursionError):
        return False
    link, _, body = line.partition(b" ")
    return first == encode_canonical({"format": _FORMAT, "head": head}) and link == _after(head, body).encode()


class JournalError(StateFileError):
    """A line of the journal is corrupt; ``changes`` are those before it."""

    def __init__(self, message: str, changes: list[dict[str, Any]]) -> None:
        super().__init__(message)
        self.changes = changes
