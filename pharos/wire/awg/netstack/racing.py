"""A race over several places, each dialled a moment after the one before (RFC 8305 §5)."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, Protocol, TypeVar

import trio

from pharos.wire.awg.netstack.ip import IpAddress
from pharos.wire.errors import WireError
from pharos.wire.units import MILLISECONDS

ATTEMPT_DELAY: Final = 250 * MILLISECONDS
"""What RFC 8305 §5 recommends between two attempts."""
RESOLUTION_DELAY: Final = 50 * MILLISECONDS
"""For which addresses of the preferred version are waited for when the others are there (RFC 8305 §3)."""
FAILURES: Final = (OSError, trio.BrokenResourceError, WireError)
"""What an attempt may raise: the next one is made."""

P = TypeVar("P")
R = TypeVar("R")
P_co = TypeVar("P_co", covariant=True)


class Feed(Protocol[P_co]):
    """Where the places of a race come from."""

    async def next(self) -> P_co | None:
        """Return the next place, waiting for it if there may be one; None: there are no more."""
        ...


class AddressFeed:
    """The addresses of a name, in the order in which they are to be tried, while they are still being looked up.

    The versions alternate, the preferred one first (RFC 8305 §4).
    """

    def __init__(self, versions: Iterable[int]) -> None:
        """``versions``: of IP, those that are being looked up, the preferred one first."""
        self._found: dict[int, deque[IpAddress]] = {version: deque() for version in versions}
        self._pending = set(self._found)
        self._turn = deque(self._found)
        self._begun = False
        self.offered = 0
        """Addresses that were given to be tried."""
        self._news = trio.Event()

    def add(self, version: int, addresses: Iterable[IpAddress]) -> None:
        """Give all addresses of one version, or none if it has none."""
        self._found[version].extend(addresses)
        self._pending.discard(version)
        self._news.set()

    async def next(self) -> IpAddress | None:
        preferred = self._turn[0]
        if not self._begun:
            while not any(self._found.values()) and self._pending:
                await self._wait()
            if not self._found[preferred] and preferred in self._pending:
                with trio.move_on_after(RESOLUTION_DELAY):
                    while preferred in self._pending:
                        await self._wait()
            self._begun = True
        while True:
            for _ in range(len(self._turn)):
                version = self._turn[0]
                self._turn.rotate(-1)
                if self._found[version]:
                    self.offered += 1
                    return self._found[version].popleft()
            if not self._pending:
                return None
            await self._wait()

    async def _wait(self) -> None:
        self._news = trio.Event()
        await self._news.wait()


class FixedFeed(Feed[P]):
    """Places that are known."""

    def __init__(self, places: Iterable[P]) -> None:
        self._places = iter(list(places))

    async def next(self) -> P | None:
        await trio.lowlevel.checkpoint()
        return next(self._places, None)


async def race(
    feed: Feed[P],
    attempt: Callable[[P], Awaitable[R]],
    *,
    delay: float = ATTEMPT_DELAY,
    discard: Callable[[R], Awaitable[object]] | None = None,
) -> R:
    """Return what the first attempt that succeeds returns; the others are cancelled.

    The next attempt begins ``delay`` seconds after the one before it, or at once when that fails. ``discard`` is called
    with what nobody will get: of an attempt that succeeded together with another, or with the caller's cancellation.

    Raises: OSError — all failed; it tells of all.
    """
    failures: list[Exception] = []
    won: list[R] = []

    async def run(place: P, failed: trio.Event) -> None:
        try:
            result = await attempt(place)
        except FAILURES as error:
            failures.append(error)
            failed.set()
            return
        won.append(result)
        nursery.cancel_scope.cancel()

    taken = False
    try:
        async with trio.open_nursery() as nursery:
            while (place := await feed.next()) is not None:
                failed = trio.Event()
                nursery.start_soon(run, place, failed)
                with trio.move_on_after(delay):
                    await failed.wait()
        taken = True
    finally:
        if discard is not None:
            for result in won[taken:]:
                await discard(result)
    if not won:
        raise verdict(failures)
    return won[0]


def verdict(failures: list[Exception]) -> OSError:
    """Return one error that tells of all."""
    if not failures:
        return OSError("there was nothing to try")
    first = failures[0]
    if len(failures) == 1 and isinstance(first, OSError):
        return first
    number = first.errno if isinstance(first, OSError) else None
    text = "; ".join(dict.fromkeys(str(error) or type(error).__name__ for error in failures))
    result = OSError(number, text) if number is not None else OSError(text)
    result.__cause__ = ExceptionGroup("every attempt failed", failures)
    return result
