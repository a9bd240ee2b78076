"""Upgrades by helm's own hand, over REST: who may begin one, what it tells, and how it ends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest
import trio
import trio.testing

from pharos.helm.accounts import signin
from pharos.helm.model.admins import Role
from pharos.helm.onboard import debs
from pharos.helm.onboard.remote import Remote
from pharos.helm.onboard.upgrade.desk import Member
from pharos.helm.web.app import make_loopback_app
from pharos.wire.errors import StateFileError
from pharos.wire.link import LinkState
from tests.support.helm import SampleHelm, adopt_sample_node, adopt_sample_relay
from tests.support.http import asking
from tests.support.nouns import API, operator
from tests.support.signin import sign_in
from tests.support.upgrading import NEW, OLD, FakeDesk, FakeMachine, write_deb
from tests.support.webtls import HOST


@attrs.frozen
class Place:
    client: httpx.AsyncClient
    helm: SampleHelm
    machine: FakeMachine
    node_id: str

    async def begin(self, **body: Any) -> httpx.Response:
        return await self.client.post(f"{API}/upgrades", json={"kind": "nodes"} | body)

    async def ended(self, run_id: str) -> dict[str, Any]:
        while True:
            run: dict[str, Any] = (await self.client.get(f"{API}/upgrades/{run_id}")).json()
            if run["state"] != "running":
                return run
            await trio.sleep(0.01)


@asynccontextmanager
async def placed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, runs: bool = True) -> AsyncIterator[Place]:
    carried = tmp_path / "debs"
    carried.mkdir()
    write_deb(carried)
    monkeypatch.setattr(debs, "CARRIED", carried)
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    with trio.fail_after(30):
        async with operator(state) as (helm, client), trio.open_nursery() as nursery:
            node, _ = await helm.store.run(
                adopt_sample_node, helm.authority, ssh_destination="root@amsterdam", ssh_host_key="SHA256:" + "x" * 43
            )
            await helm.store.run(adopt_sample_node, helm.authority, "berlin")
            machine = FakeMachine("amsterdam")
            desk = FakeDesk([])
            desk.machines[node.id] = machine
            if runs:
                nursery.start_soon(helm.context.upgrades.run, desk, desk.connect)
                await trio.testing.wait_all_tasks_blocked()
            yield Place(client, helm, machine, node.id)
            nursery.cancel_scope.cancel()


async def test_upgrade_is_begun_told_of_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with placed(tmp_path, monkeypatch) as place:
        begun = await place.begin(dry_run=True, canaries=1)
        assert (begun.status_code, begun.headers["location"]) == (202, f"{API}/upgrades/1")
        # The one that joined by a file is not among those that ssh reaches.
        assert begun.json()["members"] == ["amsterdam"]
        run = await place.ended("1")
        assert (run["state"], run["started_by"], run["dry_run"]) == ("done", "operator", True)
        assert run["events"][-1]["outcomes"] == {"amsterdam": "planned"}
        assert run["events"][-2]["says"] == f"would get {NEW} in the place of {OLD}"
        later = (await place.client.get(f"{API}/upgrades/1?after={run['events'][-2]['number']}")).json()
        assert later["events"] == run["events"][-1:]
        (listed,) = (await place.client.get(f"{API}/upgrades")).json()["items"]
        assert (listed["id"], listed["events"]) == ("1", [])
        (row,) = (await place.client.get(f"{API}/audit", params={"verb": "upgrade_begun"})).json()["items"]
        assert row["detail"] == "nodes: amsterdam"


async def test_upgrade_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with placed(tmp_path, monkeypatch) as place:
        place.machine.refused = "no lock"
        await place.begin(names=["amsterdam"])
        run = await place.ended("1")
        assert run["state"] == "failed"
        assert run["events"][-1]["outcomes"] == {"amsterdam": "untouched"}
        # How far the upload came is told once, by its newest word.
        (upload,) = [event for event in run["events"] if event["event"] == "progress" and event["step"] == "upload"]
        assert (upload["done"], upload["total"]) == (10, 10)


async def test_fault_of_helm_ends_an_upgrade_and_not_helm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def damaged(_desk: FakeDesk, _member: Member) -> AbstractAsyncContextManager[Remote]:
        raise StateFileError("ssh/id_ed25519 is corrupt")

    with monkeypatch.context() as patch:
        patch.setattr(FakeDesk, "connect", damaged)
        async with placed(tmp_path, monkeypatch) as place:
            await place.begin()
            run = await place.ended("1")
            assert (run["state"], run["text"]) == ("failed", "helm failed; its log says how")
            assert "ssh/id_ed25519 is corrupt" in caplog.text
            caplog.clear()
            assert (await place.begin()).status_code == 202, "it carries out the next one"
            assert (await place.ended("2"))["state"] == "failed"
            caplog.clear()


async def test_upgrade_is_stopped_and_another_one_waits_its_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with placed(tmp_path, monkeypatch) as place:
        await place.begin()
        assert (await place.begin()).status_code == 409
        stopped = await place.client.post(f"{API}/upgrades/1/stop")
        assert stopped.status_code == 200
        run = await place.ended("1")
        assert (run["state"], run["text"]) == ("stopped", "stopped; the same upgrade again goes on where this one was")
        assert (await place.client.post(f"{API}/upgrades/1/stop")).status_code == 409
        assert (await place.begin(dry_run=True)).status_code == 202


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"names": ["berlin"]}, 400, "nobody has said how ssh reaches berlin"),
        ({"names": ["cadiz"]}, 404, "there is no node 'cadiz'"),
        ({"canaries": 2}, 400, "no 2 canaries"),
        ({"at_once": 17}, 400, "17 at once is not between 1 and 16"),
        ({"kind": "relays"}, 409, "none of the relays is reached by ssh"),
        ({"deb": "/etc/passwd"}, 400, "deb"),
    ],
)
async def test_upgrade_that_does_not_fit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: dict[str, Any], status: int, said: str
) -> None:
    async with placed(tmp_path, monkeypatch) as place:
        refused = await place.begin(**body)
        assert (refused.status_code, said in refused.text) == (status, True), refused.text
        assert (await place.client.get(f"{API}/upgrades")).json() == {"items": []}


async def test_helm_that_does_not_run_carries_nothing_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with placed(tmp_path, monkeypatch, runs=False) as place:
        refused = await place.begin()
        assert (refused.status_code, "helm does not run" in refused.text) == (503, True)
        assert (await place.client.get(f"{API}/upgrades/1")).status_code == 404


async def test_health_of_a_relay_is_what_its_tunnel_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with placed(tmp_path, monkeypatch) as place:
        relay, _ = await place.helm.store.run(adopt_sample_relay, place.helm.authority)
        path = f"{API}/relays/{relay.id}/health"
        assert (await place.client.get(path)).json()["answers"] is False
        board = place.helm.context.board
        board.report(relay.id, relay.name, LinkState.UP, "")
        board.of(relay.id).version = NEW
        health = (await place.client.get(path)).json()
        assert (health["answers"], health["version"], health["settled"]) == (True, NEW, True)


async def test_node_that_is_away_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with placed(tmp_path, monkeypatch) as place:
        health = (await place.client.get(f"{API}/nodes/{place.node_id}/health")).json()
        assert health["answers"] is False
        assert "amsterdam does not answer" in health["why"]
        assert (await place.client.get(f"{API}/nodes/{place.node_id}/health?since=x")).status_code == 400
        assert (await place.client.get(f"{API}/nodes/nobody/health")).status_code == 404


async def test_browser_whose_proof_is_old_begins_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with placed(tmp_path, monkeypatch) as place:
        async with asking(make_loopback_app(place.helm.context, {HOST})) as browser:
            me = dict(await sign_in(place.helm.context, role=Role.ADMIN))
            body = {"kind": "nodes", "dry_run": True}
            with monkeypatch.context() as late:
                late.setattr(signin, "FRESH", -1)
                refused = await browser.post(f"{API}/upgrades", headers=me, json=body)
            assert (refused.status_code, "fresh proof" in refused.text) == (401, True)
            assert (await browser.post(f"{API}/upgrades", headers=me, json=body)).status_code == 202
            below = dict(await sign_in(place.helm.context, role=Role.OPERATOR, name="bob"))
            assert (await browser.post(f"{API}/upgrades", headers=below, json=body)).status_code == 403
