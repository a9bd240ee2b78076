"""The live feed's middle: what happens goes to every subscriber, in order, and nobody who is slow holds it up."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final, NoReturn

import trio

from pharos.helm.live.deltas import Batch, Delta, Json, LiveEvent, Nouns
from pharos.helm.live.subscriber import QUEUE_SIZE, Subscriber
from pharos.wire.units import MILLISECONDS

# What a page shows when it opens, and keeps (ui.md).
RECENT: Final = 200
# What happens within this time is one message: 50 messages a second at most, which no eye tells from at once.
GATHER: Final = 20 * MILLISECONDS
# A thousand events a second are more than a page can show. Of a flood pages hear the newest, and how many there were
# beside them; every one of them is in the store.
MOST_EVENTS: Final = 20


class Hub:
    """Hands deltas and events to subscribers; publishing never blocks."""

    def __init__(self) -> None:
        self._numbered = 0
        self._recent: deque[LiveEvent] = deque(maxlen=RECENT)
        self._waiting: deque[LiveEvent] = deque(maxlen=QUEUE_SIZE)
        self._stirred = trio.Event()
        self._subscribers: set[Subscriber] = set()
        self._listening = trio.lowlevel.ParkingLot()
        self.names: dict[str, str] = {}
        """Of devices, by id: events tell of them by both."""
        self.sequence = 0
        """Of the outbox: up to where it was handed out."""
        self.position = 0
        """Grows with whatever is published: while it stands still, so does the picture."""

    def publish(
        self, kind: str, *, at: int, node: str | None = None, device: str | None = None, text: str = ""
    ) -> None:
        """Number a passing event; it goes out with the next batch."""
        self._waiting.append(self.remember(kind, at=at, node=node, device=device, text=text))
        self._stirred.set()

    def remember(
        self, kind: str, *, at: int, node: str | None = None, device: str | None = None, text: str = ""
    ) -> LiveEvent:
        """Number an event and keep it for the pages that open later; it goes out to nobody."""
        self._numbered += 1
        self.position += 1
        name = self.names.get(device) if device is not None else None
        event = LiveEvent(sequence=self._numbered, at=at, kind=kind, node=node, device=device, name=name, text=text)
        self._recent.append(event)
        return event

    def recent(self) -> list[LiveEvent]:
        """Return the newest events, oldest first."""
        return list(self._recent)

    def hand_out(self, deltas: Sequence[Delta]) -> None:
        """Give the next deltas of the outbox, and the events that wait, to every subscriber."""
        if deltas:
            self.sequence = deltas[-1].sequence
            self.position += 1
        batch = Batch(deltas, self._take_events(), self.sequence)
        for subscriber in self._subscribers:
            subscriber.offer(batch)

    def push(self, *, figures: Json | None, counts: Json | None) -> None:
        """Give figures and counts that have changed to whoever wants them."""
        if figures is None and counts is None:
            return
        batch = Batch((), (), self.sequence, figures, counts)
        for subscriber in self._subscribers:
            if subscriber.figures:
                subscriber.offer(batch)

    async def wait_listened(self) -> None:
        """Return once somebody wants figures."""
        while not any(subscriber.figures for subscriber in self._subscribers):
            await self._listening.park()

    def _take_events(self) -> list[LiveEvent]:
        events = list(self._waiting)
        self._waiting.clear()
        if len(events) <= MOST_EVENTS:
            return events
        left_out = len(events) - MOST_EVENTS
        last = events[left_out - 1]
        more = LiveEvent(sequence=last.sequence, at=last.at, kind="more", text=f"{left_out} further events")
        return [more, *events[left_out:]]

    async def run_events(self) -> NoReturn:
        """Hand out events that no delta takes along, until cancelled."""
        while True:
            await self._stirred.wait()
            self._stirred = trio.Event()
            if self._waiting:
                self.hand_out(())
                await trio.sleep(GATHER)

    @asynccontextmanager
    async def open_subscriber(self, nouns: Nouns = None, *, figures: bool = False) -> AsyncIterator[Subscriber]:
        """Yield a subscriber that sees everything from now on of the nouns it may read; ``figures``, too, or not."""
        subscriber = Subscriber(nouns, self.sequence, figures=figures)
        self._subscribers.add(subscriber)
        self._listening.unpark_all()
        try:
            yield subscriber
        finally:
            self._subscribers.discard(subscriber)
