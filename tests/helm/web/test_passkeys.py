"""Passkeys at the loopback edge: made, used, shown again, looked after (security.md row 58 is in tests/attacks)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from pharos.helm.accounts import challenges, signin
from pharos.helm.live.board import now_us
from pharos.helm.model.admins import AdminState, Role
from pharos.helm.model.passkeys import MAX_PASSKEYS
from pharos.helm.store.database import Database
from pharos.helm.web import session
from pharos.helm.web.app import make_loopback_app
from tests.support.authenticator import (
    PASSKEYS,
    Authenticator,
    packed,
    prove_by_passkey,
    register,
    sign_in_by_passkey,
)
from tests.support.helm import SampleHelm, open_helm
from tests.support.http import asking
from tests.support.signin import sign_in

SESSION = "/api/v1/session"
HOSTS = {"localhost:8440", "127.0.0.1:8440", "[::1]:8440"}


@asynccontextmanager
async def edge(tmp_path: Path) -> AsyncIterator[tuple[SampleHelm, httpx.AsyncClient]]:
    async with open_helm(tmp_path) as helm, asking(make_loopback_app(helm.context, HOSTS)) as client:
        yield helm, client


async def keys_of(client: httpx.AsyncClient, headers: Any) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = (await client.get(PASSKEYS, headers=headers)).json()["items"]
    return items


def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all proofs be stale."""
    monkeypatch.setattr(signin, "now_us", lambda: now_us() + signin.FRESH + 1_000_000)


async def test_passkey_is_made_after_a_link_and_signs_in_with_and_without_a_name(tmp_path: Path) -> None:
    key = Authenticator()
    async with edge(tmp_path) as (helm, client):
        headers = await sign_in(helm.context)
        made = await register(client, key, name="ada's laptop", headers=headers)
        assert made.status_code == 201
        assert made.json().keys() == {
            *("id", "admin_id", "name", "site", "synced", "used_at"),
            *("version", "created_at", "updated_at", "updated_by"),
        }
        assert made.json() | {"name": "ada's laptop", "site": "localhost", "used_at": None} == made.json()
        for name in (None, "ada"):
            entered = await sign_in_by_passkey(client, key, name=name)
            assert (entered.status_code, entered.json()["name"], entered.json()["how"]) == (200, "ada", "passkey")
            assert "HttpOnly" in entered.headers["set-cookie"]
            assert (await client.get(SESSION)).json()["how"] == "passkey"
            client.cookies.clear()
        assert (await keys_of(client, headers))[0]["used_at"] is not None


async def test_each_name_has_its_own_passkeys(tmp_path: Path) -> None:
    ada, bob = Authenticator(), Authenticator()
    async with edge(tmp_path) as (helm, client):
        await register(client, ada, headers=await sign_in(helm.context, name="ada"))
        await register(client, bob, headers=await sign_in(helm.context, name="bob", role=Role.VIEWER))
        options = (await client.post(f"{PASSKEYS}/sign-in/options", json={"name": "ada"})).json()
        with pytest.raises(ValueError, match="NotAllowedError"):
            bob.get(options)
        # Even if its authenticator would.
        forced = bob.get(options | {"allowCredentials": []})
        assert (await client.post(f"{PASSKEYS}/sign-in", json={"credential": forced})).status_code == 401
        assert (await sign_in_by_passkey(client, bob)).json()["name"] == "bob"


async def test_unknown_name_is_shown_as_many_passkeys_as_a_known_one(tmp_path: Path) -> None:
    """Row 51, by the list of credentials: the same each time, and of the same length."""
    key = Authenticator()
    async with edge(tmp_path) as (helm, client):
        await register(client, key, headers=await sign_in(helm.context, name="ada"))
        await sign_in(helm.context, name="bob", role=Role.VIEWER)

        async def offered(name: str) -> list[str]:
            options = (await client.post(f"{PASSKEYS}/sign-in/options", json={"name": name})).json()
            assert options["userVerification"] == "required"
            return [one["id"] for one in options["allowCredentials"]]

        for name in ("ada", "bob", "nobody"):
            first = await offered(name)
            assert len(set(first)) == MAX_PASSKEYS
            assert await offered(name) == first
        assert packed(key.credentials[0].id) in await offered("ada")
        assert not set(await offered("bob")) & set(await offered("nobody"))


async def test_making_and_removing_takes_a_fresh_proof_and_a_passkey_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = Authenticator()
    async with edge(tmp_path) as (helm, client):
        headers = await sign_in(helm.context)
        passkey = (await register(client, key, headers=headers)).json()
        assert (await client.post(f"{PASSKEYS}/prove/options", headers=[])).status_code == 401
        real = now_us()
        with monkeypatch.context() as patched:
            later(patched)
            stale = await client.post(f"{PASSKEYS}/options", headers=headers)
            assert (stale.status_code, "fresh proof" in stale.json()["detail"]) == (401, True)
            removal = [*headers, ("If-Match", f'"{passkey["version"]}"')]
            assert (await client.delete(f"{PASSKEYS}/{passkey['id']}", headers=removal)).status_code == 401
            patched.setattr("pharos.helm.accounts.passkeys.now_us", lambda: real + signin.FRESH + 1_000_000)
            assert (await prove_by_passkey(client, key, headers=headers)).status_code == 204
            assert (await client.delete(f"{PASSKEYS}/{passkey['id']}", headers=removal)).status_code == 204
        assert (await sign_in_by_passkey(client, key)).status_code == 401
        assert (await client.post(f"{PASSKEYS}/prove/options", headers=headers)).status_code == 404


async def test_removing_a_passkey_ends_the_sessions_that_it_may_have_begun(tmp_path: Path) -> None:
    key = Authenticator()
    async with edge(tmp_path) as (helm, client):
        headers = await sign_in(helm.context)
        passkey = (await register(client, key, headers=headers)).json()
        await sign_in_by_passkey(client, key)
        assert (await client.get(SESSION)).status_code == 200
        thief = dict(client.cookies)
        client.cookies.clear()
        await client.delete(f"{PASSKEYS}/{passkey['id']}", headers=[*headers, ("If-Match", '"1"')])
        assert (await client.get(SESSION, headers=headers)).status_code == 200
        client.cookies.update(thief)
        assert (await client.get(SESSION)).status_code == 401


async def test_passkeys_of_others_are_nobodys(tmp_path: Path) -> None:
    key = Authenticator()
    async with edge(tmp_path) as (helm, client):
        ada = await sign_in(helm.context, name="ada")
        bob = await sign_in(helm.context, name="bob")
        passkey = (await register(client, key, headers=ada)).json()
        path = f"{PASSKEYS}/{passkey['id']}"
        seen = ("If-Match", '"1"')
        assert await keys_of(client, bob) == []
        assert (await client.patch(path, json={"name": "mine"}, headers=[*bob, seen])).status_code == 404
        assert (await client.delete(path, headers=[*bob, seen])).status_code == 404
        renamed = await client.patch(path, json={"name": "old laptop"}, headers=[*ada, seen])
        assert (renamed.status_code, renamed.json()["name"], renamed.headers["ETag"]) == (200, "old laptop", '"2"')
        assert (await client.patch(path, json={"name": "again"}, headers=[*ada, seen])).status_code == 409


async def test_credential_is_known_once(tmp_path: Path) -> None:
    key = Authenticator()
    async with edge(tmp_path) as (helm, client):
        ada = await sign_in(helm.context, name="ada")
        await register(client, key, headers=ada)
        with pytest.raises(ValueError, match="InvalidStateError"):
            await register(client, key, headers=ada)
        # Another admin's browser brings the same id.
        bob = await sign_in(helm.context, name="bob")
        options = (await client.post(f"{PASSKEYS}/options", headers=bob)).json()
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("os.urandom", lambda _count: key.credentials[0].id)
            again = key.create(options)
        body = {"name": "copy", "credential": again}
        assert (await client.post(PASSKEYS, json=body, headers=bob)).status_code == 409


async def test_admin_has_so_many_passkeys_at_most(tmp_path: Path) -> None:
    async with edge(tmp_path) as (helm, client):
        headers = await sign_in(helm.context)
        for number in range(MAX_PASSKEYS):
            assert (await register(client, Authenticator(), name=f"k{number}", headers=headers)).status_code == 201
        assert (await client.post(f"{PASSKEYS}/options", headers=headers)).status_code == 409


async def test_admin_who_is_disabled_stays_out(tmp_path: Path) -> None:
    key = Authenticator()
    async with edge(tmp_path) as (helm, client):
        await register(client, key, headers=await sign_in(helm.context))

        def disable(db: Database) -> None:
            db.execute("UPDATE admins SET state = ?", (AdminState.DISABLED.value,))

        await helm.store.run(disable)
        assert (await sign_in_by_passkey(client, key)).status_code == 401


async def test_question_is_answered_once_and_soon(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    key = Authenticator()
    async with edge(tmp_path) as (helm, client):
        await register(client, key, headers=await sign_in(helm.context))
        options = (await client.post(f"{PASSKEYS}/sign-in/options", json={})).json()
        answer = {"credential": key.get(options)}
        assert (await client.post(f"{PASSKEYS}/sign-in", json=answer)).status_code == 200
        client.cookies.clear()
        assert (await client.post(f"{PASSKEYS}/sign-in", json=answer)).status_code == 401
        late = (await client.post(f"{PASSKEYS}/sign-in/options", json={})).json()
        autojump_clock.jump(challenges.LIFETIME)
        answer = {"credential": key.get(late)}
        assert (await client.post(f"{PASSKEYS}/sign-in", json=answer)).status_code == 401


async def test_question_is_for_one_purpose_and_one_session(tmp_path: Path) -> None:
    key = Authenticator()
    async with edge(tmp_path) as (helm, client):
        headers = await sign_in(helm.context)
        await register(client, key, headers=headers)
        to_sign_in = (await client.post(f"{PASSKEYS}/sign-in/options", json={})).json()
        as_proof = {"credential": key.get(to_sign_in)}
        assert (await client.post(f"{PASSKEYS}/prove", json=as_proof, headers=headers)).status_code == 401
        await sign_in_by_passkey(client, key)
        other = {session.CSRF_HEADER: (await client.get(SESSION)).json()["csrf"]}
        of_another = (await client.post(f"{PASSKEYS}/prove/options", headers=other)).json()
        client.cookies.clear()
        answer = {"credential": key.get(of_another)}
        assert (await client.post(f"{PASSKEYS}/prove", json=answer, headers=headers)).status_code == 401


async def test_what_is_no_answer_of_an_authenticator_is_refused(tmp_path: Path) -> None:
    key = Authenticator()
    async with edge(tmp_path) as (helm, client):
        headers = await sign_in(helm.context)
        await register(client, key, headers=headers)
        options = (await client.post(f"{PASSKEYS}/sign-in/options", json={})).json()
        right = key.get(options)
        for wrong in (
            {},
            {"id": 1},
            right | {"response": None},
            right | {"rawId": "é"},
            right | {"response": right["response"] | {"clientDataJSON": packed(b"[]")}},
            right
            | {"response": right["response"] | {"clientDataJSON": packed(b'{"type":1,"challenge":2,"origin":3}')}},
            right | {"response": right["response"] | {"userHandle": 7}},
        ):
            answer = await client.post(f"{PASSKEYS}/sign-in", json={"credential": wrong})
            assert answer.status_code == 400, wrong
        for part in ("authenticatorData", "signature"):
            options = (await client.post(f"{PASSKEYS}/sign-in/options", json={})).json()
            right = key.get(options)
            for octets in (b"", b"x", bytes(64)):
                damaged = right | {"response": right["response"] | {part: packed(octets)}}
                answer = await client.post(f"{PASSKEYS}/sign-in", json={"credential": damaged})
                assert answer.status_code == 401, part
        body = {"name": "x", "credential": key.get(options)}
        assert (await client.post(PASSKEYS, json=body, headers=headers)).status_code == 400


async def test_page_at_an_address_goes_on_as_localhost(tmp_path: Path) -> None:
    async with edge(tmp_path) as (helm, client):
        for address in ("127.0.0.1", "[::1]"):
            moved = await client.get(
                f"http://{address}:8440/devices?tab=1", headers={"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "none"}
            )
            assert (moved.status_code, moved.headers["Location"]) == (307, "http://localhost:8440/devices?tab=1")
        assert (await client.get("http://127.0.0.1:8440/")).status_code != 307
        assert (await client.get("/", headers={"Sec-Fetch-Mode": "navigate"})).status_code != 307
        headers = await sign_in(helm.context)
        refused = await client.post(f"http://127.0.0.1:8440{PASSKEYS}/options", headers=headers)
        assert (refused.status_code, "localhost" in refused.json()["detail"]) == (400, True)
