"""Looking at sites on behalf of helm, in such a way that a stolen helm gets no port scanner of it.

One at a time and seldom, on the Internet only, by a browser's hello and never a word of its own; what an address inside
is called, or whether it answers, is not said.
"""

from __future__ import annotations

import logging
import ssl
from typing import Final

import trio

from pharos.wire.errors import WireError
from pharos.wire.reality.routing import Routes
from pharos.wire.reality.target import CheckLimits, check_target
from pharos.wire.reality.targetreport import TargetReport
from pharos.wire.reality.throttle import Bucket
from pharos.wire.units import SECONDS

log = logging.getLogger(__name__)

EVERY: Final = 10 * SECONDS
"""Between two looks in the long run: of the 65,535 ports of one address a stolen helm would see the last in a week."""
AT_ONCE: Final = 6
"""Looks that need not wait after a pause: an operator compares a handful of sites."""


class LookRefusedError(WireError):
    """This node is looking at a site, or has looked at many; try again in a few seconds."""


class TargetDesk:
    """Takes one look at a time. ``trust``: by which certificates are judged, the system's if None."""

    def __init__(
        self, *, routes: Routes | None = None, trust: ssl.SSLContext | None = None, limits: CheckLimits | None = None
    ) -> None:
        self._routes = routes or Routes()
        self._trust = trust
        self._limits = limits
        self._turn = trio.Lock()
        self._looks: Bucket | None = None

    async def look(self, host: str, port: int, names: tuple[str, ...]) -> TargetReport:
        """Look at a site.

        Raises: LookRefusedError — not now. ParameterError — host, port or a name is none.
        """
        now = trio.current_time()
        if self._looks is None:
            # Not when it is made: then there may be no clock yet.
            self._looks = Bucket(1 / EVERY, now=now, burst=AT_ONCE)
        if self._turn.locked():
            raise LookRefusedError("this node is looking at another site; try again in a few seconds")
        if wait := self._looks.take(1, now=now):
            # What was not had is not owed.
            self._looks.take(-1, now=now)
            raise LookRefusedError(f"this node has looked at many sites; try again in {wait:.0f} s")
        async with self._turn:
            log.info("looks at %s port %d for helm", host, port)
            return await check_target(
                host, port, names, only_public=True, routes=self._routes, trust=self._trust, limits=self._limits
            )
