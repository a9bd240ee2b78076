"""Row 47. Position: an admin with an account of his own at the provider, or any page on the web. Wants: that somebody
else's browser is signed in as him, and keeps its secrets under his name; or a request from another site.

Countermeasure: what a browser began ends in that browser alone, once; the guard lets a whole window come back to the
one path where the provider sends it, and nothing else.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from pharos.helm.accounts.oidc import codeflow
from pharos.helm.web import guard
from pharos.helm.web.guard import CALLBACK
from pharos.helm.web.oidc import FLOW_COOKIE
from pharos.helm.web.session import COOKIE
from tests.helm.web.test_oidc import BACK, BEGIN, SESSION, Desk, desk
from tests.support.http import asking
from tests.support.oidcprovider import visit


async def lured(at: Desk, victim: httpx.AsyncClient) -> httpx.Response:
    """The attacker signs in at the provider as himself, and lets the other's browser come back in his place."""
    parts = urlsplit(await visit(await at.begin()))
    return await victim.get(f"{parts.path}?{parts.query}", headers=BACK)


@pytest.mark.red_inside
async def test_a47_nobody_is_signed_in_as_somebody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with desk(tmp_path) as at, asking(at.app) as victim:
        # Weakened: state alone, as it comes back, with no browser it belongs to.
        with monkeypatch.context() as patch:
            patch.setattr(codeflow, "is_browser", lambda _pending, _cookie: True)
            assert (await lured(at, victim)).status_code == 303
            assert (await victim.get(SESSION)).json()["name"] == "ada@example.org"
        victim.cookies.clear()
        # With no cookie; with one of a sign-in that the other has begun itself; with one that is none.
        for cookie in (None, "own", "x", "ä" * 10):
            victim.cookies.clear()
            if cookie == "own":
                await victim.get(BEGIN)
            elif cookie is not None:
                victim.cookies.set(FLOW_COOKIE, cookie, domain="localhost", path=BEGIN)
            refused = await lured(at, victim)
            assert (refused.status_code, COOKIE in victim.cookies) == (401, False)
            assert (await victim.get(SESSION)).status_code == 401


async def test_a47_way_back_is_gone_once(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        back = await visit(await at.begin())
        cookie = at.browser.cookies[FLOW_COOKIE]
        assert (await at.come_back(back)).status_code == 303
        at.browser.cookies.clear()
        at.browser.cookies.set(FLOW_COOKIE, cookie, domain="localhost", path=BEGIN)
        assert (await at.come_back(back)).status_code == 401
        # Somebody who has only seen the address has used it up, and won nothing.
        back = await visit(await at.begin())
        async with asking(at.app) as thief:
            parts = urlsplit(back)
            assert (await thief.get(f"{parts.path}?{parts.query}", headers=BACK)).status_code == 401


SUBRESOURCES = [
    {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
    {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"},
    {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"},
    {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
    {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "object"},
    {"Sec-Fetch-Mode": "navigate"},
    {"Sec-Fetch-Dest": "document"},
    {},
]
ELSEWHERE = [
    BEGIN,
    f"{CALLBACK}/",
    f"{CALLBACK}x",
    f"{CALLBACK}/..%2f..",
    CALLBACK.upper(),
    SESSION,
    "/api/v1/oidc",
    "/api/v1/settings",
]


@pytest.mark.red_inside
async def test_a47_other_sites_reach_one_path_by_a_window_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with desk(tmp_path) as at:
        browser = at.browser
        for site in ("cross-site", "same-site"):
            assert (await browser.get(CALLBACK, headers=BACK | {"Sec-Fetch-Site": site})).status_code == 401
            for headers in SUBRESOURCES:
                found = await browser.get(CALLBACK, headers={"Sec-Fetch-Site": site} | headers)
                assert found.status_code == 403, headers
            for path in ELSEWHERE:
                found = await browser.get(path, headers=BACK | {"Sec-Fetch-Site": site})
                assert found.status_code in (403, 404), path
                assert FLOW_COOKIE not in browser.cookies
            for method in ("HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
                found = await browser.request(method, CALLBACK, headers=BACK | {"Sec-Fetch-Site": site})
                assert found.status_code == 403, method
        for name, value in (("Host", "evil.example"), ("Origin", "http://evil.example"), ("Origin", "null")):
            assert (await browser.get(CALLBACK, headers=BACK | {name: value})).status_code in (403, 421)
        # Weakened: the whole way is open, so that any page makes a browser begin.
        monkeypatch.setattr(guard, "_comes_back", lambda: True)
        assert (await browser.get(BEGIN, headers=BACK)).status_code == 302
