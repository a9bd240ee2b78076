"""What long lists answer, for the API's description."""

from __future__ import annotations

import msgspec


class OrderView(msgspec.Struct, kw_only=True):
    """Which records there are, in order."""

    ids: list[str]
    total: int
    """How many match; more than the ids where a list is cut (docs/guide/views.md)."""
    facets: dict[str, dict[str, int]]
    """How many there are of each value of each facet, of those that every other filter lets through."""
    sequence: int
    """Of the live feed: up to which change the order goes by the record."""


class RowsQuery(msgspec.Struct, kw_only=True):
    """Which rows."""

    ids: str
    """Up to 100, with commas between; one that no record has is left out of the answer."""


class Named(msgspec.Struct, kw_only=True):
    """Another record."""

    id: str
    name: str


class ProfileStandView(msgspec.Struct, kw_only=True):
    """How far a device's profile is."""

    revision: int | None
    """Which the device has fetched; null for none."""
    wanted: int | None
    """The newest; null where its keys were made for another program, which fetches none."""
    state: str
    """``synced``, ``sending``, ``stale`` or ``none``."""
    since: str | None


class DeviceRow(msgspec.Struct, kw_only=True):
    """A device; rates are bits per second as it sees them, null where nobody knows."""

    id: str
    version: int
    name: str
    state: str
    status: str
    """``online``, ``offline``, ``sending``, ``stale``, ``disabled``, ``expired`` or ``revoked``."""
    user: Named | None
    exported: bool
    node: Named | None
    """Where it is, or was last."""
    protocol: str | None
    """By which it is online."""
    last_handshake_at: str | None
    stream: bool
    """It is online by an open stream, which shakes hands once."""
    address4: str
    address6: str
    endpoint: str | None
    """Its outer address, as seen last."""
    profile: ProfileStandView | None
    used_bytes: int | None
    """Of its quota or that of its user in this period; where there is none, of all time."""
    quota_bytes: int | None
    rate_limit: int | None
    expires_at: str | None
    created_at: str
    down: int | None
    up: int | None
    note: str


class DeviceRows(msgspec.Struct, kw_only=True):
    """Some devices, in the order of the ids that were asked for."""

    items: list[DeviceRow]
    as_of: str


class UserRow(msgspec.Struct, kw_only=True):
    """A user."""

    id: str
    version: int
    name: str
    email: str | None
    state: str
    status: str
    """``active``, ``disabled`` or ``expired``."""
    groups: list[Named]
    """Those of everybody among them."""
    devices: int
    """Without those that are revoked."""
    online: int
    device_limit: int | None
    used_bytes: int | None
    """Of all devices together: of the quota in its period; where there is none, of all time."""
    quota_bytes: int | None
    quota_period: str
    quota_action: str
    expires_at: str | None
    passphrase_set: bool
    created_at: str
    note: str


class UserRows(msgspec.Struct, kw_only=True):
    """Some users, in the order of the ids that were asked for."""

    items: list[UserRow]
    as_of: str


class SessionRow(msgspec.Struct, kw_only=True):
    """One device's stay at one node; times are the node's own."""

    id: str
    device: Named
    user: Named | None
    node: Named
    protocol: str | None
    endpoint: str
    """The outer address, as seen last; empty where the node did not tell."""
    opened_at: str
    seen_at: str
    ended_at: str | None
    """Null while it lives."""
    reason: str
    """Why it ended: ``silent``, or as the node named it; empty while it lives."""
    live: bool
    down: int | None
    """Bits per second as the device sees them; null where nobody knows, or it has ended."""
    up: int | None
    bytes: int | None
    """About what it carried, both directions."""


class SessionRows(msgspec.Struct, kw_only=True):
    """Some sessions, in the order of the ids that were asked for."""

    items: list[SessionRow]
    as_of: str


class ProfileRow(msgspec.Struct, kw_only=True):
    """A device's profile: all but what is in it."""

    id: str
    """That of its device."""
    device: Named
    user: Named | None
    revision: int | None
    """Which the device has fetched; null for none."""
    wanted: int | None
    """The newest; null where the device's keys were made for another program, which fetches none."""
    epoch: int | None
    state: str
    """``synced``, ``sending`` or ``stale``."""
    made_at: str | None
    fetched_at: str | None
    size: int | None
    """Octets, sealed."""
    nodes: int
    """How many are in it."""
    protocols: list[str]
    """By which they are reached."""


class ProfileRows(msgspec.Struct, kw_only=True):
    """Some profiles, in the order of the ids that were asked for."""

    items: list[ProfileRow]
    as_of: str
