"""How the fleet's relays are reached from here: directly, kept out of the tunnel, or through the tunnel that is up."""

from __future__ import annotations

from collections.abc import Callable

import trio

from pharos.caravel.tunnel.parts import StreamOpener
from pharos.wire.chance import fraction
from pharos.wire.tcpdial import Protect, Resolve


class Reach:
    """What whoever syncs knows of the ways; one for a device, in one event loop.

    Whoever runs a tunnel says so by `offer`, and those who wait for helm try at once.
    """

    def __init__(
        self,
        *,
        protect: Protect | None = None,
        resolve: Resolve | None = None,
        through: StreamOpener | None = None,
        random: Callable[[], float] = fraction,
    ) -> None:
        self.protect = protect
        """For each socket that is opened to a relay directly."""
        self.resolve = resolve
        """For the names of relays, where the system's resolver is inside of the tunnel."""
        self.random = random
        """Uniform in [0, 1): it spreads the devices of a fleet over its relays."""
        self._through = through
        self._news = trio.Event()
        self._not_before: dict[str, float] = {}

    @property
    def through(self) -> StreamOpener | None:
        """What opens streams through the tunnel; None while there is none."""
        return self._through

    def offer(self, through: StreamOpener | None) -> None:
        """Say that a tunnel has come up, or with None that it has gone; a fresh one is news."""
        self._through = through
        if through is not None:
            self.tell()

    def tell(self) -> None:
        """Say that what failed may work now: a tunnel or another network is there."""
        self._not_before.clear()
        self._news.set()
        self._news = trio.Event()

    async def wait_news(self) -> None:
        """Wait until it is worth while to try again."""
        await self._news.wait()

    def pause(self, relay: str, seconds: float) -> None:
        """Leave a relay in peace for so long: it has said that to ask before is in vain."""
        if seconds > 0:
            self._not_before[relay] = trio.current_time() + seconds

    def pause_left(self, relay: str) -> float:
        """Return the seconds for which a relay is left in peace still."""
        return max(0.0, self._not_before.get(relay, 0.0) - trio.current_time())
