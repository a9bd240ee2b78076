"""Rows 33 and 35 at helm's own page. Position: a program on helm's machine. Wants: its places, by slow or large words.

Countermeasure: a request line and its fields have five seconds and 16 KiB, a body a minute, a WebSocket's first word
ten seconds. hypercorn, quart and h11 do the counting; what is tried here is that helm's settings make them do it.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from hypercorn.config import Config
from quart_trio import QuartTrio

from pharos.helm.web import firstword
from pharos.helm.web.app import make_loopback_app
from tests.support.floods import forever
from tests.support.helm import open_helm
from tests.support.http import LOOPBACK, WebSocket, fetch, open_websocket, serving
from tests.support.signin import Headers, sign_in

PATIENCE = 0.3
SLACK = 3
"""By which a deadline is stretched on a busy machine."""
HOST = "localhost:8440"
HEAD = f"GET /api/v1/status HTTP/1.1\r\nHost: {HOST}\r\n".encode()


@asynccontextmanager
async def page(folder: Path) -> AsyncIterator[tuple[QuartTrio, int, Headers]]:
    """Give the app, its port, and what the browser of somebody who is signed in sends."""
    async with open_helm(folder) as helm:
        app = make_loopback_app(helm.context, {HOST})
        async with serving(app) as port:
            yield app, port, await sign_in(helm.context)


async def is_over(port: int, said: bytes, dripped: bytes) -> bool:
    """Say one thing at once and another octet by octet; tell whether the page has ended it in its stretched time."""
    async with await trio.open_tcp_stream(LOOPBACK, port) as stream, trio.open_nursery() as nursery:

        async def speak() -> None:
            with contextlib.suppress(trio.BrokenResourceError):
                await stream.send_all(said)
                for octet in dripped:
                    await stream.send_all(bytes([octet]))
                    await trio.sleep(PATIENCE / 50)

        nursery.start_soon(speak)
        with trio.move_on_after(SLACK * PATIENCE) as waiting:
            with contextlib.suppress(trio.BrokenResourceError):
                while await stream.receive_some():
                    pass
        nursery.cancel_scope.cancel()
    return not waiting.cancelled_caught


@pytest.mark.red_inside
@pytest.mark.parametrize(("said", "dripped"), [(b"", b""), (HEAD, b"X-Slow: " + b"x" * 500)], ids=["nothing", "fields"])
async def test_a33_request_to_helms_page_has_its_time(
    tmp_path: Path, said: bytes, dripped: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Config().keep_alive_timeout <= 10
    monkeypatch.setattr(Config, "keep_alive_timeout", PATIENCE)
    async with page(tmp_path) as (_, port, _me):
        assert await is_over(port, said, dripped)
        monkeypatch.setattr(Config, "keep_alive_timeout", math.inf)
        assert not await is_over(port, said, dripped)


@pytest.mark.red_inside
async def test_a33_body_to_helms_page_has_its_time(tmp_path: Path) -> None:
    async with page(tmp_path) as (app, port, me):
        fields = "".join(f"{name}: {value}\r\n" for name, value in (("Host", HOST), *me))
        said = f"POST /api/v1/users HTTP/1.1\r\n{fields}Content-Type: application/json\r\nContent-Length: 900\r\n\r\n"
        assert app.config["BODY_TIMEOUT"] <= 60
        app.config["BODY_TIMEOUT"] = PATIENCE
        assert await is_over(port, said.encode(), b" " * 800)
        app.config["BODY_TIMEOUT"] = None
        assert not await is_over(port, said.encode(), b" " * 800)


@pytest.mark.red_inside
async def test_a33_websocket_of_helms_page_has_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def is_ended(port: int, cookie: tuple[str, str]) -> bool:
        with trio.move_on_after(SLACK * PATIENCE) as waiting:
            async with open_websocket(port, "/api/v1/live", cookie, host=HOST) as feed:
                assert isinstance(feed, WebSocket)
                assert await feed.receive() == firstword.UNPROVEN
        return not waiting.cancelled_caught

    assert firstword.PATIENCE <= 10
    async with page(tmp_path) as (_, port, (cookie, _token)):
        monkeypatch.setattr(firstword, "PATIENCE", PATIENCE)
        assert await is_ended(port, cookie)
        monkeypatch.setattr(firstword, "PATIENCE", math.inf)
        assert not await is_ended(port, cookie)


BOMBS = {
    "one field": b"X-Large: " + b"v" * 64 * 1024 + b"\r\n",
    "many fields": b"".join(b"x-%d: v\r\n" % number for number in range(10_000)),
    "65 fields": b"a:\r\n" * 64,
}


@pytest.mark.red_inside
@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
async def test_a35_fields_to_helms_page_are_bounded(
    tmp_path: Path, bomb: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def status(port: int) -> bytes:
        async with await trio.open_tcp_stream(LOOPBACK, port) as stream:
            with trio.fail_after(10):
                with contextlib.suppress(trio.BrokenResourceError):
                    await stream.send_all(HEAD + bomb + b"\r\n")
                return bytes(await stream.receive_some())[9:12]

    async with page(tmp_path) as (_, port, _me):
        assert await status(port) == b"431"
    # Weakened: h11 takes what comes. Without a session the status is refused for that reason, and only then.
    monkeypatch.setattr("pharos.helm.web.app.KIB", 1024 * 1024)
    forever(monkeypatch, "MAX_HEADER_FIELDS")
    async with page(tmp_path) as (_, port, _me):
        assert await status(port) == b"401"


async def test_a35_as_many_fields_as_a_browser_sends_are_taken(tmp_path: Path) -> None:
    """A browser sends some thirty; 64 are let through."""
    async with page(tmp_path) as (_, port, _me):
        assert (await fetch(port, "/api/v1/status", ("Host", HOST), *[("a", "b")] * 63)).status == 401
