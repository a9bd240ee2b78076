"""One browser's share of the feed: a bounded queue that coalesces when it grows, and gives up with a gap."""

from __future__ import annotations

from collections import deque
from typing import Final

import attrs
import trio

from pharos.helm.live.deltas import Batch, Nouns, coalesce

# What a browser tab that sleeps for ten seconds misses at 200 changes a second. Texts are shared by all subscribers,
# so one that is full costs its list, some 16 kB; of one second's changes nobody ever holds more than one copy.
QUEUE_SIZE: Final = 2_000


@attrs.frozen
class Gap:
    """Something was left out; whoever gets this takes a new picture."""

    first: int
    """Sequence of the first delta that may be missing."""
    last: int
    """Of the last; one less than ``first`` where only events were lost."""


@attrs.frozen
class Resync:
    """The subscriber asked for a new picture."""


@attrs.frozen
class Ending:
    """The subscriber has to go."""

    code: int
    reason: str


@attrs.define(eq=False)
class Subscriber:
    """Batches on their way to one place."""

    nouns: Nouns
    _covered: int
    """Deltas up to here were received, or are not wanted."""
    figures: bool = False
    """Whether figures and counts are wanted."""
    _batches: deque[Batch] = attrs.field(factory=deque, init=False)
    _size: int = attrs.field(default=0, init=False)
    _lost: int | None = attrs.field(default=None, init=False)
    """Sequence of the newest delta in the gap, while there is one."""
    _asked: bool = attrs.field(default=False, init=False)
    _ending: Ending | None = attrs.field(default=None, init=False)
    _arrived: trio.Event = attrs.field(factory=trio.Event, init=False)

    def offer(self, batch: Batch) -> None:
        """Queue a batch; never blocks."""
        if self._lost is not None:
            self._lost = batch.sequence
            return
        self._batches.append(batch)
        self._size += len(batch)
        if self._size > QUEUE_SIZE:
            self._shrink()
        self._arrived.set()

    def skip(self, sequence: int) -> None:
        """Leave out what is queued up to ``sequence``, for the subscriber has it by another way."""
        self._covered = max(self._covered, sequence)

    def resync(self) -> None:
        """Have the next receive say that a new picture is wanted."""
        self._asked = True
        self._arrived.set()

    def end(self, code: int, reason: str) -> None:
        """Have the next receive say that this is the end."""
        self._ending = self._ending or Ending(code, reason)
        self._arrived.set()

    async def receive(self) -> str | Gap | Resync | Ending:
        """Wait for the next message, or for what has to be done instead."""
        while True:
            if (ready := self._next()) is not None:
                return ready
            self._arrived = trio.Event()
            await self._arrived.wait()

    def _next(self) -> str | Gap | Resync | Ending | None:
        if self._ending is not None:
            return self._ending
        if self._lost is not None:
            first, self._covered = self._covered + 1, max(self._covered, self._lost)
            self._lost, self._asked = None, False
            return Gap(first, self._covered)
        if self._asked:
            self._asked = False
            return Resync()
        if not self._batches:
            return None
        # One batch is the same text for all who keep up.
        batch = self._batches[0] if len(self._batches) == 1 else coalesce(self._batches)
        self._forget()
        wanted = batch.after(self._covered)
        self._covered = max(self._covered, batch.sequence)
        return wanted.text_for(self.nouns, figures=self.figures)

    def _shrink(self) -> None:
        batch = coalesce(self._batches)
        newest = batch.sequence
        self._forget()
        # Half of the room has to be won, or else each further batch would be merged with all that wait.
        if len(batch) > QUEUE_SIZE // 2:
            self._lost = newest
        else:
            self._batches.append(batch)
            self._size = len(batch)

    def _forget(self) -> None:
        self._batches.clear()
        self._size = 0
