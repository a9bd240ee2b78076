"""Row 54. Position: somebody with a role below, a token, or no sign-in at all. Wants: what the role does not give.

Countermeasure: one table, route by role, default deny; whoever adds a route without adding it there has added nothing.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from quart_trio import QuartTrio

from pharos.helm.model.admins import Role
from pharos.helm.web import acting, permissions
from pharos.helm.web import app as module
from pharos.helm.web.app import make_loopback_app, make_operator_app
from pharos.helm.web.nouns import RESOURCES
from pharos.helm.web.permissions import OTHERS
from tests.support.helm import SampleHelm, open_helm
from tests.support.http import asking
from tests.support.signin import Headers, sign_in

HOSTS = {"localhost:8440"}
NOT_OURS = {"HEAD", "OPTIONS"}
# What the router says before anybody is asked, or what a body that does not fit gets.
BEYOND_THE_TABLE = {200, 201, 204, 400, 404, 409, 428}


def routes(app: QuartTrio) -> Iterator[tuple[str, str, str]]:
    """Give method, endpoint and a path of every route."""
    for rule in app.url_map.iter_rules():
        for method in sorted((rule.methods or set()) - NOT_OURS):
            if not rule.websocket:
                yield method, rule.endpoint, re.sub(r"<[^>]*>", "x", rule.rule)


def table() -> dict[str, Role | None]:
    return permissions.permissions(RESOURCES)


@asynccontextmanager
async def loopback(tmp_path: Path) -> AsyncIterator[tuple[SampleHelm, httpx.AsyncClient]]:
    async with open_helm(tmp_path) as helm, asking(make_loopback_app(helm.context, HOSTS)) as client:
        yield helm, client


async def test_a54_every_route_is_in_the_table_and_every_line_has_its_route(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm:
        apps = [make_loopback_app(helm.context, HOSTS), make_operator_app(helm.context)]
    served = {f"{method} {endpoint}" for app in apps for method, endpoint, _ in routes(app)}
    served |= {f"GET {rule.endpoint}" for app in apps for rule in app.url_map.iter_rules() if rule.websocket}
    assert served == table().keys()


@pytest.mark.parametrize("role", [*Role, None], ids=[*(role.value for role in Role), "nobody"])
async def test_a54_role_gets_what_the_table_says(tmp_path: Path, role: Role | None) -> None:
    async with loopback(tmp_path) as (helm, client):
        await sign_in(helm.context, name="first owner")
        headers = [] if role is None else await sign_in(helm.context, name="subject", role=role)
        app = make_loopback_app(helm.context, HOSTS)
        for method, endpoint, path in routes(app):
            if endpoint in ("session.sign_out", "spa.spa"):
                continue
            needed = table()[f"{method} {endpoint}"]
            answer = await client.request(method, path, headers=headers)
            if needed is None:
                continue
            if role is None:
                assert answer.status_code == 401, (method, path)
            elif role.includes(needed):
                assert answer.status_code in BEYOND_THE_TABLE, (method, path, answer.text)
            else:
                assert answer.status_code == 403, (method, path)


OWNERS_ONLY = "GET signins.list_"


async def owner_of(client: httpx.AsyncClient, headers: Headers) -> str:
    (owner,) = (await client.get("/api/v1/admins", params={"role": "owner"}, headers=headers)).json()["items"]
    return str(owner["id"])


async def test_a54_turns_red_where_the_table_gives_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the transaction asks nobody, a line of the table is all that keeps a viewer from an owner's sessions."""
    monkeypatch.setattr(acting, "check_principal", lambda _db, principal, _needed, **_more: principal.role)
    async with open_helm(tmp_path) as helm:
        owners = await sign_in(helm.context, name="first owner")
        viewers = await sign_in(helm.context, name="subject", role=Role.VIEWER)
        statuses = []
        for role in (Role.OWNER, Role.VIEWER):
            monkeypatch.setitem(OTHERS, OWNERS_ONLY, role)
            async with asking(make_loopback_app(helm.context, HOSTS)) as client:
                owner = await owner_of(client, owners)
                answer = await client.get(f"/api/v1/admins/{owner}/sessions", headers=viewers)
                statuses.append(answer.status_code)
        assert statuses == [403, 200]


async def test_a54_sessions_and_tokens_of_others_are_nobodys(tmp_path: Path) -> None:
    """Whoever knows the id of another's session or token cannot end it by that."""
    async with loopback(tmp_path) as (helm, client):
        owners = await sign_in(helm.context, name="first owner")
        headers = await sign_in(helm.context, name="bob", role=Role.OPERATOR)
        made = (await client.post("/api/v1/tokens", json={"name": "ci", "role": "owner"}, headers=owners)).json()
        session = (await client.get("/api/v1/session/mine", headers=owners)).json()["items"][0]["id"]
        owner = await owner_of(client, owners)
        assert (await client.delete(f"/api/v1/session/mine/{session}", headers=headers)).status_code == 404
        ended = await client.delete(f"/api/v1/admins/{owner}/sessions/{session}", headers=headers)
        assert ended.status_code == 403
        revoked = await client.post(f"/api/v1/tokens/{made['id']}/revoke", headers=[*headers, ("If-Match", '"1"')])
        assert revoked.status_code == 403
        assert (await client.get("/api/v1/session", headers=owners)).status_code == 200
        (token,) = (await client.get("/api/v1/tokens", headers=owners)).json()["items"]
        assert token["version"] == made["version"]


@pytest.mark.red_inside
async def test_a54_route_that_nobody_has_thought_of_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def make_app(helm: SampleHelm) -> QuartTrio:
        app = make_loopback_app(helm.context, HOSTS)

        @app.get("/api/v1/forgotten")
        async def forgotten() -> str:
            return "everything"

        return app

    async with open_helm(tmp_path) as helm:
        headers = await sign_in(helm.context)
        async with asking(make_app(helm)) as client:
            answer = await client.get("/api/v1/forgotten", headers=headers)
            assert (answer.status_code, "everything" in answer.text) == (403, False)
        # Weakened: no table.
        monkeypatch.setattr(module, "check_permissions", lambda _app, _table: None)
        async with asking(make_app(helm)) as client:
            assert (await client.get("/api/v1/forgotten")).text == "everything"


async def test_a54_nobody_writes_what_is_not_theirs_to_write(tmp_path: Path) -> None:
    """Mass assignment: members that a body may not have are refused, not ignored."""
    async with loopback(tmp_path) as (helm, client):
        headers = await sign_in(helm.context)
        for member in ("id", "version", "created_at", "updated_by", "role", "password", "hash"):
            answer = await client.post("/api/v1/users", json={"name": "eve", member: "x"}, headers=headers)
            assert answer.status_code == 400, member
        for member in ("password", "totp", "totp_step", "id"):
            answer = await client.post(
                "/api/v1/admins", json={"name": "eve", "role": "viewer", member: "x"}, headers=headers
            )
            assert answer.status_code == 400, member


async def test_a54_admin_makes_no_owner_and_no_token_above_itself(tmp_path: Path) -> None:
    async with loopback(tmp_path) as (helm, client):
        await sign_in(helm.context, name="first owner")
        headers = await sign_in(helm.context, name="bob", role=Role.ADMIN)
        refused = await client.post("/api/v1/admins", json={"name": "eve", "role": "owner"}, headers=headers)
        assert refused.status_code == 403
        above = await client.post("/api/v1/tokens", json={"name": "ci", "role": "owner"}, headers=headers)
        assert above.status_code == 403
        owner = (await client.get("/api/v1/admins", params={"role": "owner"}, headers=headers)).json()["items"][0]
        for_owner = {"name": "ci", "role": "owner", "admin": owner["id"]}
        assert (await client.post("/api/v1/tokens", json=for_owner, headers=headers)).status_code == 403
        own = await client.post("/api/v1/tokens", json={"name": "ci", "role": "admin"}, headers=headers)
        assert own.status_code == 201
        listed = (await client.get("/api/v1/tokens", headers=headers)).json()["items"]
        assert all("token" not in token and "hash" not in token for token in listed)


def test_a54_acts_of_the_socket_are_few() -> None:
    assert {key for key in OTHERS if key.startswith("POST acts.")} <= {
        "POST acts.add_node",
        "POST acts.add_relay",
        "POST acts.add_ticket",
        "POST acts.revoke",
    }
