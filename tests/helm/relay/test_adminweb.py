"""helm's page inside a passage: what it answers comes whole, it waits for who does not read, and it ends in time."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from pharos.caravel.admin.link import Request
from pharos.caravel.errors import CaravelError, HelmRefusedError
from pharos.helm.accounts.admindevices import MOST, give_device, take_device
from pharos.helm.accounts.admins import add_admin, change_admin, remove_admin
from pharos.helm.accounts.devices import change_device, move_device
from pharos.helm.errors import ConflictError, InvalidRequestError, NotFoundError
from pharos.helm.live.board import now_us
from pharos.helm.model.admins import AdminState, Role
from pharos.helm.model.devices import DeviceAct
from pharos.helm.relay import adminsocket, adminweb
from pharos.helm.relay.cuts import run_cuts
from pharos.helm.relay.online import MOST_BESIDE, OnlineDevices
from pharos.helm.store.admindevices import devices_of_admin, owner_of
from pharos.helm.store.admins import ADMINS
from pharos.helm.store.audit import audit_rows
from pharos.helm.store.database import Database
from pharos.helm.store.devices import get_device
from pharos.helm.store.records import get_record
from pharos.wire.gen.pharos.account.v1 import admin_pb2 as pb
from pharos.wire.ids import DeviceId
from tests.support.desk import admin_with_device, ask, desk_of, linked
from tests.support.helm import enrol_sample_device, fleet_in_memory, open_helm, revoke_sample_device, sample_act


async def answering(_scope: Any, receive: Any, send: Any) -> None:
    """Say back what was asked, in pieces of 100 kB."""
    body = (await receive())["body"]
    await send({"type": "http.response.start", "status": 200, "headers": [(b"X-Size", b"%d" % len(body))]})
    for start in range(0, len(body), 100_000):
        await send({"type": "http.response.body", "body": body[start : start + 100_000], "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def test_one_call_carries_exchanges_one_after_another(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm:
        ada = await admin_with_device(helm)
        async with linked(desk_of(helm, answering), ada.device_id) as link, link.open_lane() as lane:
            for size in (0, 1, 64 * 1024, 250_000, 3):
                head, body = await ask(lane, "POST", "/x", body=bytes(size))
                assert (head.status, head.headers, body) == (200, (("x-size", str(size)),), bytes(size))
            head, body = await ask(lane, "HEAD", "/x", body=b"unseen")
            assert (head.status, body) == (200, b"")


async def test_body_that_is_too_long_ends_the_call(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm:
        ada = await admin_with_device(helm)
        async with linked(desk_of(helm, answering), ada.device_id) as link, link.open_lane() as lane:
            with pytest.raises(HelmRefusedError, match="at most"):
                await ask(lane, "POST", "/x", body=bytes(256 * 1024 + 1))


async def test_application_waits_for_a_device_that_does_not_read(tmp_path: Path) -> None:
    sent = 0

    async def endless(_scope: Any, _receive: Any, send: Any) -> None:
        nonlocal sent
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": bytes(64 * 1024), "more_body": True})
            sent += 64 * 1024

    async with open_helm(tmp_path) as helm:
        ada = await admin_with_device(helm)
        async with linked(desk_of(helm, endless), ada.device_id) as link, link.open_lane() as lane:
            await lane.ask(Request(method="GET", target="/"))
            await trio.testing.wait_all_tasks_blocked(0.05)
            # One window of a stream, and a piece.
            assert sent <= 256 * 1024


async def test_application_is_cancelled_when_the_device_leaves(tmp_path: Path) -> None:
    ended = trio.Event()

    async def patient(_scope: Any, receive: Any, _send: Any) -> None:
        try:
            while True:
                await receive()
        finally:
            ended.set()

    async with open_helm(tmp_path) as helm:
        ada = await admin_with_device(helm)
        async with linked(desk_of(helm, patient), ada.device_id) as link:
            with trio.move_on_after(0.1):
                async with link.open_lane() as lane:
                    await lane.ask(Request(method="GET", target="/"))
            with trio.fail_after(5):
                await ended.wait()


async def test_device_has_so_many_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adminweb, "MAX_CALLS", 2)
    async with open_helm(tmp_path) as helm:
        ada = await admin_with_device(helm)
        async with linked(desk_of(helm, answering), ada.device_id) as link:
            async with link.open_lane() as one, link.open_lane() as two, link.open_lane() as three:
                for lane in (one, two):
                    await ask(lane, "GET", "/")
                with pytest.raises(HelmRefusedError, match="at most 2"):
                    await ask(three, "GET", "/")
            await trio.testing.wait_all_tasks_blocked()
            async with link.open_lane() as lane:
                await ask(lane, "GET", "/")


async def test_socket_carries_messages_both_ways_and_long_ones_in_pieces(tmp_path: Path) -> None:
    async def echo(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "websocket"
        assert await receive() == {"type": "websocket.connect"}
        await send({"type": "websocket.accept"})
        while (event := await receive())["type"] == "websocket.receive":
            content = event["text"] if event["bytes"] is None else event["bytes"]
            kind = "bytes" if event["text"] is None else "text"
            await send({"type": "websocket.send", kind: content * (3 if len(content) > 1000 else 1)})
        assert event == {"type": "websocket.disconnect", "code": 4000}

    async with open_helm(tmp_path) as helm:
        ada = await admin_with_device(helm)
        async with linked(desk_of(helm, echo), ada.device_id) as link, link.open_lane() as lane:
            head = await lane.ask(Request(method="GET", target="/", websocket=True))
            assert head.status == 101
            for text in ("", "ä", "ä" * 60_000):
                await lane.send_text(text)
                heard, more = "", True
                while more:
                    message = await lane.receive()
                    assert isinstance(message, pb.SocketMessage)
                    heard, more = heard + message.text, message.more
                assert heard == text * (3 if len(text) > 1000 else 1)
            await lane.send_binary(b"\x00")
            message = await lane.receive()
            assert isinstance(message, pb.SocketMessage)
            assert message.binary == b"\x00"
            await lane.send_close(4000, "")
            assert await lane.receive() is None


async def test_message_that_is_too_long_closes_the_socket(tmp_path: Path) -> None:
    async def accept(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        assert (await receive())["code"] == 1009

    async with open_helm(tmp_path) as helm:
        ada = await admin_with_device(helm)
        async with linked(desk_of(helm, accept), ada.device_id) as link, link.open_lane() as lane:
            await lane.ask(Request(method="GET", target="/", websocket=True))
            await lane.send_text("x" * (adminsocket.MAX_MESSAGE + 1))
            closed = await lane.receive()
            assert isinstance(closed, pb.SocketClose)
            assert closed.code == 1009


async def test_socket_that_the_application_refuses_is_an_answer(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm:
        ada = await admin_with_device(helm)
        async with linked(desk_of(helm), ada.device_id) as link, link.open_lane() as lane:
            head = await lane.ask(Request(method="GET", target="/api/v1/live", websocket=True))
            body = b"".join([piece async for piece in lane.read_body()])
            assert (head.status, json.loads(body)["detail"]) == (401, "sign in first")


Go = Callable[[Database, str, DeviceId], object]


def _take(db: Database, admin_id: str, device_id: DeviceId) -> None:
    take_device(db, sample_act(), admin_id, device_id)


def _revoke(db: Database, _admin_id: str, device_id: DeviceId) -> None:
    revoke_sample_device(db, device_id)


def _disable_device(db: Database, _admin_id: str, device_id: DeviceId) -> None:
    move_device(db, sample_act(), device_id, get_device(db, device_id).version, DeviceAct.DISABLE)


def _disable_admin(db: Database, admin_id: str, _device_id: DeviceId) -> None:
    version = get_record(db, ADMINS, admin_id).version
    change_admin(db, sample_act(), admin_id, version, {"state": AdminState.DISABLED})


def _remove_admin(db: Database, admin_id: str, _device_id: DeviceId) -> None:
    remove_admin(db, sample_act(), admin_id, get_record(db, ADMINS, admin_id).version)


@pytest.mark.parametrize("go", [_take, _revoke, _disable_device, _disable_admin, _remove_admin])
async def test_who_has_to_go_is_cut_off_in_the_middle(tmp_path: Path, go: Go) -> None:
    inside: dict[str, trio.Event] = {}

    async def endless(scope: Any, receive: Any, _send: Any) -> None:
        inside[scope["client"][0]].set()
        while True:
            await receive()

    async with open_helm(tmp_path) as helm, trio.open_nursery() as nursery:
        await helm.store.run(add_admin, sample_act(), "owner", Role.OWNER)
        ada, bob = await admin_with_device(helm), await admin_with_device(helm, 2, name="bob")
        inside |= {ada.device_id: trio.Event(), bob.device_id: trio.Event()}
        desk = desk_of(helm, endless)
        await nursery.start(run_cuts, helm.store, OnlineDevices(), desk)
        async with linked(desk, ada.device_id) as link, linked(desk, bob.device_id) as other:
            async with link.open_lane() as lane, other.open_lane() as stays:

                async def wait_for_ever() -> None:
                    with suppress(CaravelError):
                        await stays.ask(Request(method="GET", target="/"))
                    raise AssertionError("bob was to stay")

                nursery.start_soon(wait_for_ever)

                async def put_out() -> None:
                    for event in inside.values():
                        await event.wait()
                    await helm.store.run(go, ada.admin.id, ada.device_id)

                nursery.start_soon(put_out)
                with trio.fail_after(2), pytest.raises(HelmRefusedError, match="no admin's"):
                    await lane.ask(Request(method="GET", target="/"))
                nursery.cancel_scope.cancel()


def test_device_is_given_taken_back_and_both_are_audited() -> None:
    with fleet_in_memory() as (db, _):
        ada, bob = (add_admin(db, sample_act(), name, Role.OWNER) for name in ("ada", "bob"))
        laptop = enrol_sample_device(db, 1)
        before = get_record(db, ADMINS, ada.id).version
        assert give_device(db, sample_act(), ada.id, laptop.id).version == before + 1
        # What is so already is no change.
        assert give_device(db, sample_act(), ada.id, laptop.id).version == before + 1
        assert devices_of_admin(db, ada.id) == [{"id": laptop.id, "name": "laptop", "state": "active"}]
        with pytest.raises(ConflictError, match="the device of ada"):
            give_device(db, sample_act(), bob.id, laptop.id)
        with pytest.raises(NotFoundError):
            take_device(db, sample_act(), bob.id, laptop.id)
        take_device(db, sample_act(), ada.id, laptop.id)
        assert owner_of(db, laptop.id) is None
        verbs = [row.verb for row in audit_rows(db, after=0) if row.subject == ada.id]
        assert verbs == ["admin_added", "admin_device_given", "admin_device_taken"]


def test_admin_has_so_many_devices_and_none_that_is_out() -> None:
    with fleet_in_memory() as (db, _):
        ada = add_admin(db, sample_act(), "ada", Role.OWNER)
        for number in range(MOST):
            give_device(db, sample_act(), ada.id, enrol_sample_device(db, number).id)
        with pytest.raises(InvalidRequestError, match="already"):
            give_device(db, sample_act(), ada.id, enrol_sample_device(db, 100).id)
        revoke_sample_device(db, devices_of_admin(db, ada.id)[0]["id"])
        assert len(devices_of_admin(db, ada.id)) == MOST - 1
        gone = enrol_sample_device(db, 101)
        revoke_sample_device(db, gone.id)
        with pytest.raises(ConflictError, match="revoked"):
            give_device(db, sample_act(), ada.id, gone.id)


class Passage:
    """Of a device, as far as who is here is concerned."""

    def __init__(self) -> None:
        self.ended = False

    def end(self) -> None:
        self.ended = True


def test_passages_at_the_desk_put_none_out_but_the_oldest_of_too_many() -> None:
    online, laptop = OnlineDevices(), DeviceId("laptop")
    follower: Any = Passage()
    with online.joined(laptop, follower):
        desks: list[Any] = [Passage() for _ in range(MOST_BESIDE + 1)]
        places = [online.beside(laptop, passage) for passage in desks]
        for place in places:
            place.__enter__()
        assert [passage.ended for passage in desks] == [True, *[False] * MOST_BESIDE]
        assert (follower.ended, len(online)) == (False, 1)
        online.cut(laptop)
        assert all(passage.ended for passage in (follower, *desks))
        for place in places:
            place.__exit__(None, None, None)
    assert online._beside == {}


async def test_device_that_expires_at_the_desk_has_to_go(tmp_path: Path) -> None:
    async def endless(_scope: Any, receive: Any, _send: Any) -> None:
        while True:
            await receive()

    async with open_helm(tmp_path) as helm:
        ada = await admin_with_device(helm)

        def expire(db: Database) -> None:
            version = get_device(db, ada.device_id).version
            change_device(db, sample_act(), ada.device_id, version, {"expires_at": now_us() + 200_000})

        await helm.store.run(expire)
        async with linked(desk_of(helm, endless), ada.device_id) as link, link.open_lane() as lane:
            with trio.fail_after(5), pytest.raises(HelmRefusedError, match="no admin's"):
                await lane.ask(Request(method="GET", target="/"))
