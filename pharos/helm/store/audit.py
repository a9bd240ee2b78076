"""Rows of the audit table and the chain's own head."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from pharos.helm.audit.chain import AuditRow, Link, row_hash
from pharos.helm.errors import AuditError, InvalidRequestError
from pharos.helm.store.database import Database

_COLUMNS: Final = ", ".join(AuditRow._fields)
# A page is 2 MB in memory, and read in some 20 ms.
PAGE: Final = 5_000
# What has no index is looked for in so many rows at a time, some 40 ms; then others have their turn.
SEARCHED: Final = 50_000

FILTERS: Final[Mapping[str, str]] = {
    "actor": "actor = ?",
    "verb": "verb = ?",
    "noun": "noun = ?",
    "subject": "subject = ?",
    "since": "at >= ?",
    "until": "at < ?",
    "q": "LOWER(detail) LIKE LOWER(?) ESCAPE '!'",
}
"""SQL condition with one mark, by the name of the query parameter."""


def append_audit(
    db: Database,
    *,
    at: int,
    actor: str,
    via: str,
    verb: str,
    noun: str = "",
    subject: str = "",
    version: int = 0,
    detail: str = "",
) -> None:
    """Write the next row of the chain; part of the caller's transaction.

    Changes of records come by way of `record_change`. An act that changes no record is written here directly, without
    noun and version: a sign-in that was refused, a passage whose fingerprint named another device. ``subject`` is then
    who or what it was about, if that is known. Whoever can be made to write such rows by strangers limits their rate
    before calling: a row that was written stays for as long as the audit is kept.
    """
    head = audit_head(db)
    sequence = head.sequence + 1
    digest = row_hash(head.hash, sequence, at, actor, via, verb, noun, subject, version, detail)
    db.execute(
        f"INSERT INTO audit ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 -- constant text
        (sequence, at, actor, via, verb, noun, subject, version, detail, digest),
    )


def audit_head(db: Database) -> Link:
    """Return the end of the chain: its newest row, or the checkpoint that pruning left."""
    row = db.execute("SELECT sequence, hash FROM audit ORDER BY sequence DESC LIMIT 1").fetchone()
    if row is None:
        row = db.execute("SELECT sequence, hash FROM checkpoints ORDER BY sequence DESC LIMIT 1").fetchone()
    return Link() if row is None else Link(row["sequence"], row["hash"])


def audit_rows(db: Database, after: int, limit: int = PAGE) -> list[AuditRow]:
    """Return the rows after sequence ``after``, oldest first.

    Raises: AuditError — a row was altered so that it cannot even be read.
    """
    return _read(db, f"SELECT {_COLUMNS} FROM audit WHERE sequence > ? ORDER BY sequence LIMIT ?", (after, limit))  # noqa: S608 -- constant text


def _read(db: Database, query: str, values: Sequence[Any]) -> list[AuditRow]:
    cursor = db.cursor()
    # Plain tuples: a `sqlite3.Row` between would cost a microsecond a row, a sixth of all that verifying it takes.
    cursor.row_factory = None
    rows: list[AuditRow] = []
    try:
        # No comprehension: what was read before an error tells where it is.
        for row in cursor.execute(query, values):
            rows.append(AuditRow._make(row))
    except sqlite3.OperationalError as error:
        if "decode" not in str(error):
            raise
        # A text that is no UTF-8: SQLite keeps it, and Python does not read it.
        where = f"after audit row {rows[-1].sequence}" if rows else "in the audit"
        raise AuditError(f"a row {where} was altered: it holds what helm never writes") from None
    return rows


def oldest_sequence(db: Database) -> int | None:
    """Return the sequence of the oldest row that is kept, None where there is none."""
    row = db.execute("SELECT sequence FROM audit WHERE sequence IS NOT NULL ORDER BY sequence LIMIT 1").fetchone()
    return None if row is None else row["sequence"]


def count_unnumbered(db: Database) -> int:
    """Return how many rows have no sequence, which SQLite allows in a primary key and helm never writes."""
    count: int = db.execute("SELECT COUNT(*) FROM audit WHERE sequence IS NULL").fetchone()[0]
    return count


def remove_audit_rows(db: Database, up_to: int) -> None:
    """Delete the rows up to a sequence, this one included; part of the caller's transaction."""
    db.execute("DELETE FROM audit WHERE sequence <= ?", (up_to,))


@attrs.frozen(kw_only=True)
class AuditPage:
    """A part of the audit, newest first."""

    rows: list[AuditRow]
    before: int | None
    """Where the next page begins; None behind the last."""


def search_audit(db: Database, filters: Mapping[str, Any], *, before: int | None, limit: int) -> AuditPage:
    """Return at most ``limit`` rows that are older than sequence ``before``, newest first.

    A search looks at `SEARCHED` rows at a time, so a page may be short, even empty, and not be the last.

    Raises: InvalidRequestError — there is no such filter. AuditError — as for `audit_rows`.
    """
    newest = audit_head(db).sequence + 1 if before is None else before
    oldest = max(newest - SEARCHED, 0)
    conditions = ["sequence < ?", "sequence >= ?"]
    values: list[Any] = [newest, oldest]
    for name, value in filters.items():
        if name not in FILTERS:
            raise InvalidRequestError(f"the audit can be filtered by {', '.join(sorted(FILTERS))}, not {name!r}")
        conditions.append(FILTERS[name])
        values.append(f"%{_literal(value)}%" if name == "q" else value)
    where = " AND ".join(conditions)
    rows = _read(
        db,
        f"SELECT {_COLUMNS} FROM audit WHERE {where} ORDER BY sequence DESC LIMIT ?",  # noqa: S608 -- constant text
        (*values, limit),
    )
    reached = rows[-1].sequence if len(rows) == limit else oldest
    first = oldest_sequence(db)
    return AuditPage(rows=rows, before=reached if first is not None and first < reached else None)


def _literal(text: str) -> str:
    """Take from LIKE the meaning of its own signs; the condition says ESCAPE '!'."""
    return text.replace("!", "!!").replace("%", "!%").replace("_", "!_")
