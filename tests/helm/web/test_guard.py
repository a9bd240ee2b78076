"""The loopback edge answers its own names and its own pages only (attacks 46 to 48, 53)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pharos.helm.web import app as module
from pharos.helm.web.app import make_loopback_app
from pharos.helm.web.guard import HEADERS
from tests.support.helm import open_helm
from tests.support.http import WebSocket, fetch, open_websocket, serving

HOSTS = {"localhost:8440", "127.0.0.1:8440", "[::1]:8440"}
GOOD = ("Host", "localhost:8440")
TARGETS = ["/", "/api/v1/status", "/api/v1/nothing", "/anything/else"]

EVIL_HOSTS = [
    "evil.example",
    "evil.example:8440",
    "localhost",
    "localhost:80",
    "localhost:84400",
    "localhost:8440.evil.example",
    "localhost.evil.example:8440",
    "127.0.0.2:8440",
    "127.1:8440",
    "2130706433:8440",
    "0.0.0.0:8440",
    "user@localhost:8440",
    "LOCALHOST.:8440",
    "",
]
EVIL_ORIGINS = [
    "http://evil.example",
    "http://localhost:8441",
    "http://localhost",
    "https://localhost:8440",
    "http://localhost:8440.evil.example",
    "http://127.0.0.1:80",
    "null",
    "",
    "file://",
    "http://localhost:8440/",
    "http://localhost:8440 http://evil.example",
]


@asynccontextmanager
async def edge(tmp_path: Path) -> AsyncIterator[int]:
    async with open_helm(tmp_path) as helm, serving(make_loopback_app(helm.context, HOSTS)) as port:
        yield port


async def test_every_name_of_ours_is_answered(tmp_path: Path) -> None:
    async with edge(tmp_path) as port:
        for host in HOSTS:
            for origin in ([], [("Origin", f"http://{host}")]):
                answer = await fetch(port, "/api/v1/status", ("Host", host), *origin)
                assert answer.status == 200


async def test_any_other_host_is_misdirected(tmp_path: Path) -> None:
    async with edge(tmp_path) as port:
        for host in EVIL_HOSTS:
            answer = await fetch(port, "/api/v1/status", ("Host", host))
            assert answer.status in (400, 421), host
            assert b"fleet" not in answer.body
        for target in TARGETS:
            for method in ("GET", "POST", "OPTIONS", "HEAD", "DELETE"):
                answer = await fetch(port, target, ("Host", "evil.example"), method=method)
                assert answer.status == 421, (method, target)


async def test_page_of_another_origin_is_refused_even_from_another_port(tmp_path: Path) -> None:
    async with edge(tmp_path) as port:
        for origin in EVIL_ORIGINS:
            for method in ("GET", "POST"):
                answer = await fetch(port, "/api/v1/status", GOOD, ("Origin", origin), method=method)
                assert answer.status == 403, origin
                assert b"posture" not in answer.body


async def test_websocket_is_checked_before_the_upgrade(tmp_path: Path) -> None:
    async with edge(tmp_path) as port:
        async with open_websocket(port, "/api/v1/live", host="evil.example") as refused:
            assert refused == 421
        for origin in EVIL_ORIGINS:
            async with open_websocket(port, "/api/v1/live", ("Origin", origin), host="localhost:8440") as refused:
                assert refused == 403, origin
        own = ("Origin", "http://localhost:8440")
        async with open_websocket(port, "/api/v1/live", own, host="localhost:8440") as feed:
            assert isinstance(feed, WebSocket)
            assert "snapshot" in json.loads(await feed.receive())


async def test_guard_is_what_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Red proof: without the guard, a rebound name reads the whole fleet by both ways."""
    monkeypatch.setattr(module, "guard_loopback", lambda app, hosts: None)
    async with edge(tmp_path) as port:
        answer = await fetch(port, "/api/v1/status", ("Host", "evil.example"), ("Origin", "http://evil.example"))
        assert answer.status == 200
        assert b"posture" in answer.body
        async with open_websocket(port, "/api/v1/live", ("Origin", "http://evil.example"), host="evil.example") as feed:
            assert isinstance(feed, WebSocket)
            assert "posture" in str(await feed.receive())


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("host", ["localhost:8440", "evil.example"])
async def test_every_answer_carries_the_security_headers(tmp_path: Path, target: str, host: str) -> None:
    async with edge(tmp_path) as port:
        answer = await fetch(port, target, ("Host", host))
        for name, value in HEADERS.items():
            assert answer.headers[name.lower()] == value
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] in ("no-store", "no-cache")
        assert "server" not in answer.headers


async def test_no_other_origin_is_ever_allowed_to_read(tmp_path: Path) -> None:
    async with edge(tmp_path) as port:
        preflight = [("Origin", "http://evil.example"), ("Access-Control-Request-Method", "POST")]
        answer = await fetch(port, "/api/v1/status", GOOD, *preflight, method="OPTIONS")
        assert answer.status == 403
        assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_loopback_edge_has_no_acts(tmp_path: Path) -> None:
    """Whoever reaches this port can look; changing anything needs the operator's own socket."""
    async with edge(tmp_path) as port:
        for target in ("/api/v1/nodes", "/api/v1/relays", "/api/v1/tickets", "/api/v1/devices/revoke", "/"):
            for method in ("POST", "PUT", "PATCH", "DELETE"):
                answer = await fetch(port, target, GOOD, method=method, body=b"{}")
                assert answer.status in (404, 405), (method, target)
                assert answer.headers["content-type"] == "application/problem+json"


async def test_request_line_and_headers_are_bounded(tmp_path: Path) -> None:
    async with edge(tmp_path) as port:
        answer = await fetch(port, "/api/v1/status", GOOD, ("X-Long", "x" * 100_000))
        assert answer.status in (400, 431)
