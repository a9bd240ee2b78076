"""The fleet itself: its identity, its posture and the fence under which it speaks."""

from __future__ import annotations

import enum

import attrs

from pharos.wire.ids import ControllerId, FleetId


class Posture(enum.Enum):
    """Whose fleet it is: the engine is identical, the defaults differ."""

    PERSONAL = "personal"
    ENTERPRISE = "enterprise"


@attrs.frozen(kw_only=True)
class Fleet:
    """The one row of the fleet table."""

    id: FleetId
    posture: Posture
    epoch: int
    """Only grows: seconds since 1970 at init, more after each restore."""
    term: int
    """Only grows: one more at each start of helm."""
    revision: int
    """Only grows: one more at each change that nodes or devices must hear of."""
    pool4: str
    """IPv4 network of the first address pool in CIDR notation; its first host is every node's own tunnel address."""
    pool6: str
    """IPv6 ULA network of the first address pool; its first host is every node's own tunnel address."""
    root: bytes
    """DER."""
    fleet_ca: bytes
    """DER."""
    device_ca: bytes
    """DER."""
    controller: bytes
    """DER: helm's own client certificate."""
    controller_id: ControllerId
    manifest: bytes
    """The trust manifest, signed by the root."""
    created_at: int
    """Microseconds since 1970."""
    next_fleet_ca: bytes | None = None
    """DER; only while it is being rotated."""
    next_device_ca: bytes | None = None
    """DER; only while it is being rotated."""
    deny_version: int = 0
    """Of the newest deny list of this epoch; 0 for none."""
