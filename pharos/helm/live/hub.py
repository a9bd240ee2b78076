"""The live feed: changes of the record, of links and of tunnels, numbered, to every subscriber."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import attrs
import trio

# What a page shows when it opens.
RECENT: Final = 100
# A browser tab that sleeps for a minute of a busy fleet; what it misses beyond that it reads anew.
QUEUE_SIZE: Final = 2_000


@attrs.frozen(kw_only=True)
class LiveEvent:
    """One thing that just happened."""

    sequence: int
    at: int
    """Microseconds since 1970."""
    kind: str
    node: str | None = None
    """Id of a node or relay."""
    device: str | None = None
    text: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the event for a page."""
        return attrs.asdict(self)


class Hub:
    """Hands events to subscribers; publishing never blocks."""

    def __init__(self) -> None:
        self._sequence = 0
        self._recent: deque[LiveEvent] = deque(maxlen=RECENT)
        self._subscribers: set[Subscriber] = set()

    def publish(
        self, kind: str, *, at: int, node: str | None = None, device: str | None = None, text: str = ""
    ) -> None:
        """Number an event and hand it out."""
        self._sequence += 1
        event = LiveEvent(sequence=self._sequence, at=at, kind=kind, node=node, device=device, text=text)
        self._recent.append(event)
        for subscriber in self._subscribers:
            subscriber.offer(event)

    def recent(self) -> list[LiveEvent]:
        """Return the newest events, oldest first."""
        return list(self._recent)

    @asynccontextmanager
    async def open_subscriber(self) -> AsyncIterator[Subscriber]:
        """Yield a subscriber that sees every event from now on."""
        subscriber = Subscriber()
        self._subscribers.add(subscriber)
        try:
            yield subscriber
        finally:
            self._subscribers.discard(subscriber)


@attrs.define(eq=False)
class Subscriber:
    """One bounded queue; when it is full the oldest event gives way and the count of lost ones goes up."""

    lost: int = attrs.field(default=0, init=False)
    _events: deque[LiveEvent] = attrs.field(factory=lambda: deque(maxlen=QUEUE_SIZE), init=False)
    _arrived: trio.Event = attrs.field(factory=trio.Event, init=False)

    def offer(self, event: LiveEvent) -> None:
        """Queue an event."""
        self.lost += len(self._events) == QUEUE_SIZE
        self._events.append(event)
        self._arrived.set()

    async def receive(self) -> list[LiveEvent]:
        """Wait for events and take all there are."""
        while not self._events:
            self._arrived = trio.Event()
            await self._arrived.wait()
        events = list(self._events)
        self._events.clear()
        return events
