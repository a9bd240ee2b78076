"""The alarm for a database that cannot be written: said at once to who is looking, written down when it can be."""

from __future__ import annotations

import contextlib
from pathlib import Path

from pharos.helm.alerts.acts import clear_alert, raise_alert
from pharos.helm.errors import HelmError
from pharos.helm.live.board import now_us
from pharos.helm.live.hub import Hub
from pharos.helm.model.alerts import Severity
from pharos.helm.store.changes import Act
from pharos.helm.store.condition import Health, State
from pharos.helm.store.database import Database, Store
from pharos.helm.store.watch import Announce

KIND = "store_unwritable"


def store_alarm(store: Store, hub: Hub) -> Announce:
    """Return what tells of a database's condition: an event for the feed, and an alert in the record."""

    async def announce(path: Path, state: State) -> None:
        text = f"{path.name}: {state.reason}" if state.reason else f"{path.name} can be written again"
        hub.publish(f"store_{state.health.value.replace('-', '_')}", at=now_us(), text=text)

        def write_down(db: Database) -> None:
            act = Act(actor="helm", at=now_us(), via="helm")
            if state.health is Health.WRITABLE:
                clear_alert(db, act, KIND, path.name)
            else:
                raise_alert(db, act, KIND, Severity.CRITICAL, text, subject=path.name)

        # While it is core.db that cannot be written, this cannot either: then the event is all.
        with contextlib.suppress(HelmError):
            await store.run(write_down)

    return announce
