"""What of the record an export says: an allow-list, so that a column nobody thought of stays at home.

No secret is in it, wrapped or hashed or whole, nor what only a helm has a use for, such as keys and certificates.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs


@attrs.frozen(kw_only=True)
class Exported:
    """One noun: its table has the same name."""

    columns: tuple[str, ...]
    """What stays the same until somebody changes it."""
    volatile: tuple[str, ...] = ()
    """What changes by itself: in a full export only."""
    only_full: bool = False
    """All of it comes and goes by itself."""
    order: str = "name"
    """Column that the records are sorted by, before their ids."""


META: Final = ("version", "created_at", "updated_at", "updated_by")
"""Of every noun; in a full export only."""
EXPORTED: Final[Mapping[str, Exported]] = {
    "settings": Exported(columns=("id", "value"), order="id"),
    "users": Exported(
        columns=(
            *("id", "name", "email", "state", "note", "expires_at"),
            *("device_limit", "quota_bytes", "quota_period", "quota_action"),
        )
    ),
    "groups": Exported(columns=("id", "name", "note", "node_tags", "protocols", "everybody")),
    "admins": Exported(columns=("id", "name", "role", "state")),
    "tokens": Exported(
        columns=("id", "name", "admin_id", "role", "scopes", "state", "expires_at"), volatile=("used_at",)
    ),
    "nodes": Exported(
        columns=(
            *("id", "name", "address", "control_port", "awg_port", "spare_ports", "tags", "note", "state"),
            *("place", "latitude", "longitude"),
        )
    ),
    "relays": Exported(
        columns=(
            *("id", "name", "address", "ingress_port", "tunnel_port", "note", "state"),
            *("place", "latitude", "longitude"),
        )
    ),
    "devices": Exported(
        columns=(
            *("id", "name", "user_id", "state", "note", "address4", "address6"),
            *("expires_at", "quota_bytes", "rate_limit", "exported"),
        ),
        volatile=("outdated_at",),
    ),
    "pools": Exported(columns=("id", "name", "network4", "network6", "preferred"), volatile=("next_host",)),
    # A webhook's path may be a secret, so where it goes is not said; nor is it of what alerts are delivered to.
    "sinks": Exported(columns=("id", "name", "kind", "sources", "header_names", "state")),
    "passkeys": Exported(columns=("id", "name", "admin_id", "site"), volatile=("used_at",)),
    "alert_targets": Exported(columns=("id", "name", "service", "minimum", "kinds", "enabled")),
    "tickets": Exported(
        columns=("id", "device_name", "user_id", "expires_at", "created_by", "used_at", "device_id", "withdrawn_at"),
        order="created_at",
        only_full=True,
    ),
    "certificates": Exported(
        columns=("id", "role", "subject", "serial", "state", "not_before_at", "not_after_at"),
        order="created_at",
        only_full=True,
    ),
    "alerts": Exported(
        columns=(
            *("id", "kind", "severity", "state", "noun", "subject", "text"),
            *("opened_at", "acknowledged_at", "acknowledged_by", "resolved_at"),
        ),
        order="created_at",
        only_full=True,
    ),
}
DOCUMENTS: Final = frozenset(
    {"settings.value", "groups.node_tags", "groups.protocols", "tokens.scopes", "nodes.spare_ports", "nodes.tags"}
    | {"sinks.sources", "sinks.header_names", "alert_targets.kinds"}
)
"""Columns that hold JSON."""
FLAGS: Final = frozenset({"groups.everybody", "pools.preferred", "alert_targets.enabled", "devices.exported"})
"""Columns that hold 0 or 1."""
NAMED: Final[Mapping[str, tuple[str, str]]] = {"user_id": ("user", "users"), "admin_id": ("admin", "admins")}
"""Columns that refer to a record which people know by its name: what that is called, and whose table has it."""
FLEET: Final = ("id", "posture", "pool4", "pool6")
FLEET_VOLATILE: Final = ("epoch", "term", "revision", "created_at", "backed_up_at", "restored_at")
"""Of the one row of the fleet table."""
