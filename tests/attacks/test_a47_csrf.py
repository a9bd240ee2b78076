"""Row 47. Position: a page that is open in an admin's browser, perhaps of another port of the same machine.

Wants: that the browser changes something in helm with the cookie it has; SameSite does not see ports, and cookies know
none. Countermeasure: three things, each of which holds alone: Origin has to be helm's own with the port, the browser's
own word (Sec-Fetch-Site) has to be that helm's page asks, and a change carries what only that page can have read.
Nothing changes by GET. The same in Chromium: tests/browser/test_attacks.py.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import httpx
import pytest

from pharos.helm.store.database import Database
from pharos.helm.web import app as module
from pharos.helm.web import session
from pharos.helm.web.app import make_loopback_app
from pharos.helm.web.guard import CALLBACK
from tests.support.helm import SampleHelm, open_helm
from tests.support.http import asking
from tests.support.signin import sign_in
from tests.support.webtls import HOST

CHANGING = ("POST", "PUT", "PATCH", "DELETE")
OWN = {"Origin": f"http://{HOST}", "Sec-Fetch-Site": "same-origin"}
ELSEWHERE = [
    {"Origin": "http://localhost:9000", "Sec-Fetch-Site": "same-site"},
    {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"},
    # What an old browser says, a page in a sandboxed frame, and a form of a page that hides its address.
    {"Origin": "http://localhost:9000"},
    {"Origin": "null", "Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
]


@attrs.frozen
class Victim:
    helm: SampleHelm
    client: httpx.AsyncClient
    cookie: dict[str, str]
    token: dict[str, str]

    async def links(self) -> int:
        """Return how many one-time links there are: each lets somebody in."""

        def count(db: Database) -> int:
            return int(db.execute("SELECT COUNT(*) FROM admin_links WHERE used_at IS NULL").fetchone()[0])

        return await self.helm.store.run(count)

    async def owner(self) -> str:
        return str(await self.helm.store.run(lambda db: db.execute("SELECT id FROM admins").fetchone()[0]))


@asynccontextmanager
async def signed_in(tmp_path: Path) -> AsyncIterator[Victim]:
    """An owner whose browser sends the cookie with all that it asks of this machine, and their page's token."""
    async with open_helm(tmp_path) as helm, asking(make_loopback_app(helm.context, {HOST})) as client:
        cookie, token = ({name: value} for name, value in await sign_in(helm.context))
        yield Victim(helm, client, cookie, token)


def paths(helm: SampleHelm, methods: tuple[str, ...]) -> list[tuple[str, str]]:
    rules = list(make_loopback_app(helm.context, {HOST}).url_map.iter_rules())
    return sorted(
        {
            (method, re.sub(r"<[^>]*>", "x", rule.rule))
            for rule in rules
            if not rule.websocket
            for method in methods
            if method in (rule.methods or ())
        }
    )


async def test_a47_no_change_is_taken_from_another_page_nor_without_the_token(tmp_path: Path) -> None:
    async with signed_in(tmp_path) as victim:
        changing = paths(victim.helm, CHANGING)
        assert len(changing) > 40
        for method, path in changing:
            # Whoever lies here has even got the token.
            for lie in ELSEWHERE:
                answer = await victim.client.request(method, path, headers=victim.cookie | victim.token | lie)
                assert answer.status_code == 403, (method, path, lie)
                assert "another site" in answer.text
            answer = await victim.client.request(method, path, headers=victim.cookie | OWN)
            assert answer.status_code == 403, (method, path)
            assert session.CSRF_HEADER in answer.text


@pytest.mark.red_inside
async def test_a47_each_of_the_three_holds_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def forged(headers: dict[str, str]) -> tuple[int, int]:
        """Ask for a one-time link as a form of a page on another port does; return status and how many links came."""
        async with signed_in(tmp_path) as victim:
            before = await victim.links()
            path = f"/api/v1/admins/{await victim.owner()}/link"
            answer = await victim.client.post(path, headers=victim.cookie | headers, data={"a": "b"})
            return answer.status_code, await victim.links() - before

    origin, fetch_site = {"Origin": "http://localhost:9000"}, {"Sec-Fetch-Site": "same-site"}
    assert await forged(origin | fetch_site) == (403, 0)
    # Without the token.
    everything = frozenset(("GET", *CHANGING))
    with monkeypatch.context() as weakened:
        weakened.setattr(session, "_SAFE", everything)
        assert await forged(origin) == (403, 0)
        assert await forged(fetch_site) == (403, 0)
        # And without the guard: the attack is done.
        weakened.setattr(module, "guard_loopback", lambda _app, _hosts, scheme: None)
        assert await forged(origin | fetch_site) == (200, 1)
    # The token alone.
    monkeypatch.setattr(module, "guard_loopback", lambda _app, _hosts, scheme: None)
    assert await forged(origin | fetch_site) == (403, 0)


async def test_a47_nobody_is_signed_in_as_somebody_else_by_a_foreign_page(tmp_path: Path) -> None:
    """Login CSRF: the victim would go on in the attacker's account, and leave there what it types."""
    async with signed_in(tmp_path) as victim:
        for lie in ELSEWHERE:
            answer = await victim.client.post("/api/v1/session", headers=lie, json={"link": "attacker's"})
            assert answer.status_code == 403
            assert "set-cookie" not in answer.headers


async def test_a47_nothing_changes_by_get(tmp_path: Path) -> None:
    def state(db: Database) -> list[int]:
        names = ("outbox", "admin_links", "admin_sessions", "secrets", "idempotency")
        counts = [int(db.execute(f"SELECT COUNT(*) FROM {name}").fetchone()[0]) for name in names]
        # That somebody read all there is, is worth a line, and changes nothing else.
        row = db.execute("SELECT COUNT(*) FROM audit WHERE verb <> 'fleet_exported'").fetchone()
        return [*counts, int(row[0])]

    async with signed_in(tmp_path) as victim:
        before = await victim.helm.store.run(state)
        for _method, path in paths(victim.helm, ("GET",)):
            # What this one changes it does by the cookie of the browser that began (RFC 6749 §10.12); it is refused
            # without, and the audit says so.
            if path == CALLBACK:
                continue
            await victim.client.get(path, headers=victim.cookie | victim.token | OWN)
        assert await victim.helm.store.run(state) == before
