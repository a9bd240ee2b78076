"""The tables of who is told of alerts: targets, mutes, and what is still to be delivered."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Final

import attrs
import msgspec

from pharos.helm.model.alerts import Alert, AlertMute, AlertState, AlertTarget, Delivery, News, Outcome
from pharos.helm.store.alerts import ALERTS
from pharos.helm.store.database import Database
from pharos.helm.store.ids import fresh_id
from pharos.helm.store.records import Noun

ALERT_TARGETS: Final = Noun(
    kind="alert_target",
    table="alert_targets",
    columns=("id", "name", "service", "url", "minimum", "kinds", "enabled"),
    model=AlertTarget,
    documents=frozenset({"kinds"}),
    flags=frozenset({"enabled"}),
    hidden=frozenset({"url"}),
)

ALERT_MUTES: Final = Noun(
    kind="alert_mute",
    table="alert_mutes",
    columns=("id", "kind", "subject", "until_at", "note"),
    model=AlertMute,
    sorts={"created_at": "created_at"},
    filters={"kind": "kind = ?", "subject": "subject = ?"},
)

# What is done is kept for as long as somebody may ask who was told.
KEPT_FOR: Final = 30 * 86_400 * 1_000_000
"""Microseconds."""
# A reason is a line; a stranger's answer is not.
MAX_ERROR: Final = 300
_COLUMNS: Final = tuple(field.name for field in attrs.fields(Delivery))
_LIST: Final = ", ".join(_COLUMNS)


@attrs.frozen(kw_only=True)
class Pending:
    """A delivery that is to be made, with its alert as it is now."""

    delivery: Delivery
    alert: Alert
    told: bool
    """Whether the target was told of this alert before."""


def list_targets(db: Database) -> list[AlertTarget]:
    """Return every target, oldest first."""
    rows = db.execute(f"SELECT {ALERT_TARGETS.all_columns} FROM alert_targets ORDER BY id")  # noqa: S608 -- names
    return [ALERT_TARGETS.load(row) for row in rows]


def list_mutes(db: Database) -> list[AlertMute]:
    """Return every mute, oldest first; those that have ended are among them until they are removed."""
    rows = db.execute(f"SELECT {ALERT_MUTES.all_columns} FROM alert_mutes ORDER BY id")  # noqa: S608 -- names
    return [ALERT_MUTES.load(row) for row in rows]


def queue_news(db: Database, alert: Alert, what: News, *, at: int) -> None:
    """Note for every target that has to hear of it what has become of an alert; part of the caller's transaction.

    That an alert is over is told to those only who were, or are to be, told that it stands.
    """
    if what is News.RESOLVED:
        rows = db.execute("SELECT DISTINCT target_id FROM alert_deliveries WHERE alert_id = ?", (alert.id,))
        targets = [row["target_id"] for row in rows.fetchall()]
    else:
        targets = [target.id for target in list_targets(db) if target.wants(alert)]
    db.executemany(
        "INSERT INTO alert_deliveries (id, alert_id, target_id, what, queued_at, next_try_at)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        [(fresh_id(), alert.id, target_id, what.value, at, at) for target_id in sorted(targets)],
    )


def pending_deliveries(db: Database) -> dict[str, list[Pending]]:
    """Return what is to be delivered to each target by its id, the oldest first."""
    rows = db.execute(f"SELECT {_LIST} FROM alert_deliveries WHERE done_at IS NULL ORDER BY queued_at, id").fetchall()  # noqa: S608
    if not rows:
        return {}
    found = db.execute(
        f"SELECT {ALERTS.all_columns} FROM alerts"  # noqa: S608 -- names of a Noun
        " WHERE id IN (SELECT alert_id FROM alert_deliveries WHERE done_at IS NULL)"
    )
    alerts = {alert.id: alert for alert in map(ALERTS.load, found)}
    sent = db.execute(
        "SELECT alert_id, target_id FROM alert_deliveries WHERE outcome = ?"
        " AND alert_id IN (SELECT alert_id FROM alert_deliveries WHERE done_at IS NULL)",
        (Outcome.SENT.value,),
    )
    told = {(row["alert_id"], row["target_id"]) for row in sent}
    pending: dict[str, list[Pending]] = defaultdict(list)
    for delivery in map(_load, rows):
        key = delivery.alert_id, delivery.target_id
        pending[delivery.target_id].append(
            Pending(delivery=delivery, alert=alerts[delivery.alert_id], told=key in told)
        )
    return dict(pending)


def deliveries_of(db: Database, alert_id: str) -> list[Delivery]:
    """Return what was and is to be told of an alert, the oldest first."""
    rows = db.execute(f"SELECT {_LIST} FROM alert_deliveries WHERE alert_id = ? ORDER BY queued_at, id", (alert_id,))  # noqa: S608
    return [_load(row) for row in rows]


def end_deliveries(db: Database, ids: Iterable[str], outcome: Outcome, *, at: int) -> None:
    """Note what became of some deliveries."""
    error = "" if outcome is Outcome.SENT else outcome.value.replace("_", " ")
    db.executemany(
        "UPDATE alert_deliveries SET done_at = ?, outcome = ?, last_error = ? WHERE id = ? AND done_at IS NULL",
        [(at, outcome.value, error, delivery_id) for delivery_id in ids],
    )


def put_off(db: Database, tries: Sequence[tuple[str, int]], error: str) -> None:
    """Note that a try failed for some deliveries, by id with the time of the next one."""
    db.executemany(
        "UPDATE alert_deliveries SET attempts = attempts + 1, next_try_at = ?, last_error = ?"
        " WHERE id = ? AND done_at IS NULL",
        [(at, error[:MAX_ERROR], delivery_id) for delivery_id, at in tries],
    )


def try_now(db: Database, target_id: str, *, at: int) -> None:
    """Let what waits for a target's next try be tried at once."""
    db.execute(
        "UPDATE alert_deliveries SET next_try_at = ? WHERE target_id = ? AND done_at IS NULL AND next_try_at > ?",
        (at, target_id, at),
    )


def prune_deliveries(db: Database, *, at: int) -> None:
    """Forget what was told long ago of alerts that are over, and give up what could not be told for as long."""
    db.execute(
        "UPDATE alert_deliveries SET done_at = ?, outcome = ? WHERE done_at IS NULL AND queued_at < ?",
        (at, Outcome.GIVEN_UP.value, at - KEPT_FOR),
    )
    db.execute(
        "DELETE FROM alert_deliveries WHERE done_at < ? AND alert_id IN (SELECT id FROM alerts WHERE state = ?)",
        (at - KEPT_FOR, AlertState.RESOLVED.value),
    )


def standing_of(db: Database, target_id: str) -> dict[str, Any]:
    """Return how deliveries to a target stand: how many wait, since when, why, and when one last arrived."""
    waiting = db.execute(
        "SELECT COUNT(*) AS waiting, MIN(queued_at) AS since, MAX(attempts) AS attempts, MIN(next_try_at) AS next_try"
        " FROM alert_deliveries WHERE target_id = ? AND done_at IS NULL",
        (target_id,),
    ).fetchone()
    error = db.execute(
        "SELECT last_error FROM alert_deliveries WHERE target_id = ? AND done_at IS NULL AND attempts > 0"
        " ORDER BY id LIMIT 1",
        (target_id,),
    ).fetchone()
    sent = db.execute(
        "SELECT MAX(done_at) AS at FROM alert_deliveries WHERE target_id = ? AND outcome = ?",
        (target_id, Outcome.SENT.value),
    ).fetchone()
    return dict(waiting) | {"error": None if error is None else error["last_error"], "sent": sent["at"]}


def failing_targets(db: Database, since: int) -> list[tuple[str, str]]:
    """Return id and name of the targets for which something has waited since before ``since``, tried and failed."""
    rows = db.execute(
        "SELECT DISTINCT alert_targets.id AS id, alert_targets.name AS name FROM alert_deliveries"
        " JOIN alert_targets ON alert_targets.id = alert_deliveries.target_id"
        " WHERE done_at IS NULL AND attempts > 0 AND queued_at < ? AND enabled = 1 ORDER BY alert_targets.id",
        (since,),
    )
    return [(row["id"], row["name"]) for row in rows]


def _load(row: Any) -> Delivery:
    return msgspec.convert(dict(row), Delivery, strict=True)
