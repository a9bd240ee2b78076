"""What was written and not sent yet, cut into segments without copying."""

from __future__ import annotations

from collections import deque
from typing import Final

from pharos.wire.units import KIB

_SMALL: Final = 4 * KIB
"""What is shorter is put together, so that a segment is not made of crumbs."""


class SendQueue:
    """Octets in the order in which they were written."""

    __slots__ = ("_parts", "_tail", "length")

    def __init__(self) -> None:
        self._parts: deque[memoryview] = deque()
        self._tail = bytearray()
        self.length = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take all of it; the caller may do with it afterwards what it wants."""
        size = len(data)
        if not size:
            return
        self.length += size
        if size < _SMALL:
            self._tail += data
            if len(self._tail) >= _SMALL:
                self._seal()
            return
        self._seal()
        self._parts.append(memoryview(bytes(data)))

    def _seal(self) -> None:
        if self._tail:
            self._parts.append(memoryview(bytes(self._tail)))
            self._tail.clear()

    def cut(self, size: int) -> bytes | memoryview:
        """Take the next octets out; there are as many."""
        parts = self._parts
        self.length -= size
        if not parts:
            self._seal()
        head = parts[0]
        if len(head) > size:
            parts[0] = head[size:]
            return head[:size]
        if len(head) == size:
            return parts.popleft()
        if len(self._tail):
            self._seal()
        pieces: list[memoryview] = []
        while size:
            head = parts[0]
            if len(head) > size:
                pieces.append(head[:size])
                parts[0] = head[size:]
                break
            pieces.append(parts.popleft())
            size -= len(head)
        return b"".join(pieces)
