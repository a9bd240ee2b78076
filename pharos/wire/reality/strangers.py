"""True sites that answered where a node should: left as a browser leaves a tab, some time later and without a word.

To close at the very octet that shows the certificate would tell whoever looks on that this was no browser. What a
browser would have said meanwhile, its Finished and a request, is not said: only the timing is covered.
"""

from __future__ import annotations

from typing import Final, NoReturn

import trio

from pharos.wire.reality.draws import Random, below
from pharos.wire.reality.stream import CHUNK
from pharos.wire.units import SECONDS
from pharos.wire.world import random_bytes

HOLD: Final = 5 * SECONDS
"""At least; visitors leave most pages within seconds."""
HOLD_MORE: Final = 25
"""Up to so many seconds more are drawn: no two connections end after the same time."""
MAX_READS: Final = 64
"""Then no more is taken: with `CHUNK` of 128 KiB it is 8 MiB, more than a handshake and a site's first records have."""
MAX_HELD: Final = 8
"""At once: somebody between sees one for each try of ours, and they must not use up our descriptors."""


class Strangers:
    """Holds their transports in a nursery, which ends them all when it is cancelled."""

    def __init__(self, nursery: trio.Nursery, *, random: Random = random_bytes) -> None:
        self.held = 0
        self._nursery = nursery
        self._random = random

    def take(self, transport: trio.abc.HalfCloseableStream) -> None:
        """Own a transport, and close it in time; at once if there are many."""
        if self.held >= MAX_HELD:
            self._nursery.start_soon(trio.aclose_forcefully, transport)
            return
        self.held += 1
        self._nursery.start_soon(self._hold, transport, HOLD + below(self._random, HOLD_MORE + 1))

    async def _hold(self, transport: trio.abc.HalfCloseableStream, seconds: float) -> None:
        try:
            with trio.move_on_after(seconds):
                if await _reads_to_the_end(transport):
                    return
                await trio.sleep_forever()
        finally:
            self.held -= 1
            await trio.aclose_forcefully(transport)


async def run_strangers(
    *, random: Random = random_bytes, task_status: trio.TaskStatus[Strangers] = trio.TASK_STATUS_IGNORED
) -> NoReturn:
    """Hold whatever is taken until cancelled; ``started`` with who takes it."""
    async with trio.open_nursery() as nursery:
        task_status.started(Strangers(nursery, random=random))
        await trio.sleep_forever()
    raise AssertionError("it ends by cancellation only")


async def _reads_to_the_end(transport: trio.abc.HalfCloseableStream) -> bool:
    """Drop what comes; say whether the site has ended."""
    try:
        for _ in range(MAX_READS):
            if not await transport.receive_some(CHUNK):
                return True
    except trio.BrokenResourceError:
        return True
    return False
