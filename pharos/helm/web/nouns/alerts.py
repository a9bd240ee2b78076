"""Alerts, as REST serves them: helm raises them, people look after them."""

from __future__ import annotations

import functools
from typing import Any

from pharos.helm.alerts.acts import TRANSITIONS, move_alert
from pharos.helm.model.alerts import Alert
from pharos.helm.store.alerts import ALERTS
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.web.resources import ItemAct, Resource


def _move(verb: str, db: Database, act: Act, alert_id: str, version: int) -> Alert:
    return move_alert(db, act, alert_id, version, verb)


ALERT_RESOURCE: Resource[Alert] = Resource(
    noun=ALERTS,
    acts={
        verb: ItemAct[Any](do=functools.partial(_move, verb), says=f"{verb.capitalize()} an alert")
        for verb in sorted({verb for _, verb in TRANSITIONS})
    },
)
