"""Rows 49, 54. Position: a device of the fleet, an admin's or not. Wants: helm's desk, or another's session at it.

Countermeasure: whose device it is, is looked up before the application hears of anything; a session belongs to the
device over whose passage it began; over an admin's device that admin alone acts; of a request's headers an allow-list
passes. Each is shown with the check switched off, too.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from pharos.caravel.admin.link import Lane
from pharos.caravel.errors import HelmRefusedError
from pharos.helm.accounts import signin
from pharos.helm.accounts.admindevices import give_device
from pharos.helm.accounts.admins import add_token
from pharos.helm.model.admins import Role
from pharos.helm.model.desk import AdminDevice
from pharos.helm.relay import adminscope, adminweb
from pharos.helm.store.database import Database
from pharos.helm.web import desk as web_desk
from pharos.helm.web.session import CSRF_HEADER
from pharos.wire.ids import DeviceId
from tests.support.desk import SESSION, AtDesk, admin_with_device, ask, desk_of, linked
from tests.support.helm import SampleHelm, enrol_sample_device, open_helm, sample_act

JSON = ("content-type", "application/json")
Signed = list[tuple[str, str]]


class Listening:
    """An application that only notes what it hears."""

    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []

    async def __call__(self, scope: Any, _receive: Any, send: Callable[[Any], Awaitable[None]]) -> None:
        self.heard.append(scope)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})


async def sign_in(lane: Lane, secret: str) -> tuple[int, Signed]:
    """Use a link; return the status and what shows the session."""
    head, body = await ask(lane, "POST", SESSION, JSON, body=json.dumps({"link": secret}).encode())
    cookie = next((value.partition(";")[0] for name, value in head.headers if name == "set-cookie"), "")
    csrf = json.loads(body).get("csrf", "")
    return head.status, [("cookie", cookie), (CSRF_HEADER.lower(), csrf)]


async def status_of(lane: Lane, target: str, signed: Signed, method: str = "GET", body: bytes = b"") -> int:
    head, _ = await ask(lane, method, target, *signed, *([JSON] if body else []), body=body)
    return head.status


async def knock(helm: SampleHelm) -> list[dict[str, Any]]:
    """Let a device that is no admin's ask for something; return what the application heard."""
    app = Listening()
    stranger = await helm.store.run(enrol_sample_device, 7)
    async with linked(desk_of(helm, app), stranger.id) as link, link.open_lane() as lane:
        await ask(lane, "GET", "/api/v1/status")
    return app.heard


async def test_a49_device_of_no_admin_is_refused_before_the_application_hears(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm:
        app = Listening()
        stranger = await helm.store.run(enrol_sample_device, 7)
        async with linked(desk_of(helm, app), stranger.id) as link:
            for method, target in (("GET", "/"), ("POST", SESSION), ("GET", "/api/v1/status")):
                async with link.open_lane() as lane:
                    with pytest.raises(HelmRefusedError, match="no admin's"):
                        await ask(lane, method, target)
        assert app.heard == []


async def test_a49_turns_red_without_the_look_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weakened: whoever has a passage is taken for an admin."""

    def anybody(_db: Database, device_id: DeviceId, *, at: int) -> AdminDevice:
        return AdminDevice(device_id=device_id, admin_id="anybody")

    monkeypatch.setattr(adminweb, "find_admin_device", anybody)
    async with open_helm(tmp_path) as helm:
        assert len(await knock(helm)) == 1


async def steal(helm: SampleHelm) -> tuple[int, int]:
    """Take a session of an admin's device to another device of the same admin; return what each is answered."""
    first = await admin_with_device(helm, 1)

    def second(db: Database) -> DeviceId:
        device = enrol_sample_device(db, 2)
        give_device(db, sample_act(), first.admin.id, device.id)
        return device.id

    other = await helm.store.run(second)
    desk = desk_of(helm)
    async with linked(desk, first.device_id) as own, linked(desk, other) as thief:
        async with own.open_lane() as lane, thief.open_lane() as elsewhere:
            _, signed = await sign_in(lane, first.secret)
            assert await status_of(lane, "/api/v1/users", signed) == 200
            taken = await status_of(elsewhere, "/api/v1/users", signed)
            return taken, await status_of(lane, "/api/v1/users", signed)


async def test_a49_session_of_one_device_is_none_on_another(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm:
        # It was copied, so it ends altogether.
        assert await steal(helm) == (401, 401)


async def test_a49_turns_red_where_no_session_is_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weakened: sessions belong to nobody's device."""
    monkeypatch.setattr(AdminDevice, "bound", "")
    async with open_helm(tmp_path) as helm:
        assert await steal(helm) == (200, 200)


async def come_as_another(helm: SampleHelm) -> tuple[int, int]:
    """Sign in as another admin over one's own device, by link and by token; return what each is answered."""
    mallory = await admin_with_device(helm, 1, name="mallory", role=Role.VIEWER)
    ada = await admin_with_device(helm, 2)
    _, text = await helm.store.run(add_token, sample_act(), ada.admin.id, name="robot", role=Role.OWNER)
    async with linked(desk_of(helm), mallory.device_id) as link, link.open_lane() as lane:
        _, signed = await sign_in(lane, ada.secret)
        by_session = await status_of(lane, "/api/v1/admins", signed)
        return by_session, await status_of(lane, "/api/v1/admins", [("authorization", f"Bearer {text}")])


async def test_a49_over_a_device_only_its_admin_acts(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm:
        # The session that began was ended again before its cookie came.
        assert await come_as_another(helm) == (401, 403)


async def test_a49_turns_red_without_the_comparison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_desk, "desk_of", lambda _scope: None)
    async with open_helm(tmp_path) as helm:
        assert await come_as_another(helm) == (200, 200)


async def test_a54_viewer_at_the_desk_cannot_act(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm:
        eve = await admin_with_device(helm, name="eve", role=Role.VIEWER)
        async with linked(desk_of(helm), eve.device_id) as link, link.open_lane() as lane:
            _, signed = await sign_in(lane, eve.secret)
            assert await status_of(lane, "/api/v1/devices", signed) == 200
            assert await status_of(lane, "/api/v1/users", signed, "POST", b'{"name":"x"}') == 403
            path = f"/api/v1/devices/{eve.device_id}/revoke"
            assert await status_of(lane, path, [*signed, ("if-match", '"1"')], "POST") == 403


async def test_a49_act_that_takes_a_fresh_proof_takes_one_at_the_desk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_helm(tmp_path) as helm:
        ada = await admin_with_device(helm)
        async with linked(desk_of(helm), ada.device_id) as link, link.open_lane() as lane:
            _, signed = await sign_in(lane, ada.secret)
            body, path = b'{"password":"correct horse battery"}', f"{SESSION}/password"
            monkeypatch.setattr(signin, "FRESH", -1)
            assert await status_of(lane, path, signed, "PUT", body) == 401
            monkeypatch.undo()
            assert await status_of(lane, path, signed, "PUT", body) == 204


SMUGGLED = [
    ("host", "evil.example"),
    ("origin", "http://evil.example"),
    ("x-forwarded-for", "127.0.0.1"),
    ("forwarded", "for=127.0.0.1"),
    ("x-pharos-desk", "owner"),
    ("x-pharos-principal", "operator"),
    ("content-length", "4"),
    ("transfer-encoding", "chunked"),
    ("upgrade", "websocket"),
    ("connection", "upgrade"),
    ("remote-addr", "127.0.0.1"),
]


async def smuggle(helm: SampleHelm, ada: AtDesk) -> list[tuple[bytes, bytes]]:
    app = Listening()
    async with linked(desk_of(helm, app), ada.device_id) as link, link.open_lane() as lane:
        cookies = ("cookie", "other=1; pharos_session=mine; caravel_desk_9=2")
        await ask(lane, "GET", "/", *SMUGGLED, cookies, ("accept", "text/html"), ("accept", "twice"))
    (scope,) = app.heard
    found: list[tuple[bytes, bytes]] = scope["headers"]
    return found


async def test_a49_headers_outside_of_the_list_are_not_heard(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm:
        assert await smuggle(helm, await admin_with_device(helm)) == [
            (b"host", b"localhost:8440"),
            (b"cookie", b"pharos_session=mine"),
            (b"accept", b"text/html"),
        ]


async def test_a49_turns_red_with_a_longer_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adminscope, "HEADERS", adminscope.HEADERS | dict(SMUGGLED).keys())
    async with open_helm(tmp_path) as helm:
        assert (b"x-pharos-principal", b"operator") in await smuggle(helm, await admin_with_device(helm))


@pytest.mark.parametrize(
    ("method", "target", "headers"),
    [
        ("CONNECT", "/", []),
        ("OPTIONS", "/", []),
        ("get", "/", []),
        ("GET", "http://127.0.0.1:8440/", []),
        ("GET", "*", []),
        ("GET", "", []),
        ("GET", "/ HTTP/1.1\r\nhost: x", []),
        ("GET", "/#x", []),
        ("GET", "/" + "a" * 9000, []),
        ("GET", "/", [("accept", "a\r\nx-evil: b")]),
        ("GET", "/", [("accept", "\u20ac")]),
        ("GET", "/", [("accept", "a" * 9000)]),
    ],
)
async def test_a49_what_is_no_request_of_a_page_is_refused(
    tmp_path: Path, method: str, target: str, headers: Signed
) -> None:
    async with open_helm(tmp_path) as helm:
        app = Listening()
        ada = await admin_with_device(helm)
        async with linked(desk_of(helm, app), ada.device_id) as link, link.open_lane() as lane:
            with pytest.raises(HelmRefusedError):
                await ask(lane, method, target, *headers)
        assert app.heard == []
