"""A login by device code waits for a person, asks as often as it may, and believes as little as any other."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import trio

from pharos.helm.accounts.oidc import devicecode, provider
from pharos.helm.accounts.oidc.answers import DeviceCode, RefusedError
from pharos.helm.accounts.oidc.devicecode import begin, next_interval, poll, read_grant
from pharos.helm.accounts.oidc.provider import Provider
from pharos.helm.errors import NotSignedInError, ProviderError
from pharos.helm.model.oidc import Client
from tests.support.oidcprovider import CLIENT, SLOW, answer, running_provider

ISSUER = "https://id.example"
ANSWER = DeviceCode(
    device_code="d", user_code="WDJB-MJHT", verification_uri=f"{ISSUER}/activate", expires_in=600, interval=5
)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The provider on loopback may be asked a hundred times a second."""
    monkeypatch.setattr(devicecode, "SHORTEST_INTERVAL", 0.01)


async def test_person_says_yes_on_another_device() -> None:
    async with running_provider(device_answers=["authorization_pending"] * 3) as there:
        one, client = Provider(there.issuer), Client(issuer=there.issuer, client_id=CLIENT)
        grant = await begin(one, client)
        assert (grant.user_code, grant.verification_uri) == ("WDJB-MJHT", f"{there.issuer}/activate")
        assert grant.verification_uri_complete.endswith("?user_code=WDJB-MJHT")
        assert "dddd" not in repr(grant)
        with trio.fail_after(10):
            claims = await poll(one, client, grant)
        assert (claims.subject, claims.groups) == ("248289761001", ("staff", "vpn"))
        assert there.asked.count("/token") == 4


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("access_denied", NotSignedInError),
        ("expired_token", NotSignedInError),
        ("invalid_client", RefusedError),
        ("x" * 1000, RefusedError),
    ],
    ids=["denied", "expired", "client", "odd"],
)
async def test_person_or_provider_says_no(code: str, kind: type[Exception]) -> None:
    async with running_provider(device_answers=["authorization_pending", code]) as there:
        one, client = Provider(there.issuer), Client(issuer=there.issuer, client_id=CLIENT)
        with trio.fail_after(10), pytest.raises(kind) as caught:
            await poll(one, client, await begin(one, client))
        assert len(str(caught.value)) < 200


async def test_code_that_nobody_confirms_ends() -> None:
    async with running_provider(device_answers=["authorization_pending"] * 1000) as there:
        one, client = Provider(there.issuer), Client(issuer=there.issuer, client_id=CLIENT)
        grant = attrs.evolve(await begin(one, client), expires_at=trio.current_time() + 0.1)
        with trio.fail_after(10), pytest.raises(NotSignedInError, match="nobody has confirmed"):
            await poll(one, client, grant)


async def test_wait_can_be_cancelled() -> None:
    async with running_provider(device_answers=["authorization_pending"] * 1000) as there:
        one, client = Provider(there.issuer), Client(issuer=there.issuer, client_id=CLIENT)
        grant = await begin(one, client)
        with trio.move_on_after(0.1) as scope:
            await poll(one, client, grant)
        assert scope.cancelled_caught


async def test_provider_that_is_away_for_a_while_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider, "TIMEOUT", 1.0)
    async with running_provider() as there:
        one, client = Provider(there.issuer), Client(issuer=there.issuer, client_id=CLIENT)
        grant = await begin(one, client)
        there.fault = lambda _path: answer({}, SLOW) if there.asked.count("/token") < 2 else None
        with trio.fail_after(10):
            assert (await poll(one, client, grant)).subject


@pytest.mark.parametrize("claims", [{"aud": "another"}, {"iss": "https://evil.example"}, {"exp": 1}], ids=str)
async def test_token_of_a_device_code_is_believed_no_more(claims: dict[str, Any]) -> None:
    async with running_provider(claims=claims) as there:
        one, client = Provider(there.issuer), Client(issuer=there.issuer, client_id=CLIENT)
        with trio.fail_after(10), pytest.raises(ProviderError, match="not to be believed"):
            await poll(one, client, await begin(one, client))


async def test_provider_without_device_code_says_so() -> None:
    async with running_provider(document={"device_authorization_endpoint": None}) as there:
        with pytest.raises(ProviderError, match="offers no login by device code"):
            await begin(Provider(there.issuer), Client(issuer=there.issuer, client_id=CLIENT))


async def test_client_that_the_provider_does_not_know_is_refused() -> None:
    async with running_provider() as there:
        with pytest.raises(RefusedError, match="invalid_client"):
            await begin(Provider(there.issuer), Client(issuer=there.issuer, client_id="stranger"))


@pytest.mark.parametrize(
    "changes",
    [
        {"verification_uri": "http://id.example/activate"},
        {"verification_uri": "javascript:alert(1)"},
        {"verification_uri": ""},
        {"verification_uri_complete": "https://user@evil.example"},
        {"user_code": ""},
        {"user_code": "a\nb"},
        {"user_code": "x" * 65},
        {"device_code": ""},
    ],
    ids=str,
)
def test_code_that_cannot_be_shown_to_a_person_is_refused(changes: dict[str, str]) -> None:
    fields = {name: getattr(ANSWER, name) for name in ANSWER.__struct_fields__}
    with pytest.raises(ProviderError, match="cannot be used"):
        read_grant(DeviceCode(**fields | changes), ISSUER, now=0.0)


def test_provider_may_ask_for_patience_within_bounds() -> None:
    assert next_interval(5.0, RefusedError(ISSUER, "authorization_pending")) == 5.0
    assert next_interval(5.0, RefusedError(ISSUER, "slow_down")) == 10.0
    assert next_interval(59.0, RefusedError(ISSUER, "slow_down")) == 60.0
    fields = {name: getattr(ANSWER, name) for name in ANSWER.__struct_fields__}
    grant = read_grant(DeviceCode(**fields | {"interval": 10**9, "expires_in": 10**9}), ISSUER, now=100.0)
    assert (grant.interval, grant.expires_at) == (60.0, 700.0)
    assert read_grant(DeviceCode(**fields | {"expires_in": -1}), ISSUER, now=100.0).expires_at == 100.0
