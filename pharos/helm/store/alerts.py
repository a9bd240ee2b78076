"""The alerts table."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from pharos.helm.model.alerts import Alert, AlertState, Severity
from pharos.helm.store.database import Database
from pharos.helm.store.records import Noun

ALERTS: Final = Noun(
    kind="alert",
    table="alerts",
    columns=(
        *("id", "kind", "severity", "state", "noun", "subject", "text", "evidence"),
        *("opened_at", "acknowledged_at", "acknowledged_by", "resolved_at"),
    ),
    model=Alert,
    documents=frozenset({"evidence"}),
    sorts={"created_at": "created_at"},
    filters={
        "state": "state = ?",
        "kind": "kind = ?",
        "severity": "severity = ?",
        "noun": "noun = ?",
        "subject": "subject = ?",
    },
)


def standing_alert(db: Database, kind: str, subject: str) -> Alert | None:
    """Return the alert of this kind and subject that has not been resolved."""
    row = db.execute(
        f"SELECT {ALERTS.all_columns} FROM alerts WHERE subject = ? AND kind = ? AND state <> ?",  # noqa: S608
        (subject, kind, AlertState.RESOLVED.value),
    ).fetchone()
    return None if row is None else ALERTS.load(row)


def list_standing(db: Database, limit: int) -> list[Alert]:
    """Return the alerts that have not been resolved, at most ``limit``: those that nobody is at first, newest first."""
    found: list[Alert] = []
    for state in (AlertState.OPEN, AlertState.ACKNOWLEDGED):
        rows = db.execute(
            f"SELECT {ALERTS.all_columns} FROM alerts WHERE state = ?"  # noqa: S608 -- names of a Noun
            " ORDER BY created_at DESC, id DESC LIMIT ?",
            (state.value, limit - len(found)),
        )
        found += map(ALERTS.load, rows)
    return found


def standing_severities(db: Database, kinds: Collection[str]) -> dict[tuple[str, str], Severity]:
    """Return the severity of each alert of these kinds that stands, by kind and subject."""
    marks = ", ".join("?" for _ in kinds)
    rows = db.execute(
        f"SELECT kind, subject, severity FROM alerts WHERE state IN (?, ?) AND kind IN ({marks})",  # noqa: S608 -- marks
        (AlertState.OPEN.value, AlertState.ACKNOWLEDGED.value, *kinds),
    )
    return {(row["kind"], row["subject"]): Severity(row["severity"]) for row in rows}


def closed_by_people(db: Database, kinds: Collection[str], since: int) -> dict[tuple[str, str], tuple[int, Severity]]:
    """Return when somebody, and not helm itself, last resolved an alert of these kinds, and how severe it was.

    Of those that were resolved since a time in microseconds since 1970; by kind and subject.
    """
    marks = ", ".join("?" for _ in kinds)
    rows = db.execute(
        "SELECT kind, subject, severity, resolved_at FROM alerts WHERE state = ? AND resolved_at > ?"  # noqa: S608
        f" AND updated_by <> 'helm' AND kind IN ({marks}) ORDER BY resolved_at",
        (AlertState.RESOLVED.value, since, *kinds),
    )
    return {(row["kind"], row["subject"]): (row["resolved_at"], Severity(row["severity"])) for row in rows}
