"""Something that runs in a task of its own, so that a test can end it while what was opened after it goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import trio


@asynccontextmanager
async def ending(opened: AbstractAsyncContextManager[object]) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Yield what ends it, and waits until it has."""
    over = trio.Event()
    scope = trio.CancelScope()

    async def run(*, task_status: trio.TaskStatus[None]) -> None:
        with scope:
            async with opened:
                task_status.started()
                await trio.sleep_forever()
        over.set()

    async def end() -> None:
        scope.cancel()
        await over.wait()

    async with trio.open_nursery() as nursery:
        await nursery.start(run)
        yield end
        nursery.cancel_scope.cancel()
