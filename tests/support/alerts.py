"""Alerts and targets to test with, and a store that runs in virtual time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import trio

from pharos.helm.alerts.targets import Place, add_target
from pharos.helm.ca.vault import Vault
from pharos.helm.model.alerts import Alert, AlertState, AlertTarget, Delivery, News, Severity
from pharos.helm.store.database import Database
from pharos.helm.store.deliveries import Pending
from tests.support.helm import sample_act


class InlineStore:
    """A store that runs at once, for virtual time waits for no thread."""

    def __init__(self, db: Database, telemetry: Database | None = None) -> None:
        self.db = db
        self.telemetry = telemetry
        self.state = Path("/")
        self.commits = 0
        self._committed = trio.lowlevel.ParkingLot()

    async def run(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        before = self.db.total_changes
        result = function(self.db, *args, **kwargs)
        if self.db.total_changes != before:
            self.commits += 1
            self._committed.unpark_all()
        return result

    async def read(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        return function(self.db, *args, **kwargs)

    async def read_telemetry(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        return function(self.telemetry, *args, **kwargs)

    async def wait_commit(self, seen: int) -> int:
        while self.commits <= seen:
            await self._committed.park()
        return self.commits


def sample_alert(number: int = 1, **changes: Any) -> Alert:
    """An alert as the record holds it."""
    alert = Alert(
        id=f"alert-{number:03}",
        kind="unreachable",
        severity=Severity.CRITICAL,
        text=f"node n{number} does not answer",
        subject=f"n{number}",
        opened_at=1_800_000_000_000_000,
    )
    return attrs.evolve(alert, **changes)


def sample_pending(
    number: int = 1, what: News = News.RAISED, *, told: bool = False, alert: Alert | None = None, **changes: Any
) -> Pending:
    """A delivery that waits."""
    state = AlertState.RESOLVED if what is News.RESOLVED else AlertState.OPEN
    alert = alert or sample_alert(number, state=state)
    delivery = Delivery(
        id=f"delivery-{number:03}-{what.value}", alert_id=alert.id, target_id="t", what=what, queued_at=0
    )
    return Pending(delivery=attrs.evolve(delivery, **changes), alert=alert, told=told)


def sample_target(**changes: Any) -> AlertTarget:
    """A target as the record holds it, with a URL that opens nowhere."""
    return attrs.evolve(AlertTarget(id="t", name="ops", service="json", url=b""), **changes)


def add_sample_target(db: Database, vault: Vault, url: str, name: str = "ops", **values: Any) -> AlertTarget:
    """Write a target."""
    return add_target(db, sample_act(), vault, Place(url=url, service="json"), {"name": name, **values})
