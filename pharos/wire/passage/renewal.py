"""A device's passages one after another: fresh keys every half day, or when asked for, and no moment without one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Final

import trio

from pharos.wire.errors import LinkLostError
from pharos.wire.passage.client import Passage
from pharos.wire.units import HOURS

RENEW_EVERY: Final = 12 * HOURS
"""Half of what a session may last (security.md §2b): one renewal may fail. Only fresh keys heal a compromise."""

RENEW_JITTER: Final = 0.2
"""Of that, either way. 5,000 devices that came back within the same minute renew spread over five hours, one every
3.5 s."""

Dial = Callable[[], AbstractAsyncContextManager[Passage]]
Use = Callable[[Passage], Awaitable[bool]]


def renewal_delay(random: Callable[[], float]) -> float:
    """Return how many seconds a passage is held; ``random`` is uniform in [0, 1)."""
    return RENEW_EVERY * (1 + RENEW_JITTER * (2 * random() - 1))


async def keep_passages(dial: Dial, use: Use, *, random: Callable[[], float]) -> None:
    """Run ``use`` on a passage, and on the next before this one is left, until one is lost.

    helm ends the older of two by itself when the newer is confirmed, so ``dial`` gives passages that say at once what
    the device holds. ``use`` is cancelled when its passage is replaced. It returns False when the passage has ended,
    and True to have it replaced now: the device has another certificate, and a passage shows the one it began with.

    Raises, in a group: LinkLostError — the passage ended. What ``dial`` and ``use`` raise.
    """

    async def hold(older: trio.CancelScope | None) -> None:
        asked = trio.Event()
        with trio.CancelScope() as scope:
            async with dial() as passage:
                if older is not None:
                    older.cancel()
                generations.start_soon(renew, scope, asked)
                if await use(passage):
                    asked.set()
                    await trio.sleep_forever()
        if not scope.cancel_called:
            raise LinkLostError("the passage ended")

    async def renew(scope: trio.CancelScope, asked: trio.Event) -> None:
        with trio.move_on_after(renewal_delay(random)):
            await asked.wait()
        await hold(scope)

    async with trio.open_nursery() as generations:
        generations.start_soon(hold, None)
