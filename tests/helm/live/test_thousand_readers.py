"""A thousand pages that do not read hold nobody up, and cost helm less than is promised. (8 s)"""

from __future__ import annotations

import tracemalloc
from contextlib import AsyncExitStack

from pharos.helm.live.hub import Hub
from pharos.helm.live.subscriber import QUEUE_SIZE, Gap
from pharos.wire.units import MIB
from tests.support.figures import Fault, record
from tests.support.live import delta

READERS = 1_000
PROMISED = 64 * MIB
"""security.md §3, for so many."""


def fill(hub: Hub) -> None:
    """Hand out half as many deltas again as a queue holds, each of another record: nothing can be coalesced."""
    for number in range(QUEUE_SIZE + QUEUE_SIZE // 2):
        hub.hand_out([delta(number + 1, subject=f"u{number}")])


async def test_a_thousand_pages_that_never_read_cost_a_bounded_amount() -> None:
    hub = Hub()
    async with AsyncExitStack() as stack:
        pages = [await stack.enter_async_context(hub.open_subscriber()) for _ in range(READERS)]
        # What the allocator counts, and not the process's size: what that has to spare depends on the tests before.
        tracemalloc.start()
        try:
            fill(hub)
            # At its most, just before the queues are full and given up.
            _, grown = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        record(Fault.SLOW_CONSUMER, "memory that 1,000 pages cost that do not read", grown / 1e6, "MB")
        assert grown < PROMISED
        # They know that they missed something, and take a new picture.
        told = [await page.receive() for page in pages]
        assert all(isinstance(each, Gap) for each in told)
        record(Fault.SLOW_CONSUMER, "pages that were not told of what they missed", 0, f"of {READERS}")
