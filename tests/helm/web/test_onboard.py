"""Machines that helm itself brings in, over HTTP: begun, followed, asked about, stopped, undone."""

from __future__ import annotations

import functools
import json
import socket
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest
import trio

from pharos.helm.accounts import signin
from pharos.helm.live.board import now_us
from pharos.helm.model.admins import Role
from pharos.helm.model.onboardings import Onboarding
from pharos.helm.onboard.join import parts
from pharos.helm.onboard.join.answers import HOST_KEY, PASSWORD
from pharos.helm.onboard.join.desk import Seen
from pharos.helm.onboard.join.engine import OpenRemote
from pharos.helm.onboard.join.inside import ServiceDesk
from pharos.helm.onboard.join.parts import Part
from pharos.helm.onboard.join.runner import Live, Onboardings
from pharos.helm.onboard.remote import Remote
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.onboardings import ONBOARDINGS
from pharos.helm.store.records import add_record
from pharos.helm.web.app import make_loopback_app, make_operator_app
from pharos.wire.tasks import open_background
from tests.support.helm import SampleHelm, open_helm
from tests.support.http import asking
from tests.support.nouns import API
from tests.support.sandbox import HOST_KEY as SHOWN
from tests.support.sandbox import Sandbox, make_deb
from tests.support.signin import sign_in

MACHINE = "root@127.0.0.1"
SECRET = "a password that nobody keeps"


@attrs.define
class Place:
    """A helm that runs onboardings, and the machine."""

    helm: SampleHelm
    client: httpx.AsyncClient
    box: Sandbox
    asks: tuple[str, ...]
    heard: list[str | None] = attrs.field(factory=list)

    def connect(self, _state: Path, live: Live) -> OpenRemote:
        @asynccontextmanager
        async def opened() -> AsyncIterator[Remote]:
            for what in self.asks:
                shown = SHOWN if what == HOST_KEY else "password of root:"
                self.heard.append(await live.question.ask(what, shown, live.tell))
            async with self.box.open() as remote:
                yield remote

        def open_remote() -> AbstractAsyncContextManager[Remote]:
            return opened()

        return open_remote

    async def begin(self, **more: Any) -> dict[str, Any]:
        answer = await self.client.post(f"{API}/onboardings", json={"destination": MACHINE, "name": "gate"} | more)
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def events(self, onboarding: dict[str, Any]) -> list[dict[str, Any]]:
        """Follow it to its end."""
        answer = await self.client.get(f"{API}/onboardings/{onboarding['id']}/events")
        return [json.loads(line) for line in answer.text.splitlines()]

    async def wait(self, onboarding: dict[str, Any], state: str, *, asks: str | None = None) -> dict[str, Any]:
        """Wait until the record says so."""
        with trio.fail_after(20):
            while True:
                found: dict[str, Any] = (await self.client.get(f"{API}/onboardings/{onboarding['id']}")).json()
                if found["state"] == state and asks in (None, found["asks"]):
                    return found
                await trio.sleep(0.01)

    async def act(self, onboarding: dict[str, Any], verb: str, **body: str) -> int:
        answer = await self.client.post(f"{API}/onboardings/{onboarding['id']}/{verb}", json=body or None)
        return answer.status_code


@asynccontextmanager
async def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *asks: str) -> AsyncIterator[Place]:
    debs = tmp_path / "debs"
    debs.mkdir()
    monkeypatch.setattr("pharos.helm.onboard.debs.CARRIED", debs)
    for part in Part:
        make_deb(debs, part.agent.package)
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    monkeypatch.setitem(parts.DEFAULT_PORTS, "tunnel_port", ports[0])
    monkeypatch.setitem(parts.DEFAULT_PORTS, "ingress_port", ports[1])

    async def see(_desk: ServiceDesk, _part: Part, _member_id: str) -> Seen:
        return Seen(version="0.1.0", ordered=True)

    monkeypatch.setattr(ServiceDesk, "see", see)
    (tmp_path / "helm").mkdir(mode=0o700)
    box = Sandbox(tmp_path / "machine", ports={"pharos-beacon": tuple(ports)})
    async with open_helm(tmp_path / "helm") as helm:
        here = Place(helm, None, box, asks)  # type: ignore[arg-type]  # below
        context = attrs.evolve(helm.context, onboardings=Onboardings(here.connect))

        run = functools.partial(context.onboardings.run, helm.store, context.authorities, context.board, helm.state)
        here.helm = attrs.evolve(helm, context=context)
        async with open_background(run), asking(make_operator_app(context)) as client:
            here.client = client
            try:
                yield here
            finally:
                box.close()


async def test_dry_run_tells_what_it_would_take_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with place(tmp_path, monkeypatch) as here:
        begun = await here.begin(parts=["beacon"], dry_run=True)
        events = await here.events(begun)
        planned = [event for event in events if event["event"] == "planned"]
        assert {"install", "request", "adopt", "start"} <= {event["step"] for event in planned}
        assert events[-1] == {"event": "rehearsed", "changes": sum(event["changes"] for event in planned)}
        assert events[-1]["changes"] > 0
        await here.wait(begun, "rehearsed")
        assert (await here.client.get(f"{API}/relays")).json()["items"] == []
        assert await here.act(begun, "undo") == 409


async def test_machine_is_brought_in_from_a_page_and_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with place(tmp_path, monkeypatch) as here:
        begun = await here.begin(parts=["beacon"])
        events = await here.events(begun)
        assert [event["step"] for event in events if event["event"] == "done"][:3] == ["connect", "look", "upload"]
        assert events[-1]["event"] == "joined"
        record = await here.wait(begun, "joined")
        (relay,) = (await here.client.get(f"{API}/relays")).json()["items"]
        assert events[-1]["members"] == {"relays": relay["id"]}
        assert (relay["ssh_destination"], relay["ssh_host_key"]) == (MACHINE, SHOWN)
        assert (record["step"], record["asks"], record["text"]) == ("status", "", "")
        assert await here.act(begun, "undo") == 409
        assert await here.act(begun, "stop") == 409


async def test_machine_stands_where_somebody_said_when_it_was_brought_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = {"place": "Frankfurt, DE", "latitude": 50.11, "longitude": 8.68}
    async with place(tmp_path, monkeypatch) as here:
        nowhere = {"destination": MACHINE, "place": "Frankfurt, DE", "latitude": 50.11}
        refused = await here.client.post(f"{API}/onboardings", json=nowhere)
        assert (refused.status_code, "or neither" in refused.json()["detail"]) == (400, True)
        begun = await here.begin(parts=["beacon"], **where)
        await here.wait(begun, "joined")
        (relay,) = (await here.client.get(f"{API}/relays")).json()["items"]
        assert {name: relay[name] for name in where} == where


async def test_host_key_and_password_are_asked_for_and_kept_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with place(tmp_path, monkeypatch, HOST_KEY, PASSWORD) as here:
        begun = await here.begin(parts=["beacon"])
        waiting = await here.wait(begun, "waiting")
        assert (waiting["asks"], waiting["host_key"]) == ("host_key", SHOWN)
        assert await here.act(begun, "answer", password=SECRET) == 409
        assert await here.act(begun, "confirm", host_key="SHA256:" + "x" * 43) == 409
        assert await here.act(begun, "confirm", host_key=SHOWN) == 204
        await here.wait(begun, "waiting", asks="password of root:")
        assert await here.act(begun, "answer", password=SECRET) == 204
        events = await here.events(begun)
        assert here.heard == ["yes", SECRET]
        await here.wait(begun, "joined")
        assert SECRET not in json.dumps(events) + caplog.text

        def dump(db: Database) -> str:
            return "\n".join(db.iterdump())

        assert SECRET not in await here.helm.store.read(dump)


async def test_stopped_while_it_waits_it_is_undone_from_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with place(tmp_path, monkeypatch, HOST_KEY) as here:
        begun = await here.begin(parts=["beacon"])
        await here.wait(begun, "waiting")
        answer = await here.client.post(f"{API}/onboardings", json={"destination": MACHINE})
        assert (answer.status_code, "at work already" in answer.text) == (409, True)
        assert await here.act(begun, "stop") == 204
        assert (await here.events(begun))[-1] == {"event": "stopped", "undone": False}
        await here.wait(begun, "stopped")
        here.asks = ()
        # Where it comes to, and breaks.
        here.box.fails = lambda argv: "it does not start" if "restart" in argv else None
        again = await here.begin(parts=["beacon"])
        failed = await here.wait(again, "failed")
        assert failed["text"].startswith("pharos-beacon.service does not start there: it does not start")
        here.box.fails = lambda _argv: None
        assert await here.act(again, "undo") == 202
        await here.wait(again, "undone")
        assert here.box.left == []
        assert (await here.client.get(f"{API}/relays")).json()["items"] == []
        assert await here.act(again, "undo") == 409


async def test_it_takes_an_admin_with_a_fresh_proof(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with place(tmp_path, monkeypatch, HOST_KEY) as here:
        body = {"destination": MACHINE, "parts": ["beacon"], "name": "gate"}
        async with asking(make_loopback_app(here.helm.context, {"localhost:8440"})) as client:
            operator = dict(await sign_in(here.helm.context, name="olga", role=Role.OPERATOR))
            assert (await client.post(f"{API}/onboardings", json=body, headers=operator)).status_code == 403
            assert (await client.get(f"{API}/onboardings", headers=operator)).status_code == 403
            admin = dict(await sign_in(here.helm.context, role=Role.ADMIN))
            with monkeypatch.context() as later:
                later.setattr(signin, "now_us", lambda: now_us() + 6 * 60 * 1_000_000)
                stale = await client.post(f"{API}/onboardings", json=body, headers=admin)
            assert (stale.status_code, "fresh proof" in stale.text) == (401, True)
            assert (await client.post(f"{API}/onboardings", json=body, headers=admin)).status_code == 201
            assert (await client.get(f"{API}/ssh-key", headers=admin)).json()["public_key"].startswith("ssh-ed25519 ")


async def test_what_does_not_fit_is_refused_before_anything_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad: tuple[dict[str, Any], ...] = (
        {"destination": "-oProxyCommand=sh"},
        {"destination": MACHINE, "name": "a/b"},
        {"destination": MACHINE, "address": "two words"},
        {"destination": MACHINE, "parts": ["helm"]},
    )
    async with place(tmp_path, monkeypatch) as here:
        for body in bad:
            assert (await here.client.post(f"{API}/onboardings", json=body)).status_code == 400
        assert (await here.client.get(f"{API}/onboardings")).json()["items"] == []


async def test_what_was_at_work_when_helm_ended_is_stopped(tmp_path: Path) -> None:
    (tmp_path / "helm").mkdir(mode=0o700)
    async with open_helm(tmp_path / "helm") as helm:
        left = Onboarding(id="left", name="gate", destination=MACHINE, address="", parts=("beacon",))
        await helm.store.run(lambda db: add_record(db, ONBOARDINGS, left, Act(actor="ada", at=now_us())))
        async with trio.open_nursery() as nursery, asking(make_operator_app(helm.context)) as client:
            assert (await client.post(f"{API}/onboardings", json={"destination": MACHINE})).status_code == 409
            context = helm.context
            await nursery.start(context.onboardings.run, helm.store, context.authorities, context.board, helm.state)
            found = (await client.get(f"{API}/onboardings/left")).json()
            assert (found["state"], "goes on from there" in found["text"]) == ("stopped", True)
            nursery.cancel_scope.cancel()
