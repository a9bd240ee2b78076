"""Who expires is cut when it happens, with nobody there to ask for it."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing

from pharos.helm.accounts.devices import change_device
from pharos.helm.accounts.users import add_user
from pharos.helm.fleet import wake
from pharos.helm.fleet.desired import DesiredFleet
from pharos.helm.fleet.expiry import LONGEST_WAIT, expire, run_expiry
from pharos.helm.fleet.wake import Wakes
from pharos.helm.live.board import now_us
from pharos.helm.store.database import Database
from pharos.helm.store.fleet import get_fleet
from pharos.helm.store.outbox import entries_after
from tests.support.helm import (
    adopt_sample_node,
    enrol_sample_device,
    fleet_in_memory,
    open_helm,
    revoke_sample_device,
    sample_act,
)


async def test_device_that_expires_is_desired_nowhere_and_everybody_hears_of_it(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm, trio.open_nursery() as nursery:
        node, _ = await helm.store.run(adopt_sample_node, helm.authority)
        device = await helm.store.run(enrol_sample_device, 1)
        desired = DesiredFleet(helm.store)
        nursery.start_soon(run_expiry, helm.store, Wakes())
        with trio.fail_after(10):
            # Soon enough to wait for, and not before the task has seen it.
            ends = now_us() + 200_000
            await helm.store.run(change_device, sample_act(), device.id, 1, {"expires_at": ends})
            commits, found = await desired.of(node.id)
            while found is not None and found.peers:
                await helm.store.wait_commit(commits)
                commits, found = await desired.of(node.id)
        assert now_us() >= ends
        assert (await helm.store.run(entries_after, 0))[-1].kind == "device_expired"
        nursery.cancel_scope.cancel()


async def test_what_expired_during_a_sleep_is_told_at_the_wake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wake, "LOOK_EVERY", 0.01)
    async with open_helm(tmp_path) as helm, trio.open_nursery() as nursery:
        device = await helm.store.run(enrol_sample_device, 1)
        slept, wakes = 0.0, Wakes()
        hour = 3600 * 1_000_000
        await helm.store.run(change_device, sample_act(), device.id, 1, {"expires_at": now_us() + hour})
        nursery.start_soon(lambda: run_expiry(helm.store, wakes, clock=lambda: now_us() + int(slept * 1e6)))
        nursery.start_soon(wakes.run, lambda: slept)
        await trio.testing.wait_all_tasks_blocked(0.005)
        commits = helm.store.commits
        # The lid closes for two hours, and a moment later it is open.
        slept = 7200.0
        with trio.fail_after(LONGEST_WAIT / 4):
            await helm.store.wait_commit(commits)
        assert (await helm.store.run(entries_after, 0))[-1].kind == "device_expired"
        nursery.cancel_scope.cancel()


def test_each_expiry_is_told_once_and_a_revoked_device_is_no_news() -> None:
    def kinds(db: Database) -> list[tuple[str, str]]:
        return [(entry.kind, entry.detail) for entry in entries_after(db, 0) if entry.kind.endswith("_expired")]

    with fleet_in_memory() as (db, _):
        add_user(db, sample_act(), {"name": "ada", "expires_at": 10})
        for number, name in enumerate(("phone", "tablet", "old")):
            enrol_sample_device(db, number, name)
            db.execute("UPDATE devices SET expires_at = ? WHERE name = ?", (10 + number % 2, name))
        revoke_sample_device(db, "00000000-0000-7000-8000-000000000002")
        before = get_fleet(db).revision
        expire(db, 9, 10)
        assert kinds(db) == [("device_expired", "phone"), ("user_expired", "ada")]
        expire(db, 10, 11)
        assert kinds(db)[2:] == [("device_expired", "tablet")]
        assert get_fleet(db).revision == before + 2
