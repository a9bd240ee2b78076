"""What happened, in order, written in the transaction that made it happen; the live feed reads only this."""

from __future__ import annotations

from typing import Final

import attrs

from pharos.helm.store.database import Database

# What a page shows at first; older rows stay in the table.
RECENT: Final = 50


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


def append_entry(db: Database, *, at: int, kind: str, subject: str, actor: str, detail: str) -> None:
    """Write one entry; part of the caller's transaction."""
    db.execute(
        "INSERT INTO outbox (at, kind, subject, actor, detail) VALUES (?, ?, ?, ?, ?)",
        (at, kind, subject, actor, detail),
    )


def entries_after(db: Database, sequence: int, limit: int = RECENT) -> list[Entry]:
    """Return the entries after ``sequence``, oldest first."""
    rows = db.execute(
        "SELECT sequence, at, kind, subject, actor, detail FROM outbox WHERE sequence > ? ORDER BY sequence LIMIT ?",
        (sequence, limit),
    )
    return [Entry(**dict(row)) for row in rows]


def last_sequence(db: Database) -> int:
    """Return the newest entry's sequence, 0 where there is none."""
    sequence: int = db.execute("SELECT COALESCE(MAX(sequence), 0) FROM outbox").fetchone()[0]
    return sequence
