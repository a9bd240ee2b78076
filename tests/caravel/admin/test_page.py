"""helm's page on an admin's own loopback: real sockets on this side, helm's own application behind."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest
import trio
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage

from pharos.caravel.admin import http1
from pharos.caravel.admin.link import Lane
from pharos.caravel.admin.page import AdminPage, open_page
from pharos.caravel.errors import NoAnswerError
from tests.support.desk import SESSION, admin_with_device, desk_of, linked
from tests.support.helm import open_helm
from tests.support.http import LOOPBACK, WebSocket, fetch, open_websocket


@attrs.define
class Browser:
    page: AdminPage
    client: httpx.AsyncClient
    secret: str

    @property
    def port(self) -> int:
        return self.page.guard.port

    @property
    def host(self) -> str:
        return f"localhost:{self.port}"

    @property
    def cookie(self) -> tuple[str, str]:
        return "Cookie", "; ".join(f"{name}={value}" for name, value in self.client.cookies.items())

    async def sign_in(self) -> str:
        answer = await self.client.post(SESSION, json={"link": self.secret})
        csrf: str = answer.json()["csrf"]
        self.client.headers["X-Pharos-CSRF"] = csrf
        return csrf

    def socket(self, target: str = "/", **headers: str) -> AbstractAsyncContextManager[WebSocket | int]:
        given = {"Origin": self.page.address} | headers
        return open_websocket(self.port, target, self.cookie, *given.items(), host=self.host)


@asynccontextmanager
async def browsing(tmp_path: Path, app: Any = None) -> AsyncIterator[Browser]:
    async with open_helm(tmp_path) as helm:
        ada = await admin_with_device(helm)
        async with (
            linked(desk_of(helm, app), ada.device_id) as link,
            open_page(link, port=0) as page,
            httpx.AsyncClient(base_url=page.address) as client,
        ):
            await client.get(page.link)
            yield Browser(page, client, ada.secret)


async def test_page_and_api_come_through_with_helms_own_headers(tmp_path: Path) -> None:
    async with browsing(tmp_path) as browser:
        page = await browser.client.get("/")
        assert page.status_code in (200, 404)
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert (await browser.client.get("/api/v1/users")).status_code == 401
        await browser.sign_in()
        made = await browser.client.post("/api/v1/users", json={"name": "eve"})
        assert (made.status_code, made.headers["etag"]) == (201, '"1"')
        again = await browser.client.get(f"/api/v1/users/{made.json()['id']}", headers={"If-None-Match": '"1"'})
        assert (again.status_code, again.content) == (304, b"")
        assert (await browser.client.head("/api/v1/users")).headers["content-type"] == "application/json"
        out = await browser.client.delete(SESSION)
        assert out.status_code == 204
        assert (await browser.client.get("/api/v1/users")).status_code == 401


async def test_nobody_comes_in_without_the_link(tmp_path: Path) -> None:
    async with browsing(tmp_path) as browser:
        for target in ("/", "/api/v1/session", "/open/guess"):
            answer = await fetch(browser.port, target, ("Host", browser.host))
            assert answer.status == 403
            assert answer.headers["cache-control"] == "no-store"
        for host in ("evil.example", f"evil.example:{browser.port}", "localhost"):
            assert (await fetch(browser.port, "/", ("Host", host), browser.cookie)).status == 421
        origin = ("Origin", "http://localhost:1")
        assert (await fetch(browser.port, "/", ("Host", browser.host), browser.cookie, origin)).status == 403
        # The secret that was used is used up, and helm never heard of one.
        assert (await fetch(browser.port, "/", ("Host", browser.host), browser.cookie)).status in (200, 404)


async def test_both_loopbacks_are_ours(tmp_path: Path) -> None:
    async with browsing(tmp_path) as browser:
        for host in (LOOPBACK, "::1"):
            async with await trio.open_tcp_stream(host, browser.port) as stream:
                await stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                assert (await stream.receive_some()).startswith(b"HTTP/1.1 421")


async def test_what_is_no_http_or_too_much_is_answered_and_ends(tmp_path: Path) -> None:
    async with browsing(tmp_path) as browser:
        for said, status in (
            (b"nonsense\r\n\r\n", b"400"),
            (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * http1.MAX_HEAD, b"431"),
        ):
            async with await trio.open_tcp_stream(LOOPBACK, browser.port) as stream:
                await stream.send_all(said)
                answer = await stream.receive_some()
                assert answer.startswith(b"HTTP/1.1 " + status), answer
        for more in (1, 1_000_000):
            refused = await browser.client.post(SESSION, content=bytes(http1.MAX_BODY + more))
            assert refused.status_code == 413
        assert (await browser.client.post(SESSION, content=bytes(http1.MAX_BODY))).status_code == 400


async def echo(_scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        if event["text"] == "bye":
            await send({"type": "websocket.close", "code": 4001, "reason": "as you wish"})
            return
        await send({"type": "websocket.send", "text": event["text"], "bytes": event["bytes"]})


async def greet(scope: Any, receive: Any, send: Any) -> None:
    """A page whose WebSockets echo."""
    if scope["type"] == "websocket":
        await echo(scope, receive, send)
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


async def test_socket_carries_messages_and_closes_both_ways(tmp_path: Path) -> None:
    async with browsing(tmp_path, greet) as browser:
        async with browser.socket() as socket:
            assert isinstance(socket, WebSocket)
            for text in ("hello", "ä" * 30_000):
                await socket.send(TextMessage(data=text[:5], message_finished=False))
                await socket.send(Ping())
                await socket.send(TextMessage(data=text[5:]))
                assert await socket.receive() == text
            await socket.send(TextMessage(data="bye"))
            assert await socket.receive() == 4001
        async with browser.socket() as socket:
            assert isinstance(socket, WebSocket)
            await socket.send(CloseConnection(code=1000))
            assert await socket.receive() == 1000
        async with browser.socket() as socket:
            assert isinstance(socket, WebSocket)
            await socket.send(BytesMessage(data=bytes(64 * 1024 + 1)))
            assert await socket.receive() == 1009


async def test_socket_of_another_page_is_refused(tmp_path: Path) -> None:
    async with browsing(tmp_path, greet) as browser:
        for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
            async with browser.socket("/api/v1/live", **headers) as refused:
                assert refused == 403
        async with open_websocket(browser.port, "/", ("Origin", browser.page.address), host=browser.host) as refused:
            assert refused == 403


async def test_live_feed_comes_through(tmp_path: Path) -> None:
    async with browsing(tmp_path) as browser:
        async with browser.socket("/api/v1/live") as refused:
            assert refused == 401
        csrf = await browser.sign_in()
        async with browser.socket("/api/v1/live") as feed:
            assert isinstance(feed, WebSocket)
            await feed.send(TextMessage(data=csrf))
            first = await feed.receive()
            assert isinstance(first, str)
            assert "snapshot" in json.loads(first)
            # helm's outbox is followed by a task that no desk has; the picture came, and one can be asked for.
            await feed.send(TextMessage(data="resync"))
            assert "snapshot" in json.loads(str(await feed.receive()))


class Flaky:
    """A way whose calls break once they have carried ``good`` exchanges; ``away``: it leads nowhere."""

    def __init__(self, link: Any, good: int) -> None:
        self._link = link
        self._good = good
        self.away = False
        self.opened = 0

    @asynccontextmanager
    async def open_lane(self) -> AsyncIterator[Lane]:
        if self.away:
            raise NoAnswerError("helm is away")
        self.opened += 1
        async with self._link.open_lane() as lane:
            ask, left = lane.ask, self._good

            async def flaky(request: Any) -> Any:
                nonlocal left
                if not left:
                    raise NoAnswerError("the call broke")
                left -= 1
                return await ask(request)

            lane.ask = flaky
            yield lane


async def test_read_is_repeated_where_a_call_broke_and_an_act_is_not(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm:
        ada = await admin_with_device(helm)
        async with linked(desk_of(helm, greet), ada.device_id) as link:
            flaky = Flaky(link, good=1)
            async with open_page(flaky, port=0) as page, httpx.AsyncClient(base_url=page.address) as client:
                await client.get(page.link)
                opened = flaky.opened
                for _ in range(3):
                    assert (await client.get("/")).text == "hello"
                assert flaky.opened == opened + 3
                # Nobody knows whether it was done.
                assert (await client.post("/")).status_code == 503
                assert (await client.post("/")).status_code == 200
                flaky.away = True
                assert (await client.get("/")).status_code == 503


async def test_silent_browser_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1, "IDLE", 0.05)
    async with browsing(tmp_path, greet) as browser:
        async with await trio.open_tcp_stream(LOOPBACK, browser.port) as stream:
            with trio.fail_after(5):
                assert await stream.receive_some() == b""
