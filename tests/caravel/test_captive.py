"""A portal is found by what it answers in the place of others, and the connection waits for the login."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from pharos.caravel.errors import NoAnswerError
from pharos.caravel.events import CaptivePortal, Event, Phase
from pharos.caravel.tunnel import captive, portals
from pharos.caravel.tunnel.captive import (
    MAX_ANSWER,
    WELL_KNOWN,
    Portal,
    PortalCheck,
    check_of_node,
    find_portal,
    judge,
)
from pharos.caravel.tunnel.options import ConnectOptions
from pharos.caravel.tunnel.session import open_session
from pharos.wire.errors import ConfigError
from tests.support.legs import INNER, Node, ScriptedSource, Surroundings, until
from tests.support.sites import running_tcp
from tests.support.strategies import quick

LOGIN = "http://login.hotel.example/start?from=here"
REDIRECT = f"HTTP/1.1 302 Found\r\nLocation: {LOGIN}\r\nContent-Length: 0\r\n\r\n".encode()
REQUIRED = b"HTTP/1.1 511 Network Authentication Required\r\nContent-Length: 0\r\n\r\n"
FREE = b"HTTP/1.1 204 No Content\r\n\r\n"
OWN_REDIRECT = b"HTTP/1.1 301 Moved\r\nLocation: https://127.0.0.1/\r\nContent-Length: 0\r\n\r\n"
PAGE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[str]:
    """A server that says that to everybody; its address."""

    async def serve(stream: trio.SocketStream) -> None:
        asked = b""
        while b"\r\n\r\n" not in asked:
            asked += await stream.receive_some()
        assert b"pharos" not in asked.lower()
        await stream.send_all(answer)

    async with running_tcp(serve) as port:
        yield f"http://127.0.0.1:{port}/"


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (REDIRECT, Portal(url=LOGIN)),
        (REQUIRED, Portal(url="")),
        (OWN_REDIRECT, None),
        (PAGE, None),
        (FREE, None),
        (b"SSH-2.0-OpenSSH_9.2\r\n", None),
        (b"", None),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 2 * MAX_ANSWER, None),
        (b"HTTP/1.1 302 Found\r\nLocation: http://[\r\nContent-Length: 0\r\n\r\n", None),
    ],
)
async def test_what_a_nodes_port_answers(answer: bytes, found: Portal | None) -> None:
    async with answering(answer) as url:
        with trio.fail_after(20):
            assert await find_portal([PortalCheck(url=url)]) == found


async def test_page_whose_answer_is_known_shows_who_answers_instead() -> None:
    async with answering(PAGE) as url:
        assert await find_portal([PortalCheck(url=url, status=200, body="hello")]) is None
        assert await find_portal([PortalCheck(url=url, status=204)]) == Portal(url=url)
        assert await find_portal([PortalCheck(url=url, status=200, body="success")]) == Portal(url=url)


async def test_nobody_who_answers_is_no_portal_and_takes_four_seconds_at_most(autojump_clock: MockClock) -> None:
    async def never(*_args: object) -> tuple[int, str, bytes]:
        await trio.sleep_forever()
        raise AssertionError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(captive, "_fetch", never)
        begun = trio.current_time()
        assert await find_portal(WELL_KNOWN) is None
        assert trio.current_time() - begun == pytest.approx(captive.PROBE_TIMEOUT)


async def test_sockets_are_protected_and_names_resolved_as_the_caller_says() -> None:
    protected: list[object] = []

    async def resolve(host: str) -> Sequence[str]:
        assert host == "node.example"
        return ["127.0.0.1"]

    async with answering(REDIRECT) as url:
        port = url.rstrip("/").rpartition(":")[2]
        check = PortalCheck(url=f"http://node.example:{port}/")
        assert await find_portal([check], protect=protected.append, resolve=resolve) == Portal(url=LOGIN)
    assert len(protected) == 1


@pytest.mark.parametrize(
    "url", ["https://a.example/", "ftp://a/", "http://", "a.example", "http://a:0/", "http://a\n/"]
)
def test_what_is_no_plain_http_is_no_check(url: str) -> None:
    with pytest.raises(ConfigError, match="begins with http://"):
        PortalCheck(url=url)


def test_node_by_ipv6_is_asked_too() -> None:
    assert check_of_node("2001:db8::1").url == "http://[2001:db8::1]/"


@quick
@given(status=st.integers(100, 599), location=st.text(max_size=60), body=st.binary(max_size=20))
def test_whatever_is_answered_is_judged(status: int, location: str, body: bytes) -> None:
    for check in (check_of_node("198.51.100.7"), *WELL_KNOWN):
        try:
            found = judge(check, status, location, body)
        except ValueError:
            continue  # An address that is none, which the caller takes for no portal.
        assert found is None or found.url.isprintable()


async def test_connection_behind_a_portal_says_where_it_is_and_goes_on_after_the_login(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    there: list[Portal | None] = [Portal(url=LOGIN)]
    allowed: list[bool] = []
    asked: list[tuple[PortalCheck, ...]] = []

    async def look(checks: Sequence[PortalCheck], **_options: object) -> Portal | None:
        asked.append(tuple(checks))
        await trio.sleep(0.1)
        return there[0]

    monkeypatch.setattr(portals, "find_portal", look)
    a = Node("a", error=NoAnswerError("nobody is there"))
    options = ConnectOptions(allow_portal=allowed.append)
    events: list[Event] = []
    with trio.fail_after(600):
        async with open_session(ScriptedSource([a]), INNER, options=options, look=Surroundings().look) as tunnel:
            watch = tunnel.watch()
            await until(lambda: tunnel.status().phase is Phase.CAPTIVE)
            assert tunnel.status().detail == LOGIN
            begun, before = trio.current_time(), len(a.legs)
            await trio.sleep(26)
            assert len(a.legs) - before in (5, 6), "every five seconds"
            assert allowed == [True]
            a.error, there[0] = None, None
            await tunnel.wait_up(6)
            assert trio.current_time() - begun < 40
            assert allowed == [True, False]
            watch.close()
            events += [event async for event in watch]
    assert [event.url for event in events if isinstance(event, CaptivePortal)] == [LOGIN]
    # Nobody is asked but the node that was dialled anyway.
    assert {check.url for checks in asked for check in checks} == {"http://198.51.100.99/"}


async def test_who_wants_no_checks_has_none(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    async def look(*_args: object, **_options: object) -> Portal | None:
        raise AssertionError("somebody was asked")

    monkeypatch.setattr(portals, "find_portal", look)
    a = Node("a", error=NoAnswerError("nobody is there"))
    options = ConnectOptions(portal_checks=())
    async with open_session(ScriptedSource([a]), INNER, options=options, look=Surroundings().look) as tunnel:
        await trio.sleep(100)
        assert tunnel.status().phase is Phase.WAITING
