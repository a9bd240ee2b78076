"""A person who uses the fleet, and the groups that say which nodes and protocols."""

from __future__ import annotations

import enum

import attrs


class UserState(enum.Enum):
    """Whether a person's devices may use the fleet."""

    ACTIVE = "active"
    DISABLED = "disabled"


class QuotaPeriod(enum.Enum):
    """How often a quota begins anew."""

    NEVER = "never"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


class QuotaAction(enum.Enum):
    """What happens when a quota is used up."""

    WARN = "warn"
    THROTTLE = "throttle"
    CUT = "cut"


class Protocol(enum.Enum):
    """How a device can reach a node."""

    AMNEZIAWG = "amneziawg"
    REALITY = "reality"


@attrs.frozen(kw_only=True)
class User:
    """A user's record."""

    id: str
    name: str
    email: str | None = None
    state: UserState = UserState.ACTIVE
    note: str = ""
    expires_at: int | None = None
    """Microseconds since 1970; the devices are cut then."""
    device_limit: int | None = None
    """None: the posture's own."""
    quota_bytes: int | None = None
    """Traffic of all devices together, both directions, per period; None: no limit."""
    quota_period: QuotaPeriod = QuotaPeriod.MONTH
    quota_action: QuotaAction = QuotaAction.WARN
    version: int = 1
    created_at: int = 0
    updated_at: int = 0
    updated_by: str = ""


@attrs.frozen(kw_only=True)
class Group:
    """A group's record: members on one side, node tags times protocols on the other."""

    id: str
    name: str
    note: str = ""
    node_tags: tuple[str, ...] = ()
    """Nodes with one of these tags; empty: every node."""
    protocols: tuple[Protocol, ...] = (Protocol.AMNEZIAWG, Protocol.REALITY)
    everybody: bool = False
    """Every user is a member, whoever is listed."""
    version: int = 1
    created_at: int = 0
    updated_at: int = 0
    updated_by: str = ""
