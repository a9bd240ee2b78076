"""What nodes told, newest first: the events of telemetry.db, as far back as they are kept."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import attrs

from pharos.helm.errors import InvalidRequestError
from pharos.helm.store.database import Database
from pharos.helm.store.handshakes import ENDS
from pharos.wire.ids import DeviceId, NodeId

MOST: Final = 200
"""Events of a page."""
# A page of something rare looks at so many events and says how far it came: a twentieth of a second.
LOOKED_THROUGH: Final = 500_000
_COLUMNS: Final = "sequence, at, kind, node_id, device_id, detail, protocol"


@attrs.frozen(kw_only=True)
class PastEvent:
    """An event as it was told."""

    sequence: int
    """In which order it came to helm."""
    at: int
    """Microseconds since 1970, by the node's clock."""
    kind: str
    node_id: NodeId | None
    device_id: DeviceId | None
    detail: str
    protocol: str


@attrs.frozen(kw_only=True)
class EventQuery:
    """Which events."""

    node_id: str | None = None
    device_id: str | None = None
    kind: str | None = None
    before: int | None = None
    """A sequence; None: from the newest on."""
    limit: int = 100


@attrs.frozen(kw_only=True)
class EventPage:
    """A part of the history; it may hold less than was asked for, and yet not be the last."""

    items: list[PastEvent]
    before: int | None
    """Where the next page begins; None behind the last."""


def search_events(db: Database, query: EventQuery, *, most_looked: int = LOOKED_THROUGH) -> EventPage:
    """Return one page of the history.

    Raises: InvalidRequestError — the limit.
    """
    if not 1 <= query.limit <= MOST:
        raise InvalidRequestError(f"a page has 1 to {MOST} events, not {query.limit}")
    oldest, newest = db.execute(ENDS).fetchone()
    if oldest is None:
        return EventPage(items=[], before=None)
    before = newest + 1 if query.before is None else min(query.before, newest + 1)
    if query.device_id is None:
        first = max(before - most_looked, oldest)
        rows = _rows_between(db, query, first, before)
    else:
        # Of one device an index tells, however long ago its events were.
        first = oldest
        rows = _rows_of_device(db, query, query.device_id, before)
    items = [_event(row) for row in rows]
    if len(items) > query.limit:
        items = items[: query.limit]
        return EventPage(items=items, before=items[-1].sequence)
    return EventPage(items=items, before=first if first > oldest else None)


def names_of(core: Database, device_ids: Iterable[str]) -> dict[str, str]:
    """Return the names of devices, of those that are in the record."""
    ids = sorted(set(device_ids))
    marks = ", ".join("?" for _ in ids) or "NULL"
    rows = core.execute(f"SELECT id, name FROM devices WHERE id IN ({marks})", ids)  # noqa: S608 -- marks only
    return {row["id"]: row["name"] for row in rows}


def _rows_between(db: Database, query: EventQuery, first: int, before: int) -> list[Any]:
    # The index by node is in no order of time: COALESCE keeps the databases from it.
    conditions, values = _kind_of(query)
    if query.node_id is not None:
        conditions += " AND COALESCE(node_id, '') = ?"
        values.append(query.node_id)
    return db.execute(
        f"SELECT {_COLUMNS} FROM events WHERE sequence >= ? AND sequence < ?{conditions}"  # noqa: S608 -- constant text
        " ORDER BY sequence DESC LIMIT ?",
        (first, before, *values, query.limit + 1),
    ).fetchall()


def _rows_of_device(db: Database, query: EventQuery, device_id: str, before: int) -> list[Any]:
    nodes, where = "node_id IN (SELECT node_id FROM handshakes WHERE device_id = ?)", device_id
    if query.node_id is not None:
        nodes, where = "node_id = ?", query.node_id
    conditions, values = _kind_of(query)
    return db.execute(
        f"SELECT {_COLUMNS} FROM events WHERE {nodes} AND device_id = ?{conditions}"  # noqa: S608 -- constant text
        " AND COALESCE(sequence, 0) < ? ORDER BY COALESCE(sequence, 0) DESC LIMIT ?",
        (where, device_id, *values, before, query.limit + 1),
    ).fetchall()


def _kind_of(query: EventQuery) -> tuple[str, list[Any]]:
    return ("", []) if query.kind is None else (" AND kind = ?", [query.kind])


def _event(row: Any) -> PastEvent:
    return PastEvent(
        sequence=row["sequence"],
        at=row["at"],
        kind=row["kind"],
        node_id=NodeId(row["node_id"]) or None,
        device_id=DeviceId(row["device_id"]) or None,
        detail=row["detail"],
        protocol=row["protocol"],
    )
