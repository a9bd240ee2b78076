"""Row 58. Position: a page or program on another port of this machine, or a copy of a key. Wants: an admin's passkey.

To WebAuthn the RP ID `localhost` has no port: a browser offers helm's passkeys to every page of this machine, and what
is signed there is signed for the right RP ID. Countermeasure: the origin that the browser signs along has to be ours,
port included; the user is verified; the counter goes on; each challenge is answered once.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest

from pharos.helm.accounts import ceremonies, passkeys
from pharos.helm.accounts.ceremonies import Site
from pharos.helm.store.alerts import ALERTS
from pharos.helm.store.pages import Query, list_page
from pharos.helm.web.app import make_loopback_app
from tests.support.authenticator import (
    PASSKEYS,
    Authenticator,
    prove_by_passkey,
    register,
    sign_in_by_passkey,
)
from tests.support.helm import SampleHelm, open_helm
from tests.support.http import asking
from tests.support.signin import sign_in

HOSTS = {"localhost:8440"}
ELSEWHERE = [
    "http://localhost:8441",
    "http://localhost",
    "https://localhost:8440",
    "http://localhost:8440.evil.example",
    "http://127.0.0.1:8440",
    "http://LOCALHOST:8440",
    "http://localhost:8440/",
    "null",
]


@asynccontextmanager
async def victim(tmp_path: Path) -> AsyncIterator[tuple[SampleHelm, httpx.AsyncClient, Authenticator, Any]]:
    """An owner with a passkey, and what a browser of hers sends."""
    key = Authenticator()
    async with open_helm(tmp_path) as helm, asking(make_loopback_app(helm.context, HOSTS)) as client:
        headers = await sign_in(helm.context)
        assert (await register(client, key, headers=headers)).status_code == 201
        yield helm, client, key, headers


def believe_any_origin(monkeypatch: pytest.MonkeyPatch, origin: str) -> None:
    """Weakened: whatever page signed is a page of ours."""
    real = passkeys.check_assertion

    def blind(assertion: Any, passkey: Any, site: Site) -> int:
        return real(assertion, passkey, attrs.evolve(site, origins=(*site.origins, origin)))

    monkeypatch.setattr(passkeys, "check_assertion", blind)


@pytest.mark.red_inside
async def test_a58_page_of_another_port_gets_nothing_signed_that_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with victim(tmp_path) as (_helm, client, key, _headers):
        for origin in ELSEWHERE:
            # The phisher asks helm for a challenge, and the victim touches the key on the phisher's page.
            key.origin = origin
            answer = await sign_in_by_passkey(client, key)
            assert (answer.status_code, "set-cookie" in answer.headers) == (401, False), origin
        key.origin = ELSEWHERE[0]
        with monkeypatch.context() as weak:
            believe_any_origin(weak, key.origin)
            assert (await sign_in_by_passkey(client, key)).status_code == 200


async def test_a58_page_in_another_sites_frame_gets_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with victim(tmp_path) as (_helm, client, key, _headers):
        key.cross_origin = True
        assert (await sign_in_by_passkey(client, key)).status_code == 401
        monkeypatch.setattr(ceremonies, "_check_same_origin", lambda _client_data: None)
        assert (await sign_in_by_passkey(client, key)).status_code == 200


async def test_a58_page_of_another_port_makes_no_passkey_of_its_own_and_gives_no_proof(tmp_path: Path) -> None:
    async with victim(tmp_path) as (_helm, client, key, headers):
        rogue = Authenticator(origin="http://localhost:8441")
        assert (await register(client, rogue, headers=headers)).status_code == 400
        key.origin = "http://localhost:8441"
        assert (await prove_by_passkey(client, key, headers=headers)).status_code == 401
        key.origin = "http://localhost:8440"
        assert (await prove_by_passkey(client, key, headers=headers)).status_code == 204


async def test_a58_key_of_another_site_signs_nobody_in(tmp_path: Path) -> None:
    async with victim(tmp_path) as (_helm, client, key, headers):
        key.credentials[0].site = key.site = "evil.example"
        assert (await sign_in_by_passkey(client, key)).status_code == 401
        assert (await register(client, Authenticator(site="evil.example"), headers=headers)).status_code == 400


async def test_a58_stolen_key_without_its_pin_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who has a security key in hand, and neither its PIN nor the right finger."""
    async with victim(tmp_path) as (_helm, client, key, headers):
        assert (await register(client, Authenticator(verifies_user=False), headers=headers)).status_code == 400
        key.verifies_user = False
        assert (await sign_in_by_passkey(client, key)).status_code == 401
        assert (await prove_by_passkey(client, key, headers=headers)).status_code == 401
        real = ceremonies.webauthn.verify_authentication_response
        monkeypatch.setattr(
            ceremonies.webauthn,
            "verify_authentication_response",
            lambda **said: real(**said | {"require_user_verification": False}),
        )
        assert (await sign_in_by_passkey(client, key)).status_code == 200


@pytest.mark.red_inside
async def test_a58_copy_of_a_key_is_noticed_refused_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with victim(tmp_path) as (helm, client, key, headers):
        copy = key.duplicate()
        for _ in range(2):
            assert (await sign_in_by_passkey(client, key)).status_code == 200
            client.cookies.clear()
        assert (await sign_in_by_passkey(client, copy)).status_code == 401
        rows = (await client.get("/api/v1/audit", params={"verb": "passkey_refused"}, headers=headers)).json()["items"]
        assert [(row["actor"], row["detail"]) for row in rows] == [("ada", "laptop: its counter went from 2 to 1")]
        (alert,) = (await helm.store.read(list_page, ALERTS, Query(filters={"kind": passkeys.ALERT}))).items
        assert (alert.noun, alert.evidence) == ("passkey", {"before": 2, "now": 1})
        with monkeypatch.context() as weak:
            weak.setattr(passkeys, "goes_back", lambda _before, _now: False)
            assert (await sign_in_by_passkey(client, copy)).status_code == 200


async def test_a58_key_that_does_not_count_is_taken_and_one_that_stops_counting_is_not(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm, asking(make_loopback_app(helm.context, HOSTS)) as client:
        headers = await sign_in(helm.context)
        synced, hardware = Authenticator(counts=False), Authenticator()
        for key in (synced, hardware):
            await register(client, key, headers=headers)
            for _ in range(2):
                assert (await sign_in_by_passkey(client, key)).status_code == 200
                client.cookies.clear()
        hardware.counts = False
        hardware.credentials[0].counter = 0
        assert (await sign_in_by_passkey(client, hardware)).status_code == 401


@pytest.mark.red_inside
async def test_a58_what_was_signed_once_signs_nobody_in_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who has read what a browser sent. The key does not count, so that the challenge alone stands there."""
    async with victim(tmp_path) as (_helm, client, key, _headers):
        key.counts = False
        options = (await client.post(f"{PASSKEYS}/sign-in/options", json={})).json()
        seen = {"credential": key.get(options)}
        assert (await client.post(f"{PASSKEYS}/sign-in", json=seen)).status_code == 200
        client.cookies.clear()
        assert (await client.post(f"{PASSKEYS}/sign-in", json=seen)).status_code == 401
        # Nor does one that helm never drew.
        made_up = {"credential": key.get(options | {"challenge": "A" * 43})}
        assert (await client.post(f"{PASSKEYS}/sign-in", json=made_up)).status_code == 401
        with monkeypatch.context() as weak:
            weak.setattr(passkeys.Passkeys, "_take", lambda *_args: "")
            assert (await client.post(f"{PASSKEYS}/sign-in", json=seen)).status_code == 200
