"""Rows of telemetry.db: live events of the nodes and the newest handshake of each device at each node."""

from __future__ import annotations

import attrs

from pharos.helm.store.database import Database
from pharos.wire.ids import DeviceId, NodeId


@attrs.frozen(kw_only=True)
class NodeEvent:
    """Something that happened at a node."""

    at: int
    """Microseconds since 1970, by the node's clock."""
    kind: str
    node_id: NodeId
    device_id: DeviceId | None
    detail: str


def add_events(db: Database, events: list[NodeEvent]) -> None:
    """Write a batch of events; a handshake also becomes the newest of its device at its node."""
    db.executemany(
        "INSERT INTO events (at, kind, node_id, device_id, detail) VALUES (?, ?, ?, ?, ?)",
        [(e.at, e.kind, e.node_id, e.device_id, e.detail) for e in events],
    )
    db.executemany(
        "INSERT INTO handshakes (device_id, node_id, at) VALUES (?, ?, ?)"
        " ON CONFLICT (device_id, node_id) DO UPDATE SET at = excluded.at WHERE excluded.at > handshakes.at",
        [(e.device_id, e.node_id, e.at) for e in events if e.kind == "handshake" and e.device_id is not None],
    )


def newest_handshakes(db: Database) -> dict[DeviceId, tuple[NodeId, int]]:
    """Return for each device the node and time (microseconds since 1970) of its newest handshake anywhere."""
    newest: dict[DeviceId, tuple[NodeId, int]] = {}
    for row in db.execute("SELECT device_id, node_id, at FROM handshakes ORDER BY at"):
        newest[DeviceId(row["device_id"])] = (NodeId(row["node_id"]), row["at"])
    return newest
