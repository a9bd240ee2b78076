"""Live events from the data plane to every watcher, numbered, bounded, with a gap marker for the slow.

A watcher that comes back says what it took last, and gets what came since: as much as is remembered.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import attrs
import trio

from pharos.wire.convert import EventKind, TunnelEvent
from pharos.wire.ids import DeviceId
from pharos.wire.units import MILLISECONDS
from pharos.wire.world import random_bytes

# Ten seconds of a thousand devices handshaking at once, at some 200 bytes each: 2 MB a watcher.
QUEUE_SIZE: Final = 10_000
# What is remembered for those who come back: 2 MB again, a day of a node with a hundred devices.
MEMORY: Final = 10_000
# Events that wait together leave together: a burst costs one message per batch, a lone event leaves at once.
BATCH_SIZE: Final = 500
BATCH_EVERY: Final = 250 * MILLISECONDS
_FEED_ID: Final = 8
_SEQUENCE: Final = 8
_WITH_SOURCE: Final = frozenset({EventKind.HANDSHAKE, EventKind.CONNECTED})


class EventFeed:
    """Numbers events and hands them to the watchers; publishing never blocks.

    Without ``keep_sources`` nobody is told where a device comes from.
    """

    def __init__(self, *, keep_sources: bool = True) -> None:
        self._keep_sources = keep_sources
        self._id = random_bytes(_FEED_ID)
        self._sequence = 0
        self._memory: deque[TunnelEvent] = deque(maxlen=MEMORY)
        self._watchers: set[Watcher] = set()

    def publish(self, kind: EventKind, *, at: int, device_id: DeviceId, detail: str, protocol: str = "") -> None:
        """Give an event to every watcher. ``detail`` of one that begins is the device's address."""
        self._sequence += 1
        if not self._keep_sources and kind in _WITH_SOURCE:
            detail = ""
        event = TunnelEvent(
            sequence=self._sequence, at=at, kind=kind, device_id=device_id, detail=detail, protocol=protocol
        )
        self._memory.append(event)
        for watcher in self._watchers:
            watcher.offer(event)

    @asynccontextmanager
    async def open_watcher(self, *, resume: bytes = b"") -> AsyncIterator[Watcher]:
        """Yield a watcher that sees every event from now on, or from behind the batch that ``resume`` stands for."""
        watcher = Watcher(self._id)
        if resume:
            missed, dropped = self._since(resume)
            watcher.begin(missed, dropped=dropped)
        self._watchers.add(watcher)
        try:
            yield watcher
        finally:
            self._watchers.discard(watcher)

    def _since(self, resume: bytes) -> tuple[list[TunnelEvent], int]:
        """Return what came since, as far as it is remembered, and how many events are not; 1 where nobody knows."""
        feed, sequence = resume[:_FEED_ID], int.from_bytes(resume[_FEED_ID:])
        if feed != self._id or len(resume) != _FEED_ID + _SEQUENCE or sequence > self._sequence:
            return list(self._memory), 1
        missed = [event for event in self._memory if event.sequence > sequence]
        return missed, self._sequence - sequence - len(missed)


@attrs.define(eq=False)
class Watcher:
    """One bounded queue; on overflow the oldest events are dropped and counted."""

    _feed_id: bytes
    _events: list[TunnelEvent] = attrs.field(factory=list, init=False)
    _dropped: int = attrs.field(default=0, init=False)
    _arrived: trio.Event = attrs.field(factory=trio.Event, init=False)
    _full: trio.Event = attrs.field(factory=trio.Event, init=False)
    _next_at: float = attrs.field(default=0.0, init=False)

    def begin(self, events: list[TunnelEvent], *, dropped: int) -> None:
        """Begin with events that came before this watcher, and with a gap where ``dropped`` are missing."""
        self._events, self._dropped = events[-QUEUE_SIZE:], dropped + max(0, len(events) - QUEUE_SIZE)

    def offer(self, event: TunnelEvent) -> None:
        """Queue an event; the oldest half makes room where the queue is full."""
        if len(self._events) >= QUEUE_SIZE:
            half = QUEUE_SIZE // 2
            del self._events[:half]
            self._dropped += half
        self._events.append(event)
        self._arrived.set()
        if len(self._events) >= BATCH_SIZE:
            self._full.set()

    async def receive_batch(self) -> list[TunnelEvent]:
        """Wait for events and take up to ``BATCH_SIZE`` of them, in order, after a gap marker where some were lost.

        After a quiet quarter of a second they come at once, else when it is over or the batch is full.
        """
        while not self._events and not self._dropped:
            self._arrived = trio.Event()
            await self._arrived.wait()
        if len(self._events) < BATCH_SIZE:
            self._full = trio.Event()
            with trio.move_on_at(self._next_at):
                await self._full.wait()
        self._next_at = trio.current_time() + BATCH_EVERY
        batch, self._events = self._events[:BATCH_SIZE], self._events[BATCH_SIZE:]
        if self._dropped:
            batch.insert(0, _gap(self._dropped, batch))
            self._dropped = 0
        return batch

    def resume_of(self, batch: list[TunnelEvent]) -> bytes:
        """Return what stands for all events up to the end of a batch."""
        return self._feed_id + batch[-1].sequence.to_bytes(_SEQUENCE)


def _gap(dropped: int, behind: list[TunnelEvent]) -> TunnelEvent:
    first = behind[0] if behind else None
    return TunnelEvent(
        sequence=0 if first is None else first.sequence,
        at=0 if first is None else first.at,
        kind=EventKind.GAP,
        device_id=None,
        detail=str(dropped),
    )
