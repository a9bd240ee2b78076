"""Tasks beside a block without the exception groups of a nursery of one's own, and blocks for one task at a time."""

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


class Turn:
    """A context that only one task can be in; others are told, as Trio's own streams tell them."""

    __slots__ = ("_what", "taken")

    def __init__(self, what: str) -> None:
        self._what = what
        self.taken = False

    def __enter__(self) -> None:
        """Raises: trio.BusyResourceError — another task is in it."""
        if self.taken:
            raise trio.BusyResourceError(f"another task is {self._what}")
        self.taken = True

    def __exit__(self, *_: object) -> None:
        self.taken = False
