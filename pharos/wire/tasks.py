"""A task beside a block, without the exception groups that a nursery of one's own brings along."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio


@asynccontextmanager
async def open_background(run: Callable[..., Awaitable[object]]) -> AsyncIterator[Any]:
    """Run ``run(task_status=…)`` for as long as the block lasts; yield what it gave to ``started``.

    What the block raises comes out as it is, not in a group: the nursery is nobody's business but ours. What the task
    raises ends the block and comes out in a group, as from any nursery.
    """
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        started = await nursery.start(run)
        try:
            yield started
        # Raised below, outside of the nursery.
        except Exception as error:  # noqa: BLE001 -- raised below
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
