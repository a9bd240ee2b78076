"""Live events from the data plane to every watcher, numbered, bounded, with a gap marker for the slow."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import attrs
import trio

from pharos.wire.convert import EventKind, TunnelEvent
from pharos.wire.ids import DeviceId

# Ten seconds of a thousand devices handshaking at once, at some 200 bytes each: 2 MB a watcher.
QUEUE_SIZE: Final = 10_000
# Events that wait together leave together: a burst costs one message per batch, a lone event leaves at once.
BATCH_SIZE: Final = 500
_WITH_SOURCE: Final = frozenset({EventKind.HANDSHAKE, EventKind.CONNECTED})


class EventFeed:
    """Numbers events and hands them to the watchers; publishing never blocks.

    Without ``keep_sources`` nobody is told where a device comes from.
    """

    def __init__(self, *, keep_sources: bool = True) -> None:
        self._keep_sources = keep_sources
        self._sequence = 0
        self._watchers: set[Watcher] = set()

    def publish(self, kind: EventKind, *, at: int, device_id: DeviceId, detail: str) -> None:
        """Give an event to every watcher. ``detail`` of one that begins is the device's address."""
        self._sequence += 1
        if not self._keep_sources and kind in _WITH_SOURCE:
            detail = ""
        event = TunnelEvent(sequence=self._sequence, at=at, kind=kind, device_id=device_id, detail=detail)
        for watcher in self._watchers:
            watcher.offer(event)

    @asynccontextmanager
    async def open_watcher(self) -> AsyncIterator[Watcher]:
        """Yield a watcher that sees every event from now on."""
        watcher = Watcher()
        self._watchers.add(watcher)
        try:
            yield watcher
        finally:
            self._watchers.discard(watcher)


@attrs.define(eq=False)
class Watcher:
    """One bounded queue; on overflow the oldest events are dropped and counted."""

    _events: list[TunnelEvent] = attrs.field(factory=list, init=False)
    _dropped: int = attrs.field(default=0, init=False)
    _arrived: trio.Event = attrs.field(factory=trio.Event, init=False)

    def offer(self, event: TunnelEvent) -> None:
        """Queue an event; the oldest half makes room where the queue is full."""
        if len(self._events) >= QUEUE_SIZE:
            half = QUEUE_SIZE // 2
            del self._events[:half]
            self._dropped += half
        self._events.append(event)
        self._arrived.set()

    async def receive_batch(self) -> list[TunnelEvent]:
        """Wait for events and take up to ``BATCH_SIZE`` of them, in order, after a gap marker where some were lost."""
        while not self._events:
            self._arrived = trio.Event()
            await self._arrived.wait()
        batch, self._events = self._events[:BATCH_SIZE], self._events[BATCH_SIZE:]
        if self._dropped:
            first = batch[0]
            gap = attrs.evolve(first, kind=EventKind.GAP, device_id=None, detail=str(self._dropped))
            self._dropped = 0
            batch.insert(0, gap)
        return batch
