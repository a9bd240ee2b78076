"""What has happened at Skerry Works by the time its picture is taken: real acts of its admins, one after the other."""

from __future__ import annotations

from typing import Any, Final

import trio

from pharos.helm.accounts.admins import add_admin, add_token
from pharos.helm.accounts.users import change_user
from pharos.helm.alerts.acts import raise_alert
from pharos.helm.fleet.nodes import change_node, move_node
from pharos.helm.live.board import now_us
from pharos.helm.model.admins import Role
from pharos.helm.model.alerts import Severity
from pharos.helm.model.nodes import NodeAct
from pharos.helm.store.bundles import note_held
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.nodes import NODES
from pharos.helm.store.records import Noun, get_record
from pharos.helm.store.settings import put_setting
from pharos.helm.store.users import USERS
from pharos.wire.ids import DeviceId
from tests.support.webfleet.skerry import ADMINS, DRAINED, SILENT
from tests.support.webfleet.stage import Stage

DAY: Final = 86_400_000_000
STALE: Final = 27
"""Devices that have not fetched their profile for more than a week."""
INVITED: Final = ("Lena Voss’s phone", "Harbour gate 4", "scanner-2")


async def live_through(stage: Stage, *, patient: bool) -> None:
    """Do what the story says; return when it shows, with ``patient`` also what takes helm a minute to see."""
    await stage.add_beacon("pier-1")
    await stage.add_beacon("pier-2")
    await stage.context.store.run(_acts)
    for name in INVITED:
        await stage.ask("POST", "/api/v1/tickets", {"device_name": name, "seconds": 900})
    await stage.settle()
    await _wait_sealed(stage)
    await stage.context.store.run(_sync)
    await stage.simulated[SILENT].stop()
    if patient:
        await _wait_alert(stage, "unreachable")
    else:
        await stage.context.store.run(_alarm)


async def _wait_alert(stage: Stage, kind: str) -> None:
    while True:
        if any(alert["kind"] == kind for alert in (await stage.ask("GET", "/api/v1/alerts?state=open"))["items"]):
            return
        await trio.sleep(0.2)


def _named(db: Database, noun: Noun[Any], name: str) -> Any:
    row = db.execute(f"SELECT id FROM {noun.table} WHERE name = ?", (name,)).fetchone()
    return get_record(db, noun, row["id"])


def _acts(db: Database) -> None:
    admins = {name: add_admin(db, Act(actor="operator", at=now_us()), name, Role(role)).id for name, role in ADMINS}
    mara, tomas, jo = (Act(actor=name, at=now_us(), via="session") for name in admins)
    put_setting(db, mara, "fleet.name", 0, "Skerry Works")
    for name, note in (("fra-1", "Rack 12, north hall"), ("hel-1", "Own colocation"), ("sao-1", "Userspace engine")):
        node = _named(db, NODES, name)
        change_node(db, tomas, node.id, node.version, {"note": note})
    token, _text = add_token(db, mara, admins["Tomas Adeyemi"], name="ci-deploy", role=Role.OPERATOR)
    by_token = Act(actor=f"token {token.name}", at=now_us(), via="token")
    machines = _named(db, USERS, "CI machines")
    change_user(db, by_token, machines.id, machines.version, {"quota_bytes": 20 * 2**40})
    sam = _named(db, USERS, "Sam Whitlock")
    change_user(db, jo, sam.id, sam.version, {"expires_at": now_us() + 9 * DAY, "note": "Contract ends"})
    drained = _named(db, NODES, DRAINED)
    move_node(db, mara, drained.id, drained.version, NodeAct.DRAIN)


def _alarm(db: Database) -> None:
    """Raise by hand what helm would raise within a minute."""
    silent = _named(db, NODES, SILENT)
    text = f"{SILENT} does not answer"
    raise_alert(
        db, Act(actor="helm", at=now_us()), "unreachable", Severity.CRITICAL, text, noun="node", subject=silent.id
    )


async def _wait_sealed(stage: Stage) -> None:
    def behind(db: Database) -> int:
        return int(
            db.execute(
                "SELECT COUNT(*) FROM bundles CROSS JOIN fleet WHERE checked_revision < profiles_revision"
            ).fetchone()[0]
        )

    while True:
        if not await stage.context.store.read(behind):
            return
        await trio.sleep(0.05)


def _sync(db: Database) -> None:
    """Have the devices hold their profiles, but for some."""
    rows = db.execute("SELECT device_id, epoch, revision FROM bundles ORDER BY device_id").fetchall()
    every = max(len(rows) // STALE, 1)
    for number, row in enumerate(rows):
        device = DeviceId(row["device_id"])
        if number % every != every - 1:
            note_held(db, device, epoch=row["epoch"], revision=row["revision"], at=now_us())
        else:
            note_held(db, device, epoch=row["epoch"], revision=row["revision"] - 1, at=now_us() - 9 * DAY)
            db.execute("UPDATE bundles SET behind_at = ? WHERE device_id = ?", (now_us() - 8 * DAY, device))
