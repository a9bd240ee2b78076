"""Rows of telemetry.db: live events of the nodes and the newest handshake of each device at each node."""

from __future__ import annotations

from typing import Any, Final

from pharos.helm.model.telemetry import NodeEvent as NodeEvent
from pharos.helm.store.bulk import insert_rows
from pharos.helm.store.database import Database
from pharos.wire.convert import EventKind
from pharos.wire.ids import DeviceId, NodeId

_INSERT: Final = (
    "INSERT INTO events (at, kind, node_id, device_id, detail, received_at, protocol) VALUES (?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (node_id, device_id, kind, at) DO NOTHING"
)

# Each by a look into the index; of both in one SELECT, SQLite reads the whole table.
ENDS: Final = "SELECT (SELECT MIN(sequence) FROM events) AS oldest, (SELECT MAX(sequence) FROM events) AS newest"

# A flood of one node ends up here too: 20 million rows of some 250 bytes, its index included, are 5 GB.
MOST_EVENTS: Final = 20_000_000


def add_events(db: Database, events: list[NodeEvent], *, received_at: int | None = None) -> list[NodeEvent]:
    """Write a batch of events and return those that were not there: a repeated one counts once.

    A handshake also becomes the newest of its device at its node. ``received_at`` is helm's clock, in microseconds.
    """
    rows = [
        (e.at, e.kind, e.node_id, e.device_id or "", e.detail, e.at if received_at is None else received_at, e.protocol)
        for e in events
    ]
    fresh = events if _insert_all(db, rows) else [e for e, row in zip(events, rows, strict=True) if _insert(db, row)]
    newest: dict[tuple[DeviceId, NodeId], int] = {}
    for e in fresh:
        if e.kind == EventKind.HANDSHAKE.value and e.device_id is not None:
            newest[e.device_id, e.node_id] = max(e.at, newest.get((e.device_id, e.node_id), 0))
    insert_rows(
        db,
        "INSERT INTO handshakes (device_id, node_id, at) VALUES (?, ?, ?)"
        " ON CONFLICT (device_id, node_id) DO UPDATE SET at = excluded.at WHERE excluded.at > handshakes.at",
        [(device_id, node_id, at) for (device_id, node_id), at in newest.items()],
    )
    return fresh


def newest_handshakes(db: Database) -> dict[DeviceId, tuple[NodeId, int]]:
    """Return for each device the node and time (microseconds since 1970) of its newest handshake anywhere."""
    newest: dict[DeviceId, tuple[NodeId, int]] = {}
    for row in db.execute("SELECT device_id, node_id, at FROM handshakes ORDER BY at"):
        newest[DeviceId(row["device_id"])] = (NodeId(row["node_id"]), row["at"])
    return newest


def handshakes_at(db: Database, node_id: NodeId) -> dict[DeviceId, int]:
    """Return the newest handshake of every device at one node, in microseconds since 1970."""
    rows = db.execute("SELECT device_id, at FROM handshakes WHERE node_id = ?", (node_id,))
    return {DeviceId(row["device_id"]): row["at"] for row in rows}


def prune_events(db: Database, *, before: int, limit: int, most: int = MOST_EVENTS) -> int:
    """Remove the oldest events that came before ``before``, or that are more than ``most``; at most ``limit``.

    Returns how many went. They went in the order in which they came, so a node with a wrong clock hinders nobody.
    """
    oldest, newest = db.execute(ENDS).fetchone()
    if oldest is None:
        return 0
    rows = db.execute("SELECT sequence, received_at FROM events ORDER BY sequence LIMIT ?", (limit,)).fetchall()
    gone = [row[0] for row in rows if row[1] < before or row[0] <= newest - most]
    if not gone:
        return 0
    count = db.execute(
        f"DELETE FROM events WHERE sequence IN ({', '.join('?' for _ in gone)})",  # noqa: S608 -- marks only
        gone,
    ).rowcount
    return int(count)


def _insert_all(db: Database, rows: list[tuple[Any, ...]]) -> bool:
    """Write events that are all new, which is what they nearly always are; write none where some are not.

    Asking after each row whether it was new takes twice as long.
    """
    before = db.total_changes
    db.execute("SAVEPOINT events")
    insert_rows(db, _INSERT, rows)
    whole = db.total_changes - before == len(rows)
    if not whole:
        db.execute("ROLLBACK TO events")
    db.execute("RELEASE events")
    return whole


def _insert(db: Database, row: tuple[Any, ...]) -> bool:
    return db.execute(_INSERT, row).rowcount == 1
