"""What somebody who connects may choose."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

import attrs

from pharos.caravel.managed import Floor
from pharos.caravel.tunnel.captive import PortalCheck
from pharos.wire.tcpdial import Resolve, resolve_by_system

Confirm: TypeAlias = Callable[[tuple[str, ...]], Awaitable[bool]]
"""Asked whether nodes that this device does not know may be used from now on, by their names."""


@attrs.frozen(kw_only=True)
class ConnectOptions:
    """The defaults are right for most."""

    floor: Floor | None = None
    """None: `Floor.AMNEZIAWG`, and for a way that was named `Floor.ANY`."""
    portal_checks: tuple[PortalCheck, ...] | None = None
    """None: the nodes themselves are asked; empty: nobody is, and no portal is found."""
    allow_portal: Callable[[bool], None] | None = None
    """Told to let a portal's login past the kill switch, and to end that."""
    confirm: Confirm | None = None
    """Asked once when no known node answers and there are new ones; None: they are waited for."""
    resolve: Resolve = resolve_by_system
    """Asks for the names of nodes, outside the tunnel."""
    remember: bool = True
    """Whether what works on which network is kept in the device's directory."""
    follow: bool = False
    """Whether the tunnel itself keeps in touch with helm (`Client.follow`) while it lasts."""
