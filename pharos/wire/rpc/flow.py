"""Flow control: window sizes, when credit is given back, and who may wait for it (passage.md §2).

Connection credit is *eager*: it goes back at receipt, so that a stream nobody reads starves itself and no
other. Stream credit goes back once the bytes were read or forwarded. The bytes one connection can make us
hold are therefore bounded by streams x stream window, and not by the connection window.
"""

from collections.abc import Callable
from typing import Final, Protocol

import attrs
import trio

from pharos.wire.units import KIB, MIB

# RFC 9113 §6.9.2: every window starts at this size, until our SETTINGS reach the peer.
_INITIAL_WINDOW: Final = 65_535
_LARGEST_WINDOW: Final = 2**31 - 1


@attrs.frozen
class Windows:
    """How many bytes a peer may send ahead, in bytes."""

    stream: int = attrs.field(validator=[attrs.validators.ge(_INITIAL_WINDOW)])
    """On one stream beyond what was read. Also the most that one unread stream holds in memory."""
    connection: int = attrs.field(
        validator=[attrs.validators.ge(_INITIAL_WINDOW), attrs.validators.le(_LARGEST_WINDOW)]
    )
    """On all streams together beyond what has arrived: throughput is 0.5-0.7 of it per round trip."""

    @property
    def connection_increment(self) -> int:
        """What the connection window grows by at the start, for SETTINGS cannot set it."""
        return self.connection - _INITIAL_WINDOW


# passage.md §2 has the trials. An outer stream window is never smaller than the inner one it carries.
INNER: Final = Windows(128 * KIB, 512 * KIB)
EDGE: Final = Windows(128 * KIB, 512 * KIB)
TUNNEL: Final = Windows(128 * KIB, 16 * MIB)
# helm-buoy: one event stream, one push at a time, and a full peer list of 1 MiB within a few round trips.
CONTROL: Final = Windows(256 * KIB, 1 * MIB)


@attrs.define
class Credit:
    """Bytes that may be given back to the peer, saved up so that WINDOW_UPDATE frames stay few."""

    threshold: int
    """Give back when so many bytes have come together: a quarter of a connection's window, half a stream's."""
    _owed: int = 0

    def add(self, size: int) -> int:
        """Return how many bytes to give back now: all that is owed, or 0 to wait."""
        self._owed += size
        if self._owed < self.threshold:
            return 0
        owed, self._owed = self._owed, 0
        return owed


class Holder(Protocol):
    """What keeps octets in memory for a peer that does not take them."""

    held: int
    """Octets; written by `Holdings` alone."""

    def evict(self) -> None:
        """Drop them, at the expense of whatever they belong to."""


class Holdings:
    """The octets that connections sharing it keep in memory, at most ``limit`` together.

    Eager credit bounds a stream and a connection, but not a thousand of them. Beyond the limit the largest holder
    goes: it has been waiting longest for somebody who does not read.
    """

    __slots__ = ("_holders", "limit", "total")

    def __init__(self, limit: int) -> None:
        self.limit: Final = limit
        self.total = 0
        """Octets held now."""
        self._holders: set[Holder] = set()

    def update(self, holder: Holder, held: int) -> None:
        """Note how many octets ``holder`` keeps now, and evict while all keep too many together."""
        self.total += held - holder.held
        holder.held = held
        if held:
            self._holders.add(holder)
        else:
            self._holders.discard(holder)
        while self.total > self.limit:
            largest = max(self._holders, key=_held)
            self._holders.discard(largest)
            self.total -= largest.held
            largest.held = 0
            largest.evict()


def _held(holder: Holder) -> int:
    return holder.held


class Gate:
    """A first-come-first-served queue before a condition.

    One waiter is let in at a time, and whoever leaves lets the next one in while the condition holds: with
    500 streams waiting, a change costs one wake-up and not 500. ``async with`` it, or pass by while it is `free`.
    """

    __slots__ = ("_queue", "holds")

    def __init__(self, holds: Callable[[], bool]) -> None:
        self.holds = holds
        # Made when somebody waits: a thousand idle connections have three gates each.
        self._queue: trio.lowlevel.ParkingLot | None = None

    def free(self) -> bool:
        """Whether one could go through now without overtaking anybody."""
        return not self._queue and self.holds()

    async def enter(self) -> None:
        """Wait for a turn; `leave` is then owed."""
        if self.free():
            return
        if self._queue is None:
            self._queue = trio.lowlevel.ParkingLot()
        await self._queue.park()
        while not self.holds():
            await self._queue.park()

    def leave(self) -> None:
        """Let the next waiter in if the condition holds; also to be called when it begins to hold."""
        if self._queue and self.holds():
            self._queue.unpark()

    async def __aenter__(self) -> None:
        await self.enter()

    async def __aexit__(self, *_: object) -> None:
        self.leave()

    def release_all(self) -> None:
        """Wake everybody, the condition having become moot; it must hold from now on."""
        if self._queue:
            self._queue.unpark_all()


class Wakeup:
    """One task waits for another to say that something changed; a word said with nobody waiting is lost."""

    __slots__ = ("_task",)

    def __init__(self) -> None:
        self._task: trio.lowlevel.Task | None = None

    async def wait(self) -> None:
        """Raises: trio.BusyResourceError — another task waits here already."""
        if self._task is not None:
            raise trio.BusyResourceError("another task is already waiting for this stream")
        self._task = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(self._abort)

    def _abort(self, _raise_cancel: object) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED

    def wake(self) -> None:
        task = self._task
        if task is not None:
            self._task = None
            trio.lowlevel.reschedule(task)
