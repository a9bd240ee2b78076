"""Row 49. Position: has a browser's cookie, chose one, or reads the database. Wants: to go on as the admin.

Countermeasure: a sign-in draws a new id; the record keeps its hash; it ends by itself, and by sign-out, change of role
and change of password; where the browser has a certificate, it opens nothing without that certificate.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from pharos.helm.accounts import admins, passkeys, sessions, signin
from pharos.helm.accounts.admins import change_admin
from pharos.helm.live.board import now_us
from pharos.helm.model.admins import Role
from pharos.helm.store.admins import ADMINS
from pharos.helm.store.changes import Act
from pharos.helm.store.database import CORE
from pharos.helm.store.pages import Query, list_page
from pharos.helm.web import session
from pharos.helm.web.app import make_loopback_app
from tests.support.authenticator import PASSKEYS, Authenticator, register, sign_in_by_passkey
from tests.support.helm import SampleHelm, open_helm
from tests.support.http import asking
from tests.support.signin import Headers, invited, sign_in

HOSTS = {"localhost:8440"}
SESSION = "/api/v1/session"
PLANTED = "A" * 43
PASSWORD = "correct horse battery"
HOUR = 3600 * 1_000_000


@asynccontextmanager
async def edge(tmp_path: Path) -> AsyncIterator[tuple[SampleHelm, httpx.AsyncClient]]:
    async with open_helm(tmp_path) as helm, asking(make_loopback_app(helm.context, HOSTS)) as client:
        yield helm, client


async def opens(client: httpx.AsyncClient, cookie: str) -> bool:
    """Tell whether a cookie alone opens the API, in a browser of nobody's."""
    client.cookies.clear()
    answer = await client.get("/api/v1/nodes", headers={"Cookie": f"{session.COOKIE}={cookie}"})
    assert answer.status_code in (200, 401)
    return answer.status_code == 200


@pytest.mark.red_inside
async def test_a49_id_that_somebody_planted_is_not_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with edge(tmp_path) as (helm, client):

        async def victim_signs_in(name: str) -> str:
            client.cookies.clear()
            link = await invited(helm.context, name=name)
            answer = await client.post(SESSION, json={"link": link}, headers={"Cookie": f"{session.COOKIE}={PLANTED}"})
            return answer.cookies[session.COOKIE]

        assert await victim_signs_in("ada") != PLANTED
        assert not await opens(client, PLANTED)
        # Weakened: whatever id the browser brought is the session's.
        with monkeypatch.context() as weak:
            weak.setattr(signin, "token_urlsafe", lambda _size: PLANTED)
            await victim_signs_in("grace")
            assert await opens(client, PLANTED)


async def test_a49_every_sign_in_draws_another_id(tmp_path: Path) -> None:
    key, seen = Authenticator(), set()
    async with edge(tmp_path) as (helm, client):
        await register(client, key, headers=await sign_in(helm.context))
        for _ in range(3):
            answer = await sign_in_by_passkey(client, key)
            seen.add(answer.cookies[session.COOKIE])
            client.cookies.clear()
    assert len(seen) == 3
    assert all(len(cookie) >= 43 for cookie in seen), "256 bits"


@pytest.mark.red_inside
async def test_a49_database_holds_nothing_that_opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def stolen_opens(helm: SampleHelm, client: httpx.AsyncClient, name: str) -> bool:
        headers = await sign_in(helm.context, name=name)
        cookie = headers[0][1].partition("=")[2]
        kept = await helm.store.read(lambda db: [row["hash"] for row in db.execute("SELECT hash FROM admin_sessions")])
        files = b"".join(path.read_bytes() for path in helm.state.glob(f"{CORE}*"))
        readable = [cookie] if cookie.encode() in files else []
        guesses = [*readable, *(h.hex() for h in kept), *(h.decode("latin-1") for h in kept)]
        return any([await opens(client, guess) for guess in guesses if guess.isascii()])

    async with edge(tmp_path) as (helm, client):
        assert not await stolen_opens(helm, client, "ada")
        # Weakened: the record keeps the cookie itself.
        for module in (admins, signin, session):
            monkeypatch.setattr(module, "hash_secret", lambda text: text.encode())
        assert await stolen_opens(helm, client, "grace")


async def sign_out(helm: SampleHelm, client: httpx.AsyncClient, headers: Headers) -> None:
    await client.delete(SESSION, headers=headers)


async def sign_out_everywhere(helm: SampleHelm, client: httpx.AsyncClient, headers: Headers) -> None:
    await client.delete(SESSION, params={"all": "true"}, headers=await another(helm, headers))


async def end_from_elsewhere(helm: SampleHelm, client: httpx.AsyncClient, headers: Headers) -> None:
    other = await another(helm, headers)
    found = (await client.get(f"{SESSION}/mine", headers=other)).json()["items"]
    (victim,) = (one["id"] for one in found if not one["own"])
    assert (await client.delete(f"{SESSION}/mine/{victim}", headers=other)).status_code == 204


async def owner_signs_out(helm: SampleHelm, client: httpx.AsyncClient, headers: Headers) -> None:
    owner = await sign_in(helm.context, name="owner")
    path = f"/api/v1/admins/{await id_of(helm, 'ada')}"
    assert (await client.post(f"{path}/sign-out", headers=owner)).status_code == 200


async def owner_ends_one(helm: SampleHelm, client: httpx.AsyncClient, headers: Headers) -> None:
    owner = await sign_in(helm.context, name="owner")
    path = f"/api/v1/admins/{await id_of(helm, 'ada')}/sessions"
    (one,) = (await client.get(path, headers=owner)).json()["items"]
    assert (await client.delete(f"{path}/{one['id']}", headers=owner)).status_code == 204


async def change_role(helm: SampleHelm, client: httpx.AsyncClient, headers: Headers) -> None:
    await sign_in(helm.context, name="owner")

    def demote(db: Any) -> None:
        ada = next(admin for admin in list_page(db, ADMINS, Query()).items if admin.name == "ada")
        change_admin(db, Act(actor="owner", at=now_us()), ada.id, ada.version, {"role": Role.VIEWER})

    await helm.store.run(demote)


async def change_password(helm: SampleHelm, client: httpx.AsyncClient, headers: Headers) -> None:
    other = await another(helm, headers)
    answer = await client.put(f"{SESSION}/password", json={"password": PASSWORD}, headers=other)
    assert answer.status_code == 204


async def remove_passkey(helm: SampleHelm, client: httpx.AsyncClient, headers: Headers) -> None:
    other = await another(helm, headers)
    made = (await register(client, Authenticator(), headers=other)).json()
    answer = await client.delete(f"{PASSKEYS}/{made['id']}", headers=[*other, ("If-Match", '"1"')])
    assert answer.status_code == 204


async def id_of(helm: SampleHelm, name: str) -> str:
    found = (await helm.store.read(list_page, ADMINS, Query())).items
    return next(admin.id for admin in found if admin.name == name)


async def another(helm: SampleHelm, headers: Headers) -> Headers:
    """A second browser of the same admin, who asks for a link."""

    def link(db: Any) -> str:
        ada = next(admin for admin in list_page(db, ADMINS, Query()).items if admin.name == "ada")
        return admins.make_link(db, Act(actor="operator", at=now_us()), ada.id)

    signed = await signin.SignIn(helm.store, helm.vault).by_link(await helm.store.run(link), browser="another")
    return [("Cookie", f"{session.COOKIE}={signed.cookie}"), (session.CSRF_HEADER, session.csrf_text(signed.session))]


@pytest.mark.parametrize(
    "ending",
    [
        sign_out,
        sign_out_everywhere,
        end_from_elsewhere,
        owner_signs_out,
        owner_ends_one,
        change_role,
        change_password,
        remove_passkey,
    ],
    ids=lambda ending: ending.__name__,
)
async def test_a49_stolen_cookie_ends_with_the_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: Any
) -> None:
    monkeypatch.setattr(signin, "hash_password", lambda _password: "$argon2id$cheap")
    async with edge(tmp_path) as (helm, client):
        headers = await sign_in(helm.context, name="ada")
        cookie = headers[0][1].partition("=")[2]
        assert await opens(client, cookie)
        await ending(helm, client, headers)
        assert not await opens(client, cookie)


@pytest.mark.parametrize("ending", [sign_out, owner_signs_out, change_role, change_password, remove_passkey])
async def test_a49_turns_red_where_the_record_does_not_end_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: Any
) -> None:
    """The proof that the test above can fail."""
    monkeypatch.setattr(signin, "hash_password", lambda _password: "$argon2id$cheap")
    # Weakened: the browser forgets, and helm does not.
    for module in (admins, passkeys, sessions, signin):
        monkeypatch.setattr(module, "end_sessions", lambda *_args, **_more: 0)
    monkeypatch.setattr(sessions, "end_session_by_id", lambda *_args: True)
    async with edge(tmp_path) as (helm, client):
        headers = await sign_in(helm.context, name="ada")
        cookie = headers[0][1].partition("=")[2]
        await ending(helm, client, headers)
        assert await opens(client, cookie)


@pytest.mark.red_inside
async def test_a49_cookie_that_lies_about_ends_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with edge(tmp_path) as (helm, client):
        cookie = (await sign_in(helm.context))[0][1].partition("=")[2]
        base, ahead = now_us(), 0
        monkeypatch.setattr(session, "now_us", lambda: base + ahead)
        monkeypatch.setattr("pharos.helm.web.acting.now_us", lambda: base + ahead)
        # A thief who keeps it warm has it for twelve hours.
        lasted = 0
        while await opens(client, cookie):
            lasted = ahead
            ahead += 29 * 60 * 1_000_000
        assert 11 * HOUR < lasted < 12 * HOUR
        ahead = 0
        idle = (await sign_in(helm.context, name="bob"))[0][1].partition("=")[2]
        ahead = 31 * 60 * 1_000_000
        assert not await opens(client, idle)
        with monkeypatch.context() as weak:
            # Weakened: sessions without an end.
            weak.setattr(signin, "IDLE", 10_000 * HOUR)
            weak.setattr(signin, "ABSOLUTE", 10_000 * HOUR)
            endless = (await sign_in(helm.context, name="eve"))[0][1].partition("=")[2]
            ahead = 1_000 * HOUR
            assert await opens(client, endless)


class WithCertificate:
    """The edge as TLS leaves it: each request says which certificate its connection showed."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.shown = ""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope | {"state": {"browser_certificate": self.shown} if self.shown else {}}, receive, send)


@pytest.mark.red_inside
async def test_a49_cookie_in_a_browser_with_another_certificate_ends_the_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def thief_gets_in(path: Path, thief: str) -> tuple[bool, list[str], bool]:
        """Whether the thief's browser gets in, what the audit says, and whether the victim's still does."""
        async with open_helm(path) as helm:
            app = WithCertificate(make_loopback_app(helm.context, HOSTS))
            async with asking(app) as client:  # type: ignore[arg-type]
                app.shown = "ada's"
                answer = await client.post(SESSION, json={"link": await invited(helm.context)})
                cookie = answer.cookies[session.COOKIE]
                assert await opens(client, cookie)
                app.shown = thief
                inside = await opens(client, cookie)
                app.shown = "ada's"
                rows = await helm.store.read(
                    lambda db: db.execute("SELECT detail FROM audit WHERE verb = 'admin_signed_out'").fetchall()
                )
                return inside, [row["detail"] for row in rows], await opens(client, cookie)

    folders = [tmp_path / name for name in ("stranger", "plain", "weak")]
    for folder in folders:
        folder.mkdir(mode=0o700)
    for folder, thief in zip(folders, ("eve's", ""), strict=False):
        inside, told, still = await thief_gets_in(folder, thief)
        assert (inside, len(told), still) == (False, 1, False)
        assert "another browser" in told[0]
    # Weakened: nobody asks for the certificate.
    monkeypatch.setattr(session, "browser_certificate", lambda: "")
    assert await thief_gets_in(folders[2], "eve's") == (True, [], True)


async def test_a49_sessions_are_seen_by_their_admin_and_by_owners_only(tmp_path: Path) -> None:
    async with edge(tmp_path) as (helm, client):
        owner = await sign_in(helm.context, name="owner")
        bob = await sign_in(helm.context, name="bob", role=Role.ADMIN)
        (mine,) = (await client.get(f"{SESSION}/mine", headers=bob)).json()["items"]
        assert mine.keys() == {"id", "how", "browser", "bound", "created_at", "seen_at", "expires_at", "own"}
        assert (mine["how"], mine["browser"], mine["own"]) == ("link", "a test", True)
        path = f"/api/v1/admins/{await id_of(helm, 'bob')}/sessions"
        assert [one["id"] for one in (await client.get(path, headers=owner)).json()["items"]] == [mine["id"]]
        assert (await client.get(path, headers=bob)).status_code == 403
        (theirs,) = (await client.get(f"{SESSION}/mine", headers=owner)).json()["items"]
        assert (await client.delete(f"{SESSION}/mine/{theirs['id']}", headers=bob)).status_code == 404
        assert (await client.delete(f"{path}/{theirs['id']}", headers=owner)).status_code == 404
        assert (await client.get(f"/api/v1/admins/{secrets.token_hex(8)}/sessions", headers=owner)).status_code == 404
