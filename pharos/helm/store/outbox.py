"""What happened, in order, written in the transaction that made it happen; the live feed reads only this."""

from __future__ import annotations

from typing import Final

import attrs

from pharos.helm.store.database import Database

# What a page shows at first; older rows stay in the table.
RECENT: Final = 50
# A page that was away for a day reads everything anew, and 50,000 rows of some 600 octets are 30 MB: at 200 changes a
# second four minutes, at 10,000 changes a day all of it.
KEPT_ROWS: Final = 50_000
KEPT_FOR: Final = 24 * 3600 * 1_000_000
"""Microseconds."""
# Some 10 ms of the writer's time.
PRUNED_AT_ONCE: Final = 2_000


@attrs.frozen(kw_only=True)
class Entry:
    """One thing that happened to the record."""

    sequence: int
    at: int
    """Microseconds since 1970."""
    kind: str
    subject: str
    """Id of the record it happened to."""
    actor: str
    detail: str
    noun: str
    """Of the record: ``device``, ``node`` …"""
    version: int
    body: str | None
    """The record after it as JSON, None when it is gone or is no record."""


def append_entry(
    db: Database,
    *,
    at: int,
    kind: str,
    subject: str,
    actor: str,
    detail: str,
    noun: str = "",
    version: int = 0,
    body: str | None = None,
) -> None:
    """Write one entry; part of the caller's transaction. Changes of records come by way of `record_change`."""
    db.execute(
        "INSERT INTO outbox (at, kind, subject, actor, detail, noun, version, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (at, kind, subject, actor, detail, noun, version, body),
    )


def entries_after(db: Database, sequence: int, limit: int = RECENT) -> list[Entry]:
    """Return the entries after ``sequence``, oldest first."""
    rows = db.execute(
        "SELECT sequence, at, kind, subject, actor, detail, noun, version, body FROM outbox"
        " WHERE sequence > ? ORDER BY sequence LIMIT ?",
        (sequence, limit),
    )
    return [Entry(**dict(row)) for row in rows]


def states_of(db: Database, noun: str, subject: str, version: int) -> tuple[Entry | None, Entry | None]:
    """Return what left a record at ``version`` and what left it as it was before, where either is still kept."""
    rows = db.execute(
        "SELECT sequence, at, kind, subject, actor, detail, noun, version, body FROM outbox"
        " WHERE noun = ? AND subject = ? AND version <= ? ORDER BY version DESC, sequence DESC LIMIT 2",
        (noun, subject, version),
    ).fetchall()
    entries = [Entry(**dict(row)) for row in rows]
    after = next((entry for entry in entries if entry.version == version), None)
    before = next((entry for entry in entries if entry.version < version), None)
    return before, after


def last_sequence(db: Database) -> int:
    """Return the newest entry's sequence, 0 where there is none."""
    sequence: int = db.execute("SELECT COALESCE(MAX(sequence), 0) FROM outbox").fetchone()[0]
    return sequence


def oldest_sequence(db: Database) -> int:
    """Return the oldest entry's sequence that is kept, 0 where there is none."""
    sequence: int = db.execute("SELECT COALESCE(MIN(sequence), 0) FROM outbox").fetchone()[0]
    return sequence


def prune_outbox(db: Database, *, at: int) -> bool:
    """Drop some of what nobody will ask for any more; tell whether there may be more of it.

    The newest row stays whatever its age, for the next one is numbered after it.
    """
    oldest, last = oldest_sequence(db), last_sequence(db)
    row = db.execute("SELECT MAX(sequence) FROM outbox WHERE at < ?", (at - KEPT_FOR,)).fetchone()
    # Sequences have no holes: rows are only ever dropped here, from the oldest on.
    wanted = min(max(row[0] or 0, last - KEPT_ROWS), last - 1)
    until = min(wanted, oldest + PRUNED_AT_ONCE - 1)
    if until < oldest:
        return False
    db.execute("DELETE FROM outbox WHERE sequence <= ?", (until,))
    return until < wanted
