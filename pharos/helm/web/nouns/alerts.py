"""Alerts, whom they are delivered to and what is muted, as REST serves them: helm raises, people look after them."""

from __future__ import annotations

import functools
from typing import Any

import msgspec

from pharos.helm.alerts.acts import TRANSITIONS, move_alert
from pharos.helm.alerts.mutes import add_mute, remove_mute
from pharos.helm.alerts.targets import change_target, remove_target
from pharos.helm.model.admins import Role
from pharos.helm.model.alerts import Alert, AlertMute, AlertTarget
from pharos.helm.store.alerts import ALERTS
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.deliveries import (
    ALERT_MUTES,
    ALERT_TARGETS,
    deliveries_of,
    list_mutes,
    list_targets,
    standing_of,
)
from pharos.helm.store.times import rfc3339
from pharos.helm.web.bodies import UNSET, Time, Unset, given
from pharos.helm.web.resources import ItemAct, Resource


class AlertTargetChange(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What of a target changes; what is left out stays."""

    name: str | Unset = UNSET
    minimum: str | Unset = UNSET
    """``info``, ``warning`` or ``critical``."""
    kinds: list[str] | Unset = UNSET
    """Empty: every kind."""
    enabled: bool | Unset = UNSET


class AlertMuteBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Which alerts are not delivered, and until when."""

    kind: str
    """``all`` for every kind."""
    until: Time
    subject: str = ""
    """Id of what the alert is about; empty: whatever it is about."""
    note: str = ""


def _move(verb: str, db: Database, act: Act, alert_id: str, version: int) -> Alert:
    return move_alert(db, act, alert_id, version, verb)


def _alert_view(db: Database, alert: Alert) -> dict[str, Any]:
    names = {target.id: target.name for target in list_targets(db)}
    muted = [mute.until_at for mute in list_mutes(db) if mute.covers(alert, alert.updated_at)]
    return ALERTS.view(alert) | {
        "muted_until": rfc3339(max(muted)) if muted else None,
        "deliveries": [
            {
                "target": names[delivery.target_id],
                "what": delivery.what.value,
                "outcome": delivery.outcome.value or "waiting",
                "attempts": delivery.attempts,
                "queued_at": rfc3339(delivery.queued_at),
                "done_at": None if delivery.done_at is None else rfc3339(delivery.done_at),
                "error": delivery.last_error or None,
            }
            for delivery in deliveries_of(db, alert.id)
        ],
    }


def target_view(db: Database, target: AlertTarget) -> dict[str, Any]:
    """Return a target with how its deliveries stand."""
    standing = standing_of(db, target.id)
    return ALERT_TARGETS.view(target) | {
        "waiting": standing["waiting"],
        "waiting_since": None if standing["since"] is None else rfc3339(standing["since"]),
        "next_try_at": None if standing["next_try"] is None else rfc3339(standing["next_try"]),
        "last_error": standing["error"],
        "delivered_at": None if standing["sent"] is None else rfc3339(standing["sent"]),
    }


def _mute(db: Database, act: Act, body: AlertMuteBody) -> AlertMute:
    values = given(body)
    return add_mute(db, act, values | {"until_at": values.pop("until")})


ALERT_RESOURCE: Resource[Alert] = Resource(
    noun=ALERTS,
    view=_alert_view,
    acts={
        verb: ItemAct[Any](do=functools.partial(_move, verb), says=f"{verb.capitalize()} an alert")
        for verb in sorted({verb for _, verb in TRANSITIONS})
    },
)

ALERT_TARGET_RESOURCE: Resource[AlertTarget] = Resource(
    noun=ALERT_TARGETS,
    view=target_view,
    writes=Role.ADMIN,
    change_body=AlertTargetChange,
    change=lambda db, act, target_id, version, body: change_target(db, act, target_id, version, given(body)),
    remove=remove_target,
)

ALERT_MUTE_RESOURCE: Resource[AlertMute] = Resource(
    noun=ALERT_MUTES, add_body=AlertMuteBody, add=_mute, remove=remove_mute
)
