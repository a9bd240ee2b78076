"""Several ways to one end, tried one after another at short intervals; the first that leads there wins (RFC 8305 §5).

A way is a context manager, and lives in a task of its own: the losers are closed while the winner is in use.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, Generic, TypeVar

import attrs
import trio
from grpclib.exceptions import GRPCError, StreamTerminatedError

from pharos.wire.errors import WireError
from pharos.wire.rpc.status import leaves
from pharos.wire.tasks import open_background
from pharos.wire.units import MILLISECONDS, SECONDS

T = TypeVar("T")

NEXT_AFTER: Final = 300 * MILLISECONDS
"""A little more than RFC 8305 recommends, for TLS takes a round trip more than the TCP that it speaks of."""
NEXT_AFTER_PROGRESS: Final = 2 * SECONDS
"""Once a way has shown that somebody is there: the rest takes several round trips, and helm may be asleep."""
FAILURES: Final = (WireError, GRPCError, StreamTerminatedError, OSError, trio.TooSlowError, trio.BrokenResourceError)
"""What ends one way and not the race; anything else is a bug."""


@attrs.frozen(kw_only=True)
class Way(Generic[T]):
    """One of them."""

    open: Callable[[Callable[[], None]], AbstractAsyncContextManager[T]]
    """Gets what is to be called when somebody has answered."""
    name: str
    """For people."""
    next_after: float = NEXT_AFTER
    """Seconds after the one before it at which this is begun, unless that has failed."""
    last_resort: bool = False
    """Begun early only if all before it have failed, and not only the last of them."""


class AllFailedError(Exception):
    """No way led there; it never leaves this package."""

    def __init__(self, failures: Sequence[tuple[str, Exception]]) -> None:
        super().__init__("; ".join(f"{name}: {error}" for name, error in failures))
        self.failures = failures
        """What each did, in the order in which they were begun."""


@asynccontextmanager
async def open_first(ways: Sequence[Way[T]]) -> AsyncIterator[tuple[int, T]]:
    """Give the index of the first way that leads there, and what it leads to, for as long as the block lasts.

    Raises: AllFailedError — none does. What closing the winner raises, where the block did not.
    """
    race = _Race(ways)
    async with open_background(race.run) as won:
        if won is not None:
            yield won
            race.done.set()
            await race.ended.wait()
    if won is None:
        raise AllFailedError([(way.name, race.failures[index]) for index, way in enumerate(ways)])
    if race.closing is not None:
        raise race.closing


class _Race(Generic[T]):
    def __init__(self, ways: Sequence[Way[T]]) -> None:
        self._ways = ways
        self._winner: int | None = None
        self._progressed: set[int] = set()
        self._begun = 0
        self._changed = trio.Event()
        self._scopes: dict[int, trio.CancelScope] = {}
        self.failures: dict[int, Exception] = {}
        self.closing: Exception | None = None
        self.done = trio.Event()
        self.ended = trio.Event()

    async def run(self, *, task_status: trio.TaskStatus[tuple[int, T] | None]) -> None:
        """Begin the ways in turn, and hold the one that wins until it is done with."""
        async with trio.open_nursery() as nursery:
            for index, way in enumerate(self._ways):
                if index:
                    await self._wait_turn(index, way)
                if self._winner is not None:
                    break
                self._begun += 1
                nursery.start_soon(self._try, index, way, task_status)
        self.ended.set()
        if self._winner is None:
            task_status.started(None)

    async def _wait_turn(self, index: int, way: Way[T]) -> None:
        with trio.move_on_after(way.next_after):
            while not self._is_turn(index, way) and index - 1 not in self._progressed:
                await self._changed.wait()
        with trio.move_on_after(NEXT_AFTER_PROGRESS if index - 1 in self._progressed else 0):
            while not self._is_turn(index, way):
                await self._changed.wait()

    def _is_turn(self, index: int, way: Way[T]) -> bool:
        failed = len(self.failures) == self._begun if way.last_resort else index - 1 in self.failures
        return failed or self._winner is not None

    async def _try(self, index: int, way: Way[T], task_status: trio.TaskStatus[tuple[int, T] | None]) -> None:
        def progressed() -> None:
            self._progressed.add(index)
            self._wake()

        failure: BaseException | None = None
        with trio.CancelScope() as scope:
            self._scopes[index] = scope
            try:
                async with way.open(progressed) as found:
                    # Two may be there in the same turn of the event loop.
                    if self._winner is None:
                        self._win(index)
                        task_status.started((index, found))
                        await self.done.wait()
            except* FAILURES as group:
                failure = next(leaves(group))
        if failure is None:
            return
        assert isinstance(failure, FAILURES)
        if self._winner == index:
            self.closing = failure
        else:
            self.failures[index] = failure
        self._wake()

    def _win(self, index: int) -> None:
        self._winner = index
        for other, scope in self._scopes.items():
            if other != index:
                scope.cancel()
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
