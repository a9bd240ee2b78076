"""The alerts table."""

from __future__ import annotations

from typing import Final

from pharos.helm.model.alerts import Alert, AlertState
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
