"""Passphrases of users, logins that wait, and the fleet's link, over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import argon2
import pytest

from pharos.helm.accounts import signin
from pharos.helm.accounts.admins import add_token
from pharos.helm.accounts.waiting import WaitingLogin, show_code
from pharos.helm.ca import passwords
from pharos.helm.live.board import now_us
from pharos.helm.model.admins import Role
from pharos.helm.store.admins import ADMINS
from pharos.helm.store.credentials import passphrase_of
from pharos.helm.store.outbox import entries_after
from pharos.helm.store.pages import Query, list_page
from pharos.helm.web.app import make_loopback_app
from pharos.wire.ids import RelayId
from pharos.wire.seal.ticket import FleetLink
from tests.support.helm import SampleHelm, adopt_sample_relay, open_helm, sample_act
from tests.support.http import asking
from tests.support.nouns import API, match, operator
from tests.support.signin import sign_in

PASSPHRASE = "correct horse battery staple"


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "_HASHER", argon2.PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))


@contextmanager
def one_waits(helm: SampleHelm, user: dict[str, Any]) -> Iterator[WaitingLogin]:
    with helm.context.logins.waiting(
        user_id=user["id"], user_name="ada", device_name="laptop", relay_id=RelayId("gate"), at=now_us()
    ) as login:
        yield login


async def test_passphrase_is_set_and_shown_nowhere(tmp_path: Path) -> None:
    async with operator(tmp_path) as (helm, client):
        user = (await client.post(f"{API}/users", json={"name": "ada"})).json()
        path = f"{API}/users/{user['id']}/passphrase"
        for bad in ("short", "x" * 129, "tab\tin the middle", ""):
            assert (await client.post(path, json={"passphrase": bad})).status_code == 400
        assert (await client.post(f"{API}/users/x/passphrase", json={"passphrase": PASSPHRASE})).status_code == 404
        key = {"Idempotency-Key": "again"}
        answers = [await client.post(path, json={"passphrase": PASSPHRASE}, headers=key)]
        kept = await helm.store.read(lambda db: db.execute("SELECT COUNT(*) FROM idempotency").fetchone()[0])
        assert kept == 0, "a digest of the request would be one to guess the passphrase by"
        assert answers[0].json()["version"] == user["version"] + 1
        encoded = await helm.store.read(passphrase_of, user["id"])
        assert encoded is not None
        assert passwords.password_fits(encoded, PASSPHRASE)
        answers += [await client.get(f"{API}/{place}") for place in (f"users/{user['id']}", "users", "audit")]
        assert answers[1].json()["passphrase_set"] is True
        told = "".join(answer.text for answer in answers) + repr(await helm.store.read(entries_after, 0))
        assert "user_passphrase_set" in told
        assert encoded.rpartition("$")[2] not in told
        assert PASSPHRASE not in told
        dropped = await client.delete(path)
        assert dropped.status_code == 200
        assert await helm.store.read(passphrase_of, user["id"]) is None
        await client.post(path, json={"passphrase": PASSPHRASE})
        version = (await client.get(f"{API}/users/{user['id']}")).json()["version"]
        assert (await client.delete(f"{API}/users/{user['id']}", headers=match(version))).status_code == 204
        assert await helm.store.read(passphrase_of, user["id"]) is None, "it goes with the user"


async def test_login_is_confirmed_once_and_written_down(tmp_path: Path) -> None:
    async with operator(tmp_path) as (helm, client):
        user = (await client.post(f"{API}/users", json={"name": "ada"})).json()
        with one_waits(helm, user) as login:
            path = f"{API}/logins/{show_code(login.code)}"
            shown = (await client.get(path)).json()
            assert (shown["user_name"], shown["device_name"], shown["relay"]) == ("ada", "laptop", "gate")
            assert not login.confirmed.is_set()
            assert (await client.post(f"{path}/confirm")).json() == shown
            assert login.confirmed_by == "operator"
            for method, again in (("GET", path), ("POST", f"{path}/confirm")):
                assert (await client.request(method, again)).status_code == 404
        rows = (await client.get(f"{API}/audit?verb=user_login_confirmed")).json()["items"]
        assert [(row["actor"], row["subject"], row["detail"]) for row in rows] == [
            ("operator", user["id"], "'laptop', through relay gate")
        ]


async def test_login_of_a_user_who_is_kept_out_waits_on(tmp_path: Path) -> None:
    async with operator(tmp_path) as (helm, client):
        user = (await client.post(f"{API}/users", json={"name": "ada"})).json()
        await client.patch(f"{API}/users/{user['id']}", json={"state": "disabled"}, headers=match(1))
        with one_waits(helm, user) as login:
            refused = await client.post(f"{API}/logins/{login.code}/confirm")
            assert (refused.status_code, "is disabled" in refused.text) == (403, True)
            assert not login.confirmed.is_set()
            await client.patch(f"{API}/users/{user['id']}", json={"state": "active"}, headers=match(2))
            assert (await client.post(f"{API}/logins/{login.code}/confirm")).status_code == 200


async def test_browser_confirms_with_a_fresh_proof_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_helm(tmp_path) as helm:
        headers = await sign_in(helm.context)
        async with asking(make_loopback_app(helm.context, {"localhost:8440"})) as client:
            user = (await client.post(f"{API}/users", json={"name": "ada"}, headers=headers)).json()
            with one_waits(helm, user) as login:
                path = f"{API}/logins/{login.code}/confirm"
                with monkeypatch.context() as patch:
                    patch.setattr(signin, "now_us", lambda: now_us() + signin.FRESH + 1_000_000)
                    stale = await client.post(path, headers=headers)
                    assert (stale.status_code, "fresh proof" in stale.text) == (401, True)
                assert not login.confirmed.is_set()
                assert (await client.post(path, headers=headers)).status_code == 200
            admin = (await helm.store.read(list_page, ADMINS, Query())).items[0]
            for role, scopes, status in (
                (Role.VIEWER, (), 403),
                (Role.OPERATOR, ("users",), 403),
                (Role.OPERATOR, (), 200),
            ):
                _, text = await helm.store.run(
                    add_token, sample_act(), admin.id, name=f"{role} {scopes}", role=role, scopes=scopes
                )
                with one_waits(helm, user) as login:
                    answer = await client.post(
                        f"{API}/logins/{login.code}/confirm", headers={"Authorization": f"Bearer {text}"}
                    )
                    assert (answer.status_code, login.confirmed.is_set()) == (status, status == 200)


async def test_link_of_the_fleet_names_its_relays(tmp_path: Path) -> None:
    async with operator(tmp_path) as (helm, client):
        assert (await client.get(f"{API}/fleet/link")).status_code == 400
        relay, _ = await helm.store.run(adopt_sample_relay, helm.authority)
        link = FleetLink.parse((await client.get(f"{API}/fleet/link")).json()["link"])
        assert [beacon.relay for beacon in link.beacons] == [relay.id]
        assert link.fleet == helm.authority.trust.fleet
