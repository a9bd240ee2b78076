"""The sinks table, how far each sink was told, and how it goes with it.

Cursors and health are no changes of a record: a sink that is told of the audit would hear of its own cursor for ever.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from pharos.helm.model.sinks import Cursor, Health, Sink, SinkState, Source
from pharos.helm.store.audit import audit_head
from pharos.helm.store.database import Database
from pharos.helm.store.records import Noun

SINKS: Final = Noun(
    kind="sink",
    table="sinks",
    columns=("id", "name", "kind", "url", "sources", "header_names", "headers", "ca", "state"),
    model=Sink,
    documents=frozenset({"sources", "header_names"}),
    # A webhook's path may be a secret of its own.
    hidden=frozenset({"url", "headers", "ca"}),
    filters={"state": "state = ?", "kind": "kind = ?", "q": "LOWER(name) LIKE LOWER(?) ESCAPE '!'"},
    enrich=lambda sink: {"host": sink.host, "own_ca": sink.ca is not None},
)

UNKNOWN: Final = -1
"""Sequence of a cursor of events that nobody has placed yet: they stand in another database than the sink."""
# 8 events a second for an hour and a half, which helm needs no longer to begin with a sink that was added.
_LOOKED_AT: Final = 50_000


def list_sinks(db: Database) -> list[Sink]:
    """Return every sink, oldest first."""
    return [SINKS.load(row) for row in db.execute(f"SELECT {SINKS.all_columns} FROM sinks ORDER BY id")]  # noqa: S608


def enabled_sinks(db: Database) -> list[Sink]:
    """Return the sinks that something is sent to."""
    return [sink for sink in list_sinks(db) if sink.state is SinkState.ENABLED]


def begin_cursors(db: Database, sink_id: str, sources: Iterable[Source], *, from_oldest: bool) -> None:
    """Write where a sink begins: with what happens from now on, or with the oldest that is kept."""
    for source in sources:
        at = Cursor(sequence=0, mark=0)
        if not from_oldest:
            at = Cursor(sequence=audit_head(db).sequence if source is Source.AUDIT else UNKNOWN, mark=0)
        db.execute(
            "INSERT INTO sink_cursors (sink_id, source, sequence, mark) VALUES (?, ?, ?, ?)",
            (sink_id, source.value, at.sequence, at.mark),
        )


def drop_cursor(db: Database, sink_id: str, source: Source) -> None:
    """Forget how far a sink was told of a source."""
    db.execute("DELETE FROM sink_cursors WHERE sink_id = ? AND source = ?", (sink_id, source.value))


def cursors_of(db: Database, sink_id: str) -> dict[Source, Cursor]:
    """Return how far a sink was told."""
    rows = db.execute("SELECT source, sequence, mark FROM sink_cursors WHERE sink_id = ?", (sink_id,))
    return {Source(row["source"]): Cursor(sequence=row["sequence"], mark=row["mark"]) for row in rows}


def standing_cursor(db: Database, sink: Sink, source: Source) -> Cursor | None:
    """Return how far a sink was told of a source; None where its record has moved on since it was read."""
    row = db.execute(
        "SELECT sequence, mark FROM sink_cursors JOIN sinks ON sinks.id = sink_cursors.sink_id"
        " WHERE sink_id = ? AND source = ? AND sinks.version = ?",
        (sink.id, source.value, sink.version),
    ).fetchone()
    return None if row is None else Cursor(**dict(row))


def move_cursor(db: Database, sink_id: str, source: Source, cursor: Cursor, *, at: int, sent: bool) -> None:
    """Note how far a sink was told; where something was ``sent``, that it is well, too."""
    db.execute(
        "UPDATE sink_cursors SET sequence = ?, mark = ? WHERE sink_id = ? AND source = ?",
        (cursor.sequence, cursor.mark, sink_id, source.value),
    )
    if sent:
        _write_health(db, sink_id, Health(sent_at=at))


def note_failure(db: Database, sink_id: str, error: str, *, at: int) -> None:
    """Note that a sink took nothing, and why; since when stays as it was."""
    known = health_of(db, sink_id)
    since = at if known.failing_since_at is None else known.failing_since_at
    _write_health(db, sink_id, Health(sent_at=known.sent_at, failing_since_at=since, error=error))


def forget_failure(db: Database, sink_id: str) -> None:
    """Let a sink be judged anew: it was changed, or switched off."""
    _write_health(db, sink_id, Health(sent_at=health_of(db, sink_id).sent_at))


def health_of(db: Database, sink_id: str) -> Health:
    """Return how it goes with a sink."""
    row = db.execute("SELECT sent_at, failing_since_at, error FROM sink_health WHERE sink_id = ?", (sink_id,))
    found = row.fetchone()
    return Health() if found is None else Health(**dict(found))


def _write_health(db: Database, sink_id: str, health: Health) -> None:
    # A sink that was removed meanwhile has none.
    db.execute(
        "INSERT INTO sink_health (sink_id, sent_at, failing_since_at, error)"
        " SELECT id, ?, ?, ? FROM sinks WHERE id = ?"
        " ON CONFLICT (sink_id) DO UPDATE SET sent_at = excluded.sent_at,"
        " failing_since_at = excluded.failing_since_at, error = excluded.error",
        (health.sent_at, health.failing_since_at, health.error, sink_id),
    )


def newest_event(telemetry: Database) -> int:
    """Return the newest event's sequence, 0 where there is none; of ``telemetry.db``, as what follows."""
    sequence: int = telemetry.execute("SELECT COALESCE(MAX(sequence), 0) FROM events").fetchone()[0]
    return sequence


def first_event_since(telemetry: Database, at: int) -> int:
    """Return the sequence before the first event that came at a time or later, by helm's clock."""
    rows = telemetry.execute(
        "SELECT sequence, received_at FROM events ORDER BY sequence DESC LIMIT ?", (_LOOKED_AT,)
    ).fetchall()
    later = next((row["sequence"] for row in rows if row["received_at"] < at), None)
    if later is not None:
        return int(later)
    return int(rows[-1]["sequence"]) - 1 if rows else 0
