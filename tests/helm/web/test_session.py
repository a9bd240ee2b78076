"""Signing in and out at the loopback edge; what sessions and tokens may do (security.md rows 47, 49-51, 54, 56)."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import argon2
import attrs
import httpx
import pyotp
import pytest
import trio

from pharos.helm.accounts import hashing, signin, throttle
from pharos.helm.accounts.admins import add_token, change_admin
from pharos.helm.accounts.throttle import Throttle
from pharos.helm.anomalies.tries import TRIES
from pharos.helm.ca import passwords
from pharos.helm.ca.passwords import hash_password
from pharos.helm.errors import TooManyTriesError
from pharos.helm.live.board import now_us
from pharos.helm.model.admins import Admin, AdminState, Role
from pharos.helm.store.admins import ADMINS
from pharos.helm.store.changes import Act
from pharos.helm.store.database import CORE, Database
from pharos.helm.store.fleet import get_fleet
from pharos.helm.store.pages import Query, list_page
from pharos.helm.store.settings import put_setting
from pharos.helm.web import session
from pharos.helm.web.app import make_loopback_app
from tests.support.helm import SampleHelm, open_helm
from tests.support.http import asking
from tests.support.signin import invited, sign_in

SESSION = "/api/v1/session"
PASSWORD = "correct horse battery"


@pytest.fixture
def cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash as helm does, for a thousandth of the cost; whoever does not ask for this pays in full."""
    monkeypatch.setattr(passwords, "_HASHER", argon2.PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))


@attrs.frozen
class Browser:
    """One browser: its own cookies."""

    client: httpx.AsyncClient

    async def sign_in(self, **body: str) -> httpx.Response:
        response = await self.client.post(SESSION, json=body)
        if response.is_success:
            self.client.headers[session.CSRF_HEADER] = response.json()["csrf"]
        return response

    async def me(self) -> int:
        return (await self.client.get(SESSION)).status_code


def folder(tmp_path: Path) -> Path:
    second = tmp_path / "second"
    second.mkdir(mode=0o700)
    return second


@asynccontextmanager
async def browser(helm: SampleHelm) -> AsyncIterator[Browser]:
    async with asking(make_loopback_app(helm.context, {"localhost:8440"})) as client:
        yield Browser(client)


async def owner_with_password(helm: SampleHelm, first: Browser) -> None:
    await first.sign_in(link=await invited(helm.context))
    assert (await first.client.put(f"{SESSION}/password", json={"password": PASSWORD})).status_code == 204


async def test_link_signs_in_once(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm, browser(helm) as one, browser(helm) as two:
        link = await invited(helm.context)
        assert await one.me() == 401
        response = await one.sign_in(link=link)
        assert response.json()["role"] == "owner"
        cookie = response.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert await one.me() == 200
        assert (await one.client.get("/api/v1/users")).status_code == 200
        assert (await two.sign_in(link=link)).status_code == 401
        assert (await two.sign_in(link="x")).status_code == 401
        (admin,) = (await helm.store.run(list_page, ADMINS, Query())).items
        assert admin.state is AdminState.ACTIVE


async def test_newer_link_ends_the_older_and_links_end_by_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_helm(tmp_path) as helm, browser(helm) as one:
        link = await invited(helm.context)
        monkeypatch.setattr(signin, "now_us", lambda: now_us() + 25 * 3600 * 1_000_000)
        assert (await one.sign_in(link=link)).status_code == 401


async def test_session_ends_when_idle_and_after_half_a_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_helm(tmp_path) as helm, browser(helm) as one:
        await one.sign_in(link=await invited(helm.context))
        base, ahead = now_us(), 0
        monkeypatch.setattr(session, "now_us", lambda: base + ahead)
        for _ in range(26):
            ahead += 29 * 60 * 1_000_000
            code = await one.me()
            if code != 200:
                break
        assert code == 401
        assert 12 * 3600 * 1_000_000 <= ahead < 12.5 * 3600 * 1_000_000
    async with open_helm(folder(tmp_path)) as helm, browser(helm) as one:
        await one.sign_in(link=await invited(helm.context))
        base, ahead = now_us(), 31 * 60 * 1_000_000
        assert await one.me() == 401


async def test_change_without_the_header_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 47: a page on another port of this machine sends the cookie along, but cannot know the header."""
    async with open_helm(tmp_path) as helm, browser(helm) as one:
        await one.sign_in(link=await invited(helm.context))
        right = one.client.headers.pop(session.CSRF_HEADER)
        for said in ({}, {session.CSRF_HEADER: ""}, {session.CSRF_HEADER: right[:-1]}, {session.CSRF_HEADER: "é"}):
            headers = [(name.encode(), value.encode()) for name, value in said.items()]
            response = await one.client.post("/api/v1/users", json={"name": "eve"}, headers=headers)
            assert response.status_code == 403
        assert (await one.client.get("/api/v1/users")).json()["total"] == 0
        # Weakened: the header is not looked at.
        monkeypatch.setattr(session, "_SAFE", frozenset({"GET", "POST"}))
        assert (await one.client.post("/api/v1/users", json={"name": "eve"})).status_code == 201


async def test_password_and_code_sign_in(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm, browser(helm) as one, browser(helm) as two:
        await owner_with_password(helm, one)
        secret = (await one.client.get(f"{SESSION}/totp")).json()["secret"]
        assert (await one.client.put(f"{SESSION}/totp", json={"secret": secret, "code": "000000"})).status_code == 400
        code = pyotp.TOTP(secret).now()
        assert (await one.client.put(f"{SESSION}/totp", json={"secret": secret, "code": code})).status_code == 204
        # The step that set it up is used up.
        assert (await two.sign_in(name="ada", password=PASSWORD, code=code)).status_code == 401
        step = now_us() // 1_000_000 // 30 + 1
        following = pyotp.TOTP(secret).at(step * 30)
        assert (await two.sign_in(name="ada", password=PASSWORD, code=following)).status_code == 200
    async with open_helm(folder(tmp_path)) as helm, browser(helm) as one, browser(helm) as two:
        await owner_with_password(helm, one)
        assert (await two.sign_in(name="ada", password=PASSWORD)).status_code == 200


@pytest.mark.usefixtures("cheap_passwords")
async def test_fleet_without_passwords_says_so_to_whoever_knows_one_and_to_nobody_else(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm, browser(helm) as one, browser(helm) as two:
        await owner_with_password(helm, one)
        act = Act(actor="operator", at=now_us())
        await helm.store.run(put_setting, act, "admins.password", 0, value=False)
        refused = await two.sign_in(name="ada", password=PASSWORD)
        assert (refused.status_code, "passkey" in refused.json()["detail"]) == (403, True)
        assert await two.me() == 401
        for name, password in (("ada", "wrong password"), ("bob", PASSWORD)):
            assert (await two.sign_in(name=name, password=password)).json()["detail"] == signin.REFUSED
        proof = await one.client.post(f"{SESSION}/prove", json={"password": PASSWORD})
        assert proof.status_code == 403
        assert await one.me() == 200, "who is inside stays inside"
        assert (await two.sign_in(link=await invited(helm.context, name="grace"))).status_code == 200


@pytest.mark.usefixtures("cheap_passwords")
async def test_password_that_was_changed_meanwhile_lets_nobody_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 49: the hash takes a while, and what it fits may be gone by then."""
    async with open_helm(tmp_path) as helm, browser(helm) as one, browser(helm) as two:
        await owner_with_password(helm, one)
        real = signin.password_fits

        def change_and_verify(encoded: str, password: str) -> bool:
            fits = real(encoded, password)
            with sqlite3.connect(tmp_path / CORE) as other:
                other.execute("UPDATE admins SET password = 'another'")
            other.close()
            return fits

        monkeypatch.setattr(signin, "password_fits", change_and_verify)
        assert (await two.sign_in(name="ada", password=PASSWORD)).status_code == 401


@pytest.mark.usefixtures("cheap_passwords")
async def test_code_is_accepted_once(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm, browser(helm) as one:
        await owner_with_password(helm, one)
        door = signin.SignIn(helm.store, helm.vault)
        secret = pyotp.random_base32()
        wrapped = helm.vault.wrap(signin.totp_name("x"), signin.TOTP_VERSION, secret.encode())
        admin = Admin(id="x", name="x", role=Role.OWNER, totp=wrapped)
        at = 1_800_000_000 * 1_000_000
        step = at // 1_000_000 // 30
        code = pyotp.TOTP(secret).at(step * 30)
        assert door._accepted_step(admin, code, at) == step
        assert door._accepted_step(attrs.evolve(admin, totp_step=step), code, at) is None
        assert door._accepted_step(admin, pyotp.TOTP(secret).at((step - 2) * 30), at) is None


@pytest.mark.usefixtures("cheap_passwords")
async def test_wrong_password_says_no_more_than_unknown_name(tmp_path: Path) -> None:
    """Row 51; that it takes as long, too, is a matter of the dummy, which costs the same by construction."""
    async with open_helm(tmp_path) as helm, browser(helm) as one, browser(helm) as two:
        await owner_with_password(helm, one)
        wrong = await two.sign_in(name="ada", password="wrong password")
        unknown = await two.sign_in(name="bob", password="wrong password")
        assert (wrong.status_code, wrong.json()) == (unknown.status_code, unknown.json())
        assert wrong.status_code == 401
        dummy = signin.SignIn(helm.store, helm.vault)._dummy
        assert dummy.split("$")[3] == hash_password("x").split("$")[3]


@pytest.mark.usefixtures("cheap_passwords")
async def test_setting_the_password_ends_other_sessions_and_wants_a_fresh_proof(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_helm(tmp_path) as helm, browser(helm) as one, browser(helm) as two:
        await owner_with_password(helm, one)
        assert (await two.sign_in(name="ada", password=PASSWORD)).status_code == 200
        assert (await two.client.put(f"{SESSION}/password", json={"password": PASSWORD + "!"})).status_code == 204
        assert await one.me() == 401
        assert await two.me() == 200
        monkeypatch.setattr(signin, "now_us", lambda: now_us() + signin.FRESH + 1_000_000)
        stale = await two.client.put(f"{SESSION}/password", json={"password": PASSWORD})
        assert stale.status_code == 401
        assert "fresh proof" in stale.json()["detail"]
        assert (await two.client.post(f"{SESSION}/prove", json={"password": "no"})).status_code == 401
        assert (await two.client.post(f"{SESSION}/prove", json={"password": PASSWORD + "!"})).status_code == 204
        assert (await two.client.put(f"{SESSION}/password", json={"password": PASSWORD})).status_code == 204
        assert (await two.client.put(f"{SESSION}/password", json={"password": "short"})).status_code == 400


@pytest.mark.usefixtures("cheap_passwords")
async def test_signing_out_ends_one_session_or_all(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm, browser(helm) as one, browser(helm) as two, browser(helm) as three:
        await owner_with_password(helm, one)
        for other in (two, three):
            await other.sign_in(name="ada", password=PASSWORD)
        cookie = two.client.cookies[session.COOKIE]
        assert (await two.client.delete(SESSION)).status_code == 204
        two.client.cookies.set(session.COOKIE, cookie)
        assert [await b.me() for b in (one, two, three)] == [200, 401, 200]
        await three.client.delete(SESSION, params={"all": "true"})
        assert [await b.me() for b in (one, two, three)] == [401, 401, 401]


async def test_session_never_outlives_the_role_it_was_made_for(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm, browser(helm) as one:
        await sign_in(helm.context, name="owner")
        await one.sign_in(link=await invited(helm.context, name="bob", role=Role.ADMIN))
        assert await one.me() == 200
        page = await helm.store.run(list_page, ADMINS, Query(filters={"q": "bob"}))
        bob = page.items[0]
        act = Act(actor="operator", at=now_us())
        await helm.store.run(change_admin, act, bob.id, bob.version, {"role": Role.VIEWER})
        assert await one.me() == 401


async def test_role_is_checked_in_the_transaction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 55: the first look passes, and by the time the transaction has its turn the role is gone."""
    async with open_helm(tmp_path) as helm, browser(helm) as one:
        await sign_in(helm.context, name="owner")
        await one.sign_in(link=await invited(helm.context, name="bob", role=Role.OPERATOR))

        def set_role(role: str) -> None:
            with sqlite3.connect(tmp_path / CORE) as other:
                other.execute("UPDATE admins SET role = ? WHERE name = 'bob'", (role,))
            other.close()

        real = session._keep

        def keep_and_demote(signed: session.Signed) -> None:
            real(signed)
            set_role("viewer")

        monkeypatch.setattr(session, "_keep", keep_and_demote)
        refused = await one.client.post("/api/v1/users", json={"name": "eve"})
        assert refused.status_code == 403
        set_role("operator")
        monkeypatch.setattr("pharos.helm.web.acting.check_principal", lambda *_args, **_kwargs: Role.OWNER)
        assert (await one.client.post("/api/v1/users", json={"name": "eve"})).status_code == 201


@pytest.mark.parametrize(
    ("role", "scopes", "codes"),
    [
        (Role.VIEWER, (), (200, 403)),
        (Role.OPERATOR, (), (200, 201)),
        (Role.OPERATOR, ("users",), (200, 201)),
        (Role.OPERATOR, ("devices",), (403, 403)),
    ],
)
async def test_token_may_what_its_role_and_scopes_say(
    tmp_path: Path, role: Role, scopes: tuple[str, ...], codes: tuple[int, int]
) -> None:
    async with open_helm(tmp_path) as helm, browser(helm) as one:
        await sign_in(helm.context)
        admin = (await helm.store.run(list_page, ADMINS, Query())).items[0]
        act = Act(actor="operator", at=now_us())
        token, text = await helm.store.run(add_token, act, admin.id, name="ci", role=role, scopes=scopes)
        assert text not in repr(token)
        headers = {"Authorization": f"Bearer {text}"}
        read = await one.client.get("/api/v1/users", headers=headers)
        write = await one.client.post("/api/v1/users", json={"name": "eve"}, headers=headers)
        assert (read.status_code, write.status_code) == codes
        assert (await one.client.get(SESSION, headers=headers)).status_code == 401
        wrong = {"Authorization": f"Bearer {text}x"}
        assert (await one.client.get("/api/v1/users", headers=wrong)).status_code == 401


async def test_too_many_at_the_door_are_told_to_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 44: a login costs 64 MiB and a tenth of a second, so only so many are begun."""
    monkeypatch.setattr(throttle, "ALL_BURST", 1000)
    codes: list[int] = []
    async with open_helm(tmp_path) as helm, browser(helm) as one:

        async def knock(number: int) -> None:
            codes.append((await one.sign_in(name=f"nobody{number}", password="x" * 12)).status_code)

        async with trio.open_nursery() as nursery:
            for number in range(30):
                nursery.start_soon(knock, number)
        # Whoever is at it is noticed, by no word that was typed.
        (found,) = helm.context.tries.take()
        assert found.subject == "admin:a name that nobody has"
    assert codes.count(401) == hashing.AT_ONCE + hashing.QUEUE >= TRIES
    assert codes.count(503) == 30 - codes.count(401)


def test_throttle_slows_a_name_down_and_never_locks_it() -> None:
    door = Throttle()
    now, accepted = 0.0, 0
    waits: list[float] = []
    for _ in range(100_000):
        now += 0.1
        try:
            door.check("ada", now)
        except TooManyTriesError as error:
            waits.append(error.wait)
            continue
        accepted += 1
        door.failed("ada", now)
    assert 0 < min(waits) <= max(waits) <= throttle.LONGEST_DELAY
    assert accepted <= throttle.FREE_TRIES + 10 + 10_000 / throttle.LONGEST_DELAY
    door.succeeded("ada")
    door.check("ada", now + throttle.LONGEST_DELAY)


def test_throttle_bounds_all_names_together() -> None:
    door = Throttle()
    accepted = 0
    for number in range(10_000):
        try:
            door.check(f"name{number}", number * 0.06)
        except TooManyTriesError:
            continue
        accepted += 1
        door.failed(f"name{number}", number * 0.06)
    assert accepted <= throttle.ALL_BURST + 600 * throttle.ALL_PER_SECOND + 1


async def test_the_door_says_which_fleet_it_is_and_nothing_of_who_there_is(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm, asking(make_loopback_app(helm.context, {"localhost:8440"})) as client:
        before = (await client.get(f"{SESSION}/door")).json()
        assert before == {"id": (await helm.context.store.read(get_fleet)).id, "name": "", "single_sign_on": False}

        def change(db: Database) -> None:
            act = Act(actor="operator", at=now_us())
            put_setting(db, act, "fleet.name", 0, "Skerry Works")
            put_setting(db, act, "oidc.issuer", 0, "https://id.example.org")

        await helm.context.store.run(change)
        half = (await client.get(f"{SESSION}/door")).json()
        assert (half["name"], half["single_sign_on"]) == ("Skerry Works", False), "no client, no way there"

        await helm.context.store.run(
            lambda db: put_setting(db, Act(actor="operator", at=now_us()), "oidc.client_id", 0, "pharos")
        )
        assert (await client.get(f"{SESSION}/door")).json()["single_sign_on"] is True
