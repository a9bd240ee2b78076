"""Raising, acknowledging and resolving alerts: one that stands is raised once, however often its cause is seen."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from pharos.helm.errors import ConflictError
from pharos.helm.model.alerts import RANK, Alert, AlertState, News, Severity
from pharos.helm.store.alerts import ALERTS, standing_alert
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.deliveries import queue_news
from pharos.helm.store.ids import fresh_id
from pharos.helm.store.records import add_record, change_record, check_version, get_record

TRANSITIONS: Final = {
    (AlertState.OPEN, "acknowledge"): AlertState.ACKNOWLEDGED,
    (AlertState.OPEN, "resolve"): AlertState.RESOLVED,
    (AlertState.ACKNOWLEDGED, "resolve"): AlertState.RESOLVED,
    (AlertState.ACKNOWLEDGED, "reopen"): AlertState.OPEN,
}
"""What each act makes of each state; a pair that is not here is refused."""


def raise_alert(
    db: Database,
    act: Act,
    kind: str,
    severity: Severity,
    text: str,
    *,
    noun: str = "",
    subject: str = "",
    evidence: Mapping[str, str | int | float] = MappingProxyType({}),
) -> Alert:
    """Return the standing alert of this kind and subject, new or as it was; one that has become worse says so.

    Whoever is to be told of it is, from the same transaction on.
    """
    standing = standing_alert(db, kind, subject)
    if standing is not None:
        if RANK[severity] <= RANK[standing.severity]:
            return standing
        # Whoever is at it took it for less than it is.
        changes = {"severity": severity, "text": text, "evidence": dict(evidence), "state": AlertState.OPEN}
        worse = change_record(db, ALERTS, standing.id, standing.version, changes, act, verb="worsened", detail=text)
        queue_news(db, worse, News.WORSENED, at=act.at)
        return worse
    alert = Alert(
        id=fresh_id(),
        kind=kind,
        severity=severity,
        text=text,
        noun=noun,
        subject=subject,
        evidence=dict(evidence),
        opened_at=act.at,
    )
    raised = add_record(db, ALERTS, alert, act, verb="raised", detail=text)
    queue_news(db, raised, News.RAISED, at=act.at)
    return raised


def clear_alert(db: Database, act: Act, kind: str, subject: str = "") -> Alert | None:
    """Resolve the standing alert of this kind and subject, for its cause is gone."""
    standing = standing_alert(db, kind, subject)
    return None if standing is None else move_alert(db, act, standing.id, standing.version, "resolve")


def move_alert(db: Database, act: Act, alert_id: str, version: int, verb: str) -> Alert:
    """Acknowledge, resolve or reopen an alert.

    Raises: ConflictError — its state does not allow it. StaleVersionError, NotFoundError.
    """
    alert = get_record(db, ALERTS, alert_id)
    check_version(ALERTS, alert, version)
    state = TRANSITIONS.get((alert.state, verb))
    if state is None:
        raise ConflictError(f"an alert that is {alert.state.value} cannot be {_DONE[verb]}")
    changes: dict[str, object] = {"state": state}
    if state is AlertState.ACKNOWLEDGED:
        changes |= {"acknowledged_at": act.at, "acknowledged_by": act.actor}
    elif state is AlertState.RESOLVED:
        changes |= {"resolved_at": act.at}
    moved = change_record(db, ALERTS, alert_id, version, changes, act, verb=_DONE[verb], detail=alert.text)
    if state is AlertState.RESOLVED:
        queue_news(db, moved, News.RESOLVED, at=act.at)
    return moved


_DONE: Final = {"acknowledge": "acknowledged", "resolve": "resolved", "reopen": "reopened"}
