"""helm sleeps and wakes like the laptop it may run on: what it slept through is nobody's failure.

The monotonic clock stands still while the machine sleeps and the boot-time clock does not, so a growing difference is a
sleep, whatever the wall clock says.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, NoReturn

import trio

from pharos.wire.units import SECONDS
from pharos.wire.world import slept

log = logging.getLogger(__name__)

# product.md: a gap of more than 30 s is a wake. A shorter one no keepalive has noticed.
GAP: Final = 30 * SECONDS
LOOK_EVERY: Final = 2 * SECONDS


class Wakes:
    """Counts how often this machine woke."""

    def __init__(self) -> None:
        self.count = 0
        self._woken = trio.lowlevel.ParkingLot()

    async def wait(self, seen: int) -> int:
        """Return the count once it is larger than ``seen``."""
        while self.count <= seen:
            await self._woken.park()
        return self.count

    async def sleep(self, seconds: float) -> None:
        """Sleep, but not beyond a wake: what was due meanwhile is due at once."""
        with trio.move_on_after(seconds):
            await self.wait(self.count)

    @asynccontextmanager
    async def ending(self) -> AsyncIterator[None]:
        """Run a block that waits for something, and no longer than to the next wake."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._cancel, nursery.cancel_scope, self.count)
            yield
            nursery.cancel_scope.cancel()

    async def _cancel(self, scope: trio.CancelScope, seen: int) -> None:
        await self.wait(seen)
        scope.cancel()

    async def run(self, clock: Callable[[], float] = slept) -> NoReturn:
        """Watch the clocks until cancelled; ``clock`` gives the seconds slept."""
        before = clock()
        while True:
            await trio.sleep(LOOK_EVERY)
            now = clock()
            if now - before > GAP:
                log.info("this machine slept for %.0f s; every link is dialled anew", now - before)
                self.count += 1
                self._woken.unpark_all()
            before = now
