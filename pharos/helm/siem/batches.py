"""What a sink is told of next: rows behind its cursor, as records, no more than fit into one batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import attrs

from pharos.helm.audit.chain import AuditRow
from pharos.helm.errors import AuditError
from pharos.helm.model.sinks import Cursor, Source
from pharos.helm.siem.records import EventRow, Record, of_audit, of_event, of_gap, of_new_numbers
from pharos.helm.store.audit import audit_head, audit_rows, oldest_sequence
from pharos.helm.store.database import Database
from pharos.wire.units import KIB

# Some 200 kB as JSON; read in 5 ms, written as JSON in as many.
MAX_ROWS: Final = 500
# Splunk and Elastic take a megabyte and more, small webhooks a quarter of one.
MAX_OCTETS: Final = 200 * KIB
# SQLite took no more than 999 marks in a statement before its version 3.32.
_AT_ONCE: Final = 500


@attrs.frozen(kw_only=True)
class Batch:
    """What goes out together."""

    records: Sequence[Record]
    cursor: Cursor
    """Where the sink is once it has acknowledged them."""
    full: bool
    """There may be more."""


@attrs.frozen(kw_only=True)
class EventPage:
    """Events as they stand in ``telemetry.db``, before anybody's name is known."""

    missed: tuple[int, int] | None
    """First and last of those that were removed in between."""
    anew: bool
    """Their numbers began anew."""
    rows: Sequence[EventRow]


def read_audit(
    db: Database, fleet: str, cursor: Cursor, *, limit: int, at: int, size_of: Callable[[Record], int]
) -> Batch | None:
    """Return the audit rows behind a cursor, None where there is none. ``at`` dates what says that some are missing."""
    head, after = audit_head(db).sequence, cursor.sequence
    if head == after:
        return None
    notices: list[tuple[Record, Cursor]] = []
    if head < after:
        notices = [(of_new_numbers(fleet, Source.AUDIT, after, at=at), Cursor(sequence=0, mark=0))]
        after = 0
    oldest = oldest_sequence(db) or head + 1
    if oldest > after + 1:
        # Who begins with the oldest missed nothing.
        if after:
            notices.append(_gap(fleet, Source.AUDIT, after + 1, oldest - 1, at))
        after = oldest - 1
    try:
        rows = _readable(db, after, limit)
    except AuditError:
        notices.append(_gap(fleet, Source.AUDIT, after + 1, after + 1, at))
        rows = []
    pairs = ((of_audit(fleet, row), Cursor(sequence=row.sequence, mark=row.at)) for row in rows)
    return _batch(notices, pairs, limit=limit, size_of=size_of)


def _readable(db: Database, after: int, limit: int) -> list[AuditRow]:
    """Return rows up to the first that cannot be read. Raises: AuditError — that is the very next one."""
    try:
        return audit_rows(db, after, limit)
    except AuditError:
        if limit == 1:
            raise
    return _readable(db, after, limit // 2)


def read_events(telemetry: Database, cursor: Cursor, *, limit: int) -> EventPage | None:
    """Return the events behind a cursor, None where there is none."""
    oldest, newest = telemetry.execute("SELECT MIN(sequence), MAX(sequence) FROM events").fetchone()
    if newest is None:
        return None
    here = telemetry.execute("SELECT received_at FROM events WHERE sequence = ?", (cursor.sequence,)).fetchone()
    anew = newest < cursor.sequence or bool(here is not None and cursor.mark and here[0] != cursor.mark)
    after = 0 if anew else cursor.sequence
    missed = (after + 1, oldest - 1) if after and oldest > after + 1 else None
    rows = telemetry.execute(
        "SELECT sequence, at, received_at, kind, node_id, device_id, detail FROM events"
        " WHERE sequence > ? ORDER BY sequence LIMIT ?",
        (after, limit),
    ).fetchall()
    if not rows and not anew:
        return None
    return EventPage(missed=missed, anew=anew, rows=[EventRow(**dict(row)) for row in rows])


def names_in(db: Database, page: EventPage) -> dict[str, str]:
    """Return the names of nodes and devices that events are about, by id; of ``core.db``."""
    names: dict[str, str] = {}
    ids = sorted({id_ for row in page.rows for id_ in (row.node_id, row.device_id) if id_})
    for begin in range(0, len(ids), _AT_ONCE):
        part = ids[begin : begin + _AT_ONCE]
        marks = ", ".join("?" for _ in part)
        for query in (
            f"SELECT id, name FROM nodes WHERE id IN ({marks})",  # noqa: S608 -- marks only
            f"SELECT id, name FROM devices WHERE id IN ({marks})",  # noqa: S608 -- marks only
        ):
            names |= {row["id"]: row["name"] for row in db.execute(query, part)}
    return names


def event_batch(
    fleet: str,
    cursor: Cursor,
    page: EventPage,
    names: dict[str, str],
    *,
    limit: int,
    at: int,
    size_of: Callable[[Record], int],
) -> Batch:
    """Return a page of events as one batch."""
    notices: list[tuple[Record, Cursor]] = []
    if page.anew:
        notices.append(
            (of_new_numbers(fleet, Source.EVENTS, cursor.sequence, at=at), Cursor(sequence=0, mark=0)),
        )
    if page.missed is not None:
        notices.append(_gap(fleet, Source.EVENTS, *page.missed, at))
    pairs = ((of_event(fleet, row, names), Cursor(sequence=row.sequence, mark=row.received_at)) for row in page.rows)
    return _batch(notices, pairs, limit=limit, size_of=size_of)


def _gap(fleet: str, source: Source, first: int, last: int, at: int) -> tuple[Record, Cursor]:
    return of_gap(fleet, source, first, last, at=at), Cursor(sequence=last, mark=0)


def _batch(
    notices: list[tuple[Record, Cursor]],
    pairs: Iterable[tuple[Record, Cursor]],
    *,
    limit: int,
    size_of: Callable[[Record], int],
) -> Batch:
    chosen = list(notices)
    octets = sum(size_of(record) for record, _ in chosen)
    count, cut = 0, False
    for pair in pairs:
        octets += size_of(pair[0])
        # One goes out whatever its size, or nothing ever would.
        if octets > MAX_OCTETS and chosen:
            cut = True
            break
        chosen.append(pair)
        count += 1
    assert chosen, "whoever asks has a row, or a notice"
    return Batch(
        records=[record for record, _ in chosen],
        cursor=chosen[-1][1],
        full=cut or count >= limit or bool(notices),
    )
