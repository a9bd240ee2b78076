"""What came, in order, and what came too early; both within bounds."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from operator import attrgetter
from typing import Final

import attrs

from pharos.wire.awg.netstack.tcp.options import Block
from pharos.wire.units import KIB

MAX_EARLY_PARTS: Final = 4096
"""Segments that wait for earlier ones: a window of 4 MiB in segments of a KiB. What is more is not taken."""
_SMALL: Final = 512
_JOINED: Final = 4 * KIB
"""Crumbs are put together up to this, for each would take a hundred bytes of memory."""
_REMEMBERED: Final = 4
_start = attrgetter("start")


@attrs.define(eq=False)
class _Island:
    """Octets that came behind a gap."""

    start: int
    end: int
    parts: list[bytes | bytearray]


def _append(parts: deque[bytes | bytearray] | list[bytes | bytearray], part: bytes) -> int:
    """Add a part behind others; return how many more there are now."""
    if len(part) < _SMALL and parts:
        last = parts[-1]
        if type(last) is bytearray and len(last) < _JOINED:
            last += part
            return 0
    parts.append(bytearray(part) if len(part) < _SMALL else part)
    return 1


class Reassembly:
    """Octets from ``next`` on are missing. Sequence numbers do not wrap here."""

    __slots__ = ("_islands", "_parts", "_ready", "_recent", "early", "next", "readable")

    def __init__(self, first: int) -> None:
        self.next = first
        self.readable = 0
        """Octets that `read` gives."""
        self.early = 0
        """Octets that wait for earlier ones."""
        self._ready: deque[bytes | bytearray] = deque()
        self._islands: list[_Island] = []
        self._parts = 0
        self._recent: list[_Island] = []

    def append(self, payload: bytes) -> None:
        """Take what begins at ``next``, while nothing is early."""
        size = len(payload)
        self.next += size
        self.readable += size
        _append(self._ready, payload)

    def take(self, start: int, payload: bytes) -> Block | None:
        """Take a segment's octets, wherever they belong; return which of them were here already, for a DSACK."""
        end = start + len(payload)
        if start > self.next:
            return self._take_early(start, end, payload)
        if end <= self.next:
            return (start, end) if end > start else None
        duplicate = (start, self.next) if start < self.next else None
        self.append(payload[self.next - start :])
        while self._islands and self._islands[0].start <= self.next:
            self._join(self._islands.pop(0))
        return duplicate

    def _join(self, island: _Island) -> None:
        """Take an island that the gap before has come to."""
        self.early -= island.end - island.start
        self._parts -= len(island.parts)
        if island in self._recent:
            self._recent.remove(island)
        skip = self.next - island.start
        for part in island.parts:
            if skip >= len(part):
                skip -= len(part)
                continue
            piece = part[skip:] if skip else part
            skip = 0
            self._ready.append(piece)
            self.readable += len(piece)
            self.next += len(piece)

    def _take_early(self, start: int, end: int, payload: bytes) -> Block | None:
        islands = self._islands
        at = bisect_right(islands, start, key=_start)
        before = islands[at - 1] if at else None
        if before is not None and end <= before.end:
            self._touch(before)
            return start, end
        if self._parts >= MAX_EARLY_PARTS:
            return None
        if before is not None and start <= before.end:
            payload = payload[before.end - start :]
            start = before.end
        else:
            before = None
        # What it covers whole is not needed any more; of what it reaches into, its own end is not.
        while at < len(islands) and islands[at].end <= end:
            self._forget(islands.pop(at))
        behind = islands[at] if at < len(islands) and islands[at].start <= end else None
        if behind is not None:
            payload = payload[: behind.start - start]
            end = start + len(payload)
        self._place(at, before, behind, start, end, payload)
        return None

    def _place(
        self, at: int, before: _Island | None, behind: _Island | None, start: int, end: int, payload: bytes
    ) -> None:
        """Put what nobody has between two islands, or to one, or make it one; ``at`` is the place of the latter."""
        self.early += end - start
        if before is None and behind is None:
            before = _Island(start, end, [])
            self._islands.insert(at, before)
        if before is not None:
            self._parts += _append(before.parts, payload) if payload else 0
            before.end = end
            if behind is not None:
                self._islands.pop(at)
                if behind in self._recent:
                    self._recent.remove(behind)
                before.parts += behind.parts
                before.end = behind.end
            self._touch(before)
        elif behind is not None:
            behind.parts.insert(0, payload)
            self._parts += 1
            behind.start = start
            self._touch(behind)

    def _forget(self, island: _Island) -> None:
        self.early -= island.end - island.start
        self._parts -= len(island.parts)
        if island in self._recent:
            self._recent.remove(island)

    def _touch(self, island: _Island) -> None:
        """It is what has to be told first (RFC 2018 §4)."""
        if island in self._recent:
            self._recent.remove(island)
        self._recent.insert(0, island)
        del self._recent[_REMEMBERED:]

    @property
    def farthest(self) -> int:
        """Behind the last octet that is here, early or not."""
        return self._islands[-1].end if self._islands else self.next

    def blocks(self, most: int) -> list[Block]:
        """Return the islands that were touched last, the latest first."""
        return [(island.start, island.end) for island in self._recent[:most]]

    def read(self, limit: int) -> bytes:
        """Take out octets that are in order, at most ``limit``."""
        ready = self._ready
        if not ready or limit <= 0:
            return b""
        if len(ready[0]) >= limit:
            self.readable -= limit
            head = ready[0]
            if len(head) == limit:
                return bytes(ready.popleft())
            ready[0] = head[limit:]
            return bytes(head[:limit])
        pieces = []
        left = limit
        while ready and left:
            head = ready[0]
            if len(head) > left:
                pieces.append(head[:left])
                ready[0] = head[left:]
                left = 0
            else:
                pieces.append(ready.popleft())
                left -= len(head)
        self.readable -= limit - left
        return b"".join(pieces)

    def discard(self) -> None:
        """Forget everything that was not read: nobody will."""
        self._ready.clear()
        self._islands.clear()
        self._recent.clear()
        self.readable = self.early = self._parts = 0
