"""Row 48. Position: a page of another origin in an admin's browser. Wants: the live feed, by the admin's cookie.

No same-origin rule holds a WebSocket back. Countermeasure: Host, Origin and the browser's own word are looked at before
the upgrade, as for every request (tests/helm/web/test_guard.py has the spellings); and the feed begins when the first
message has said what only helm's own page can have read. The same in Chromium: tests/browser/test_attacks.py.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from wsproto.events import BytesMessage, CloseConnection, Event, TextMessage

from pharos.helm.web import app as module
from pharos.helm.web import firstword, live
from pharos.helm.web.app import make_loopback_app
from pharos.helm.web.firstword import UNPROVEN
from tests.support.helm import open_helm
from tests.support.http import WebSocket, open_websocket, serving
from tests.support.signin import sign_in
from tests.support.webtls import HOST

LIVE = "/api/v1/live"
OWN = ("Origin", f"http://{HOST}")
EVIL = ("Origin", "http://localhost:9000")


@asynccontextmanager
async def served(tmp_path: Path) -> AsyncIterator[tuple[int, tuple[str, str], str]]:
    """Give the port, the cookie that the browser sends by itself, and the token that its page has read."""
    async with open_helm(tmp_path) as helm, serving(make_loopback_app(helm.context, {HOST})) as port:
        cookie, (_name, token) = await sign_in(helm.context)
        yield port, cookie, token


async def heard(port: int, *headers: tuple[str, str], first: Event | None) -> str | int:
    """Return what a feed says first, or the code with which it closes, or the status that refuses it."""
    with trio.fail_after(10):
        async with open_websocket(port, LIVE, *headers, host=HOST) as feed:
            if not isinstance(feed, WebSocket):
                return feed
            if first is not None:
                await feed.send(first)
            return await feed.receive()


def shows_the_fleet(said: str | int) -> bool:
    return isinstance(said, str) and "snapshot" in json.loads(said)


async def test_a48_feed_begins_with_what_only_helms_own_page_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(tmp_path) as (port, cookie, token):
        assert shows_the_fleet(await heard(port, OWN, cookie, first=TextMessage(data=token)))
        wrong: list[Event] = [TextMessage(data=text) for text in ("", "resync", token[:-1], token + "=", "é")]
        for first in (*wrong, BytesMessage(data=token.encode())):
            assert await heard(port, OWN, cookie, first=first) == UNPROVEN, first
        # Who says nothing hears nothing, and is not waited for.
        with monkeypatch.context() as hurried:
            hurried.setattr(firstword, "PATIENCE", 0.2)
            assert await heard(port, OWN, cookie, first=None) == UNPROVEN
        # A program that cannot wait for its turn says it in the handshake, where no page can put a word.
        assert shows_the_fleet(await heard(port, OWN, cookie, ("X-Pharos-CSRF", token), first=None))
        assert await heard(port, OWN, cookie, ("X-Pharos-CSRF", "guess"), first=None) == UNPROVEN
        # Who leaves without a word leaves nothing behind.
        assert await heard(port, OWN, cookie, first=CloseConnection(code=1000)) == 1000


@pytest.mark.red_inside
async def test_a48_guard_and_token_hold_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def attack() -> str | int:
        async with served(tmp_path) as (port, cookie, _token):
            return await heard(port, EVIL, ("Sec-Fetch-Site", "same-site"), cookie, first=TextMessage(data="guess"))

    assert await attack() == 403
    with monkeypatch.context() as weakened:
        weakened.setattr(module, "guard_loopback", lambda _app, _hosts, scheme: None)
        assert await attack() == UNPROVEN
    monkeypatch.setattr(live, "wait_proven", believe)
    assert await attack() == 403
    # Both away: the page of another port reads the whole fleet.
    monkeypatch.setattr(module, "guard_loopback", lambda _app, _hosts, scheme: None)
    assert shows_the_fleet(await attack())


async def test_a48_browsers_own_word_counts_before_the_upgrade_too(tmp_path: Path) -> None:
    async with served(tmp_path) as (port, cookie, token):
        for site, result in (("same-site", 403), ("cross-site", 403)):
            said = await heard(port, OWN, ("Sec-Fetch-Site", site), cookie, first=TextMessage(data=token))
            assert said == result
        own = await heard(port, OWN, ("Sec-Fetch-Site", "same-origin"), cookie, first=TextMessage(data=token))
        assert shows_the_fleet(own)


async def believe() -> bool:
    """Weakened: whoever got through the handshake is helm's own page."""
    await trio.lowlevel.checkpoint()
    return True
