"""Events to whoever watches: each watcher has a queue of its own, and one who does not keep up loses the oldest."""

from __future__ import annotations

from collections import deque
from typing import Final

import trio

from pharos.caravel.events import Event, PhaseChanged

MAX_EVENTS: Final = 256
"""That wait for one watcher: a race over a hundred nodes is two hundred, and a person reads none of them so fast."""


class Watch:
    """What happens from now on, as an asynchronous iterator; ``aclose`` ends it."""

    def __init__(self, watches: Watches) -> None:
        self._watches = watches
        self._events: deque[Event] = deque(maxlen=MAX_EVENTS)
        self._arrived = trio.Event()
        self._closed = False

    def __aiter__(self) -> Watch:
        return self

    async def __anext__(self) -> Event:
        await trio.lowlevel.checkpoint()
        while not self._events:
            if self._closed:
                raise StopAsyncIteration
            self._arrived = trio.Event()
            await self._arrived.wait()
        return self._events.popleft()

    async def aclose(self) -> None:
        """Watch no more."""
        await trio.lowlevel.checkpoint()
        self.close()

    def close(self) -> None:
        """End it: what waits can still be taken."""
        self._closed = True
        self._watches.forget(self)
        self._arrived.set()

    def put(self, event: Event) -> None:
        # A phase that nobody has seen says nothing once there is the next.
        if self._events and isinstance(event, PhaseChanged) and isinstance(self._events[-1], PhaseChanged):
            self._events[-1] = event
        else:
            self._events.append(event)
        self._arrived.set()


class Watches:
    """All watchers of one connection."""

    def __init__(self) -> None:
        self._all: list[Watch] = []
        self._closed = False

    def open(self) -> Watch:
        """Return a new one. After the end it is one that has ended."""
        watch = Watch(self)
        self._all.append(watch)
        if self._closed:
            watch.close()
        return watch

    def tell(self, event: Event) -> None:
        """Tell everybody."""
        for watch in self._all:
            watch.put(event)

    def close(self) -> None:
        """End all of them."""
        self._closed = True
        for watch in list(self._all):
            watch.close()

    def forget(self, watch: Watch) -> None:
        if watch in self._all:
            self._all.remove(watch)
