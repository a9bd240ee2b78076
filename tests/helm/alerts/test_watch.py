"""The whole watch, over a real record: what is raised, what ends, and how long it takes."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from pharos.helm.accounts.users import add_user
from pharos.helm.alerts import conditions
from pharos.helm.alerts.acts import move_alert
from pharos.helm.alerts.usage import look_at_uses
from pharos.helm.alerts.watch import STALE_AFTER, Revisions, Watch
from pharos.helm.fleet.nodes import move_node
from pharos.helm.fleet.wake import Wakes
from pharos.helm.live.board import now_us
from pharos.helm.model.alerts import AlertState
from pharos.helm.model.nodes import Node, NodeAct
from pharos.helm.store.alerts import ALERTS
from pharos.helm.store.database import Database
from pharos.helm.store.records import get_record
from pharos.wire.link import LinkState
from tests.support.helm import SampleHelm, adopt_sample_node, enrol_sample_device, open_helm, sample_act


class Scene:
    """A helm, one node of it, and a clock that tests turn."""

    def __init__(self, helm: SampleHelm, node: Node) -> None:
        self.helm, self.node = helm, node
        self.seconds = 1_000.0
        self.watch = Watch(helm.store, helm.context.board, Wakes(), wall=self.wall, clock=lambda: self.seconds)
        self.began = now_us()

    def wall(self) -> int:
        return self.began + int((self.seconds - 1_000) * 1e6)

    async def look(self, after: float = 0) -> dict[str, AlertState]:
        """Look, so many seconds later; return the state of each alert, by its kind."""
        self.seconds += after
        await self.watch.look()
        rows = await self.helm.store.read(
            lambda db: db.execute("SELECT kind, state FROM alerts ORDER BY id").fetchall()
        )
        return {row["kind"]: AlertState(row["state"]) for row in rows}

    def see(self, state: LinkState, detail: str = "") -> None:
        self.helm.context.board.report(self.node.id, self.node.name, state, detail)


@asynccontextmanager
async def scene(folder: Path) -> AsyncIterator[Scene]:
    async with open_helm(folder) as helm:
        node, _ = await helm.store.run(adopt_sample_node, helm.authority)
        yield Scene(helm, node)


async def test_node_that_is_down_is_raised_and_over_a_minute_after_its_return(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        at.see(LinkState.LOST, "no route")
        assert await at.look() == {}
        at.helm.context.board.unreachable(at.node.id)
        assert await at.look(2) == {"unreachable": AlertState.OPEN}
        at.see(LinkState.UP)
        assert await at.look(2) == {"unreachable": AlertState.OPEN}
        assert await at.look(conditions.SETTLE["unreachable"]) == {"unreachable": AlertState.RESOLVED}


async def test_node_that_is_drained_while_it_is_down_is_an_alert_no_more(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        at.see(LinkState.LOST)
        at.helm.context.board.unreachable(at.node.id)
        await at.look()
        await at.helm.store.run(move_node, sample_act(), at.node.id, at.node.version, NodeAct.DRAIN)
        await at.look(20)
        assert await at.look(conditions.SETTLE["unreachable"]) == {"unreachable": AlertState.RESOLVED}


async def test_backup_that_is_overdue_is_an_alert_until_there_is_one(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        assert await at.look() == {}
        assert await at.look(31 * 86_400) == {"backup_overdue": AlertState.OPEN}
        await at.helm.store.run(lambda db: db.execute("UPDATE fleet SET backed_up_at = ?", (at.wall(),)) and None)
        await at.look(60)
        assert await at.look(60) == {"backup_overdue": AlertState.RESOLVED}


async def test_full_disk_of_helm_is_an_alert(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with scene(tmp_path) as at:
        monkeypatch.setattr("pharos.helm.doctor.files.COMFORTABLE", 2**70)
        assert await at.look() == {"disk_low": AlertState.OPEN}


async def test_clock_before_what_the_fleet_signed_is_an_alert(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        assert await at.look(-86_400) == {"clock_behind": AlertState.OPEN}


async def test_certificate_of_a_node_that_was_away_worsens_from_warning_to_critical(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        at.see(LinkState.UP)
        await at.helm.store.run(
            lambda db: db.execute("UPDATE fleet SET backed_up_at = ?", (at.began + 360 * 86_400_000_000,)) and None
        )
        days = 86_400.0

        async def severities() -> set[str]:
            rows = await at.helm.store.read(
                lambda db: db.execute("SELECT severity FROM alerts WHERE kind = 'certificate_expiring'").fetchall()
            )
            return {row["severity"] for row in rows}

        await at.look(260 * days)
        assert await severities() == set()
        await at.look(10 * days)
        assert await severities() == {"warning"}
        await at.look(90 * days)
        assert await severities() == {"critical"}


async def test_what_somebody_resolves_is_not_raised_at_the_next_look(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        at.see(LinkState.LOST)
        at.helm.context.board.unreachable(at.node.id)
        await at.look()

        def resolve(db: Database) -> None:
            (row,) = db.execute("SELECT id FROM alerts").fetchall()
            alert = get_record(db, ALERTS, row["id"])
            move_alert(db, sample_act(actor="ada", at=at.wall() + 1), alert.id, alert.version, "resolve")

        await at.helm.store.run(resolve)
        assert await at.look(2) == {"unreachable": AlertState.RESOLVED}
        assert await at.look(2) == {"unreachable": AlertState.RESOLVED}


async def test_device_that_has_not_synced_for_a_week_is_an_alert(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        await at.helm.store.run(enrol_sample_device, 1)
        await at.helm.store.run(lambda db: db.execute("UPDATE devices SET created_at = ?", (at.began,)) and None)
        assert "devices_stale" not in await at.look(6 * 86_400)
        assert "devices_stale" in await at.look(2 * 86_400)


async def test_quota_that_only_warns_is_counted_from_the_beginning_of_its_period(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        store = at.helm.store
        noon = int(datetime.datetime(2027, 3, 15, 12, tzinfo=datetime.UTC).timestamp()) * 1_000_000
        hour = 3_600_000_000
        user = await store.run(add_user, sample_act(), {"name": "ada", "quota_bytes": 1_000, "quota_period": "day"})
        device = await store.run(enrol_sample_device, 1, user_id=user.id)

        def carry(db: Database, total: int, at: int) -> None:
            db.execute(
                "INSERT INTO series (id, node_id, device_id, metric, raw, total) VALUES (1, ?, ?, 'sent', 0, 0)"
                " ON CONFLICT DO NOTHING",
                ("n", device.id),
            )
            db.execute("UPDATE series SET total = total + ?", (total,))
            db.execute("INSERT INTO hours VALUES (1, ?, 0, 0, ?, 1, 0, ?)", (at - at % hour, total, at))

        await store.record(carry, 5_000, noon - 24 * hour)
        await store.record(carry, 300, noon - hour)
        (use,) = await look_at_uses(store, noon)
        assert (use.name, use.used, use.quota) == ("ada", 300, 1_000)
        await store.record(carry, 600, noon + hour)
        # How long hours are kept does not matter any more.
        await store.record(lambda db: db.execute("DELETE FROM hours") and None)
        (use,) = await look_at_uses(store, noon + hour)
        assert use.used == 900
        (tomorrow,) = await look_at_uses(store, noon + 24 * hour)
        assert tomorrow.used == 0


def test_revision_is_settled_once_it_was_the_newest_for_long_enough() -> None:
    revisions = Revisions()
    assert revisions.settled((1, 5), 0) == (0, 0)
    assert revisions.settled((1, 6), 100) == (0, 0)
    assert revisions.settled((1, 6), STALE_AFTER) == (1, 5)
    assert revisions.settled((1, 6), STALE_AFTER + 99) == (1, 5)
    assert revisions.settled((1, 6), STALE_AFTER + 100) == (1, 6)
    revisions.forget()
    assert revisions.settled((1, 6), STALE_AFTER + 101) == (0, 0)


async def test_watch_looks_by_itself_and_at_once_after_a_wake(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm:
        node, _ = await helm.store.run(adopt_sample_node, helm.authority)
        helm.context.board.report(node.id, node.name, LinkState.LOST, "")
        helm.context.board.unreachable(node.id)
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                commits = helm.store.commits
                nursery.start_soon(Watch(helm.store, helm.context.board, Wakes()).run)
                await helm.store.wait_commit(commits)
                nursery.cancel_scope.cancel()
