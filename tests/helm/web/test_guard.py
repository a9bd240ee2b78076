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
from tests.support.signin import Headers, sign_in

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
async def edge(tmp_path: Path) -> AsyncIterator[tuple[int, Headers]]:
    """Give the port, and what a browser sends whose owner has signed in: here the guard is all that stands between."""
    async with open_helm(tmp_path) as helm, serving(make_loopback_app(helm.context, HOSTS)) as port:
        yield port, await sign_in(helm.context)


async def test_every_name_of_ours_is_answered(tmp_path: Path) -> None:
    async with edge(tmp_path) as (port, me):
        for host in HOSTS:
            for origin in ([], [("Origin", f"http://{host}")]):
                answer = await fetch(port, "/api/v1/status", ("Host", host), *origin, *me)
                assert answer.status == 200


async def test_any_other_host_is_misdirected(tmp_path: Path) -> None:
    async with edge(tmp_path) as (port, me):
        for host in EVIL_HOSTS:
            answer = await fetch(port, "/api/v1/status", ("Host", host), *me)
            assert answer.status in (400, 421), host
            assert b"fleet" not in answer.body
        for target in TARGETS:
            for method in ("GET", "POST", "OPTIONS", "HEAD", "DELETE"):
                answer = await fetch(port, target, ("Host", "evil.example"), *me, method=method)
                assert answer.status == 421, (method, target)


async def test_page_of_another_origin_is_refused_even_from_another_port(tmp_path: Path) -> None:
    async with edge(tmp_path) as (port, me):
        for origin in EVIL_ORIGINS:
            for method in ("GET", "POST"):
                answer = await fetch(port, "/api/v1/status", GOOD, ("Origin", origin), *me, method=method)
                assert answer.status == 403, origin
                assert b"posture" not in answer.body


async def test_websocket_is_checked_before_the_upgrade(tmp_path: Path) -> None:
    async with edge(tmp_path) as (port, me):
        async with open_websocket(port, "/api/v1/live", *me, host="evil.example") as refused:
            assert refused == 421
        for origin in EVIL_ORIGINS:
            async with open_websocket(port, "/api/v1/live", ("Origin", origin), *me, host="localhost:8440") as refused:
                assert refused == 403, origin
        own = ("Origin", "http://localhost:8440")
        async with open_websocket(port, "/api/v1/live", own, *me, host="localhost:8440") as feed:
            assert isinstance(feed, WebSocket)
            assert "snapshot" in json.loads(str(await feed.receive()))


async def test_guard_is_what_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Red proof: without the guard, a rebound name reads the whole fleet by both ways."""
    monkeypatch.setattr(module, "guard_loopback", lambda app, hosts, scheme: None)
    async with edge(tmp_path) as (port, me):
        answer = await fetch(port, "/api/v1/status", ("Host", "evil.example"), ("Origin", "http://evil.example"), *me)
        assert answer.status == 200
        assert b"posture" in answer.body
        evil = ("Origin", "http://evil.example")
        async with open_websocket(port, "/api/v1/live", evil, *me, host="evil.example") as feed:
            assert isinstance(feed, WebSocket)
            assert "posture" in str(await feed.receive())


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("host", ["localhost:8440", "evil.example"])
async def test_every_answer_carries_the_security_headers(tmp_path: Path, target: str, host: str) -> None:
    async with edge(tmp_path) as (port, me):
        answer = await fetch(port, target, ("Host", host), *me)
        for name, value in HEADERS.items():
            assert answer.headers[name.lower()] == value
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] in ("no-store", "no-cache")
        assert "server" not in answer.headers


async def test_no_other_origin_is_ever_allowed_to_read(tmp_path: Path) -> None:
    async with edge(tmp_path) as (port, me):
        preflight = [("Origin", "http://evil.example"), ("Access-Control-Request-Method", "POST")]
        answer = await fetch(port, "/api/v1/status", GOOD, *preflight, *me, method="OPTIONS")
        assert answer.status == 403
        assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_loopback_edge_shows_nothing_to_whoever_has_not_signed_in(tmp_path: Path) -> None:
    async with edge(tmp_path) as (port, _me):
        for target in ("/api/v1/status", "/api/v1/users", "/api/v1/users/x", "/api/v1/openapi.json"):
            answer = await fetch(port, target, GOOD)
            assert answer.status == 401, target
            assert answer.headers["content-type"] == "application/problem+json"
        async with open_websocket(port, "/api/v1/live", host="localhost:8440") as refused:
            assert refused == 401


async def test_method_that_a_path_does_not_have_is_a_problem(tmp_path: Path) -> None:
    async with edge(tmp_path) as (port, me):
        for target in ("/api/v1/certificates", "/"):
            for method in ("POST", "PUT", "PATCH", "DELETE"):
                answer = await fetch(port, target, GOOD, *me, method=method, body=b"{}")
                assert answer.status in (404, 405), (method, target)
                assert answer.headers["content-type"] == "application/problem+json"


async def test_request_line_and_headers_are_bounded(tmp_path: Path) -> None:
    async with edge(tmp_path) as (port, me):
        answer = await fetch(port, "/api/v1/status", GOOD, *me, ("X-Long", "x" * 100_000))
        assert answer.status in (400, 431)
