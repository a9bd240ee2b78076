"""Whether a portal is in the way, and who has to know of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pharos.caravel.events import CaptivePortal
from pharos.caravel.tunnel.captive import check_of_node, find_portal
from pharos.caravel.tunnel.options import ConnectOptions
from pharos.caravel.tunnel.parts import Protect
from pharos.caravel.tunnel.watching import Watches


class Portals:
    """Looks for portals where nothing leads in."""

    def __init__(self, options: ConnectOptions, protect: Protect | None, watches: Watches) -> None:
        self._options = options
        self._protect = protect
        self._watches = watches
        self._is_captive = False
        self._url: str | None = None

    async def look(self, hosts: Sequence[str]) -> str | None:
        """Return where the portal wants to be logged in to, which may be empty; None if there is none.

        ``hosts``: of nodes that were dialled in vain, for who names no pages to ask.
        """
        checks = self._options.portal_checks
        if checks is None:
            checks = tuple(map(check_of_node, hosts))
        portal = None
        if checks:
            portal = await find_portal(checks, protect=self._protect, resolve=self._options.resolve)
        if portal is None:
            self.end()
            return None
        if self._url != portal.url:
            self._url = portal.url
            self._watches.tell(CaptivePortal(url=portal.url))
        self._allow(is_captive=True)
        return portal.url

    def end(self) -> None:
        """There is none, or none any more."""
        self._url = None
        self._allow(is_captive=False)

    def _allow(self, *, is_captive: bool) -> None:
        if is_captive != self._is_captive:
            self._is_captive = is_captive
            allow: Callable[[bool], None] | None = self._options.allow_portal
            if allow is not None:
                allow(is_captive)
