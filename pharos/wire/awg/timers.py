"""Deadlines of many peers: cheap to move at every packet, cheap to wait for.

A peer writes its deadlines as plain numbers. The queue holds about one entry per peer, no later than the earliest
of them: a deadline that moves back or is cleared costs nothing until the old time comes.
"""

import heapq
import itertools
from collections.abc import Iterator
from typing import Final, Generic, Protocol, TypeVar

import attrs

NEVER: Final = float("inf")


@attrs.define(eq=False)
class PeerTimers:
    """When each timer of one peer fires, in the caller's seconds; NEVER while it is not running."""

    repeat_initiation: float = NEVER
    """No response came to our initiation."""
    keepalive: float = NEVER
    """We received data and have sent nothing since."""
    no_answer: float = NEVER
    """We sent data and nothing authentic has come since."""
    persistent_keepalive: float = NEVER
    """Nothing authentic went either way for as long as the peer's NAT can be trusted."""
    expire: float = NEVER
    """The newest confirmed session is over."""
    forget: float = NEVER
    """All key material is to go."""

    def earliest(self) -> float:
        return min(
            self.repeat_initiation,
            self.keepalive,
            self.no_answer,
            self.persistent_keepalive,
            self.expire,
            self.forget,
        )

    def stop_all_but_persistent(self) -> None:
        """For when no session and no handshake is left."""
        self.repeat_initiation = self.keepalive = self.no_answer = self.expire = self.forget = NEVER


class Scheduled(Protocol):
    """What the queue can wait for."""

    timers: PeerTimers
    wakes_at: float
    """When the queue will look at it; the queue's own."""


S = TypeVar("S", bound=Scheduled)


class DeadlineQueue(Generic[S]):
    """A heap of peers by the time each is to be looked at."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, S]] = []
        self._ties = itertools.count()
        self._inert = 0  # Entries that an earlier one has superseded, or whose peer is gone.

    def next_deadline(self) -> float:
        """No later than the earliest deadline; NEVER if there is none."""
        return self._heap[0][0] if self._heap else NEVER

    def schedule(self, peer: S, deadline: float) -> None:
        """Look at ``peer`` at ``deadline`` at the latest; call it whenever a deadline is set."""
        if deadline < peer.wakes_at:
            self._abandon(peer)
            peer.wakes_at = deadline
            heapq.heappush(self._heap, (deadline, next(self._ties), peer))

    def forget(self, peer: S) -> None:
        """Never yield ``peer`` again."""
        self._abandon(peer)
        peer.timers = PeerTimers()
        peer.wakes_at = -NEVER

    def due(self, now: float) -> Iterator[S]:
        """Yield each peer with a deadline at or before ``now``; the caller moves or clears what fired."""
        while self._heap and self._heap[0][0] <= now:
            deadline, _, peer = heapq.heappop(self._heap)
            if deadline != peer.wakes_at:
                self._inert -= 1
                continue
            peer.wakes_at = NEVER
            if peer.timers.earliest() <= now:
                yield peer
            self.schedule(peer, peer.timers.earliest())

    def _abandon(self, peer: S) -> None:
        """Leave the entry of a peer behind; they are swept out when they are the most of the heap."""
        if peer.wakes_at == NEVER:
            return
        self._inert += 1
        peer.wakes_at = NEVER
        if 2 * self._inert > len(self._heap):
            alive = {id(entry[2]): entry for entry in self._heap if entry[0] == entry[2].wakes_at}
            self._heap = list(alive.values())
            heapq.heapify(self._heap)
            self._inert = 0
