"""A login passage at helm's edge: what it takes to become somebody's device, and how long one may try."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import argon2
import attrs
import pytest
import trio
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from pharos.caravel.enrolment import make_claim
from pharos.caravel.profiles.store import generate_secrets
from pharos.helm.accounts import hashing, login, oidclogin, throttle, waiting
from pharos.helm.accounts.confirm import note_confirmed
from pharos.helm.accounts.login import BEGINS, NOT_CONFIRMED, TRIES
from pharos.helm.accounts.oidc import devicecode
from pharos.helm.accounts.oidclogin import NOT_OFFERED
from pharos.helm.accounts.passphrases import REFUSED, PassphraseDoor
from pharos.helm.accounts.throttle import Throttle
from pharos.helm.accounts.users import add_user, change_user
from pharos.helm.anomalies.tries import Door
from pharos.helm.ca import passwords
from pharos.helm.errors import NotSignedInError, TooManyTriesError
from pharos.helm.model.users import User, UserState
from pharos.helm.relay import edge as edges
from pharos.helm.store.credentials import find_by_email, put_passphrase
from pharos.helm.store.devices import list_devices
from pharos.helm.store.settings import put_setting
from pharos.wire.errors import LinkLostError
from pharos.wire.gen.pharos.account.v1 import account_grpc
from pharos.wire.gen.pharos.account.v1 import account_pb2 as pb
from pharos.wire.passage.client import Passage
from pharos.wire.passage.metadata import Purpose
from tests.helm.relay.test_edge import Scene, edge, refused_with
from tests.support.helm import sample_act
from tests.support.oidcprovider import CLIENT, OidcProvider, running_provider

EMAIL = "ada@example.org"
PASSPHRASE = "correct horse battery staple"


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "_HASHER", argon2.PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
    monkeypatch.setattr(login, "FAILURE_PAUSE", 0.0)


@attrs.frozen
class Guest:
    """Somebody in a login passage."""

    scene: Scene
    passage: Passage
    stub: account_grpc.LoginStub

    async def begin(self, method: Any = pb.LOGIN_METHOD_PASSPHRASE, email: str = EMAIL) -> pb.LoginReply:
        return await self.stub.Begin(pb.LoginRequest(method=method, email=email, device_name="laptop"))

    async def say(self, passphrase: str = PASSPHRASE) -> pb.Granted:
        return await self.stub.Passphrase(pb.PassphraseRequest(passphrase=passphrase))

    async def claim(self) -> pb.ClaimReply:
        challenge = await self.stub.Challenge(pb.ChallengeRequest())
        return await self.stub.Claim(
            make_claim(generate_secrets(), ephemeral=challenge.ephemeral, handshake_hash=self.passage.handshake_hash)
        )


async def add_ada(scene: Scene) -> User:
    user = await scene.helm.store.run(add_user, sample_act(), {"name": "ada", "email": EMAIL})
    return await scene.helm.store.run(put_passphrase, sample_act(), user.id, passwords.hash_password(PASSPHRASE))


@asynccontextmanager
async def guest(scene: Scene) -> AsyncIterator[Guest]:
    async with scene.passage(Purpose.LOGIN) as (passage, inner):
        yield Guest(scene, passage, account_grpc.LoginStub(inner))


async def test_grant_makes_one_device_and_then_no_other(tmp_path: Path) -> None:
    async with edge(tmp_path) as scene:
        user = await add_ada(scene)
        async with guest(scene) as ada:
            await refused_with(Status.FAILED_PRECONDITION, ada.say)
            await refused_with(Status.UNAUTHENTICATED, ada.claim)
            await ada.begin()
            assert (await ada.say()).user_name == "ada"
            reply = await ada.claim()
            assert "log in first" in await refused_with(Status.UNAUTHENTICATED, ada.claim)
        (device,) = await scene.helm.store.read(list_devices)
        assert (device.id, device.user_id, device.name) == (reply.device_id, user.id, "laptop")


async def test_grant_is_good_for_a_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login, "GRANT_TIME", -1.0)
    async with edge(tmp_path) as scene:
        await add_ada(scene)
        async with guest(scene) as ada:
            await ada.begin()
            await ada.say()
            await refused_with(Status.UNAUTHENTICATED, ada.claim)


async def test_who_is_disabled_after_the_grant_gets_nothing(tmp_path: Path) -> None:
    async with edge(tmp_path) as scene:
        user = await add_ada(scene)
        async with guest(scene) as ada:
            await ada.begin()
            await ada.say()
            disabled = {"state": UserState.DISABLED}
            await scene.helm.store.run(change_user, sample_act(), user.id, user.version, disabled)
            assert "ada is disabled" in await refused_with(Status.PERMISSION_DENIED, ada.claim)
        assert await scene.helm.store.read(list_devices) == []


async def test_wrong_tries_slow_the_name_down_whoever_it_is(tmp_path: Path) -> None:
    """Row 50; the right passphrase waits as the wrong ones do."""
    async with edge(tmp_path) as scene:
        await add_ada(scene)
        for email in (EMAIL, "nobody@example.org"):
            async with guest(scene) as ada:
                await ada.begin(email=email)
                for _ in range(throttle.FREE_TRIES):
                    assert await refused_with(Status.UNAUTHENTICATED, lambda: ada.say("wrong horse")) == REFUSED
                assert "wait 1 s" in await refused_with(Status.RESOURCE_EXHAUSTED, ada.say)
        known = scene.helm.context.tries._known
        assert (Door.LOGIN, "ada") in known
        assert not any("nobody@" in name for _, name in known), "what was typed may be a passphrase"


async def test_wrong_passphrase_is_paused_after_whoever_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login, "FAILURE_PAUSE", 0.3)
    async with edge(tmp_path) as scene:
        await add_ada(scene)
        async with guest(scene) as ada:
            for email in (EMAIL, "nobody@example.org"):
                await ada.begin(email=email)
                began = trio.current_time()
                await refused_with(Status.UNAUTHENTICATED, lambda: ada.say("wrong horse"))
                assert trio.current_time() - began >= 0.3
            await ada.begin()
            assert (await ada.say()).user_name == "ada"


async def test_who_makes_names_up_keeps_nobody_out_and_who_tries_real_ones_has_ten_a_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 50, at the relays: anybody on the Internet may knock here."""
    async with edge(tmp_path) as scene:
        await add_ada(scene)
        store, door = scene.helm.store, PassphraseDoor(scene.helm.context)

        async def knock(email: str) -> str:
            try:
                await door.check(email, "wrong horse", at="gate")
            except (NotSignedInError, TooManyTriesError) as error:
                return str(error)
            return "in"

        assert {await knock(f"nobody{n}@example.org") for n in range(3 * throttle.ALL_BURST)} == {REFUSED}
        assert (await door.check(EMAIL, PASSPHRASE, at="gate")).name == "ada"
        for number in range(throttle.ALL_BURST + 1):
            user = await store.run(add_user, sample_act(), {"name": f"u{number}", "email": f"u{number}@example.org"})
            await store.run(put_passphrase, sample_act(), user.id, passwords.hash_password(PASSPHRASE))
        said = [await knock(f"u{number}@example.org") for number in range(throttle.ALL_BURST + 1)]
        assert said[:-1] == [REFUSED] * throttle.ALL_BURST
        # Whether there is somebody of that name or not.
        assert {said[-1], await knock("nobody@example.org"), await knock(EMAIL)} == {said[-1]}
        assert "wait" in said[-1]

        # Weakened: made-up names count as real ones.
        real = Throttle.check
        monkeypatch.setattr(Throttle, "check", lambda self, name, now, **_: real(self, name, now))
        door = PassphraseDoor(scene.helm.context)
        for number in range(throttle.ALL_BURST):
            await knock(f"nobody{number}@example.org")
        with pytest.raises(TooManyTriesError):
            await door.check(EMAIL, PASSPHRASE, at="gate")


async def test_passage_has_so_many_tries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "FREE_TRIES", 100)
    async with edge(tmp_path) as scene:
        await add_ada(scene)
        async with guest(scene) as ada:
            await ada.begin()
            for _ in range(TRIES):
                await refused_with(Status.UNAUTHENTICATED, lambda: ada.say("wrong horse"))
            assert "too many" in await refused_with(Status.PERMISSION_DENIED, ada.say)
            for _ in range(BEGINS - 1):
                await ada.begin()
            assert "too many" in await refused_with(Status.PERMISSION_DENIED, ada.begin)


async def test_while_too_many_hash_one_is_told_to_come_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "AT_ONCE", 0)
    monkeypatch.setattr(hashing, "STRANGERS", 0)
    async with edge(tmp_path) as scene:
        await add_ada(scene)
        async with guest(scene) as ada:
            await ada.begin()
            assert "too many people" in await refused_with(Status.RESOURCE_EXHAUSTED, ada.say)


async def test_code_waits_for_somebody_and_not_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with edge(tmp_path) as scene:
        await add_ada(scene)
        logins = scene.helm.context.logins
        async with guest(scene) as ada:
            await refused_with(Status.FAILED_PRECONDITION, lambda: ada.stub.Code(pb.CodeRequest()))
            begun = await ada.begin(pb.LOGIN_METHOD_CODE)
            found = logins.find(begun.code)
            assert (found.user_name, found.device_name, begun.seconds) == ("ada", "laptop", int(waiting.LIFETIME))
            again = await ada.begin(pb.LOGIN_METHOD_CODE)
            assert again.code != begun.code
            with logins.confirming(logins.find(again.code), "grace"):
                await scene.helm.store.run(note_confirmed, sample_act(), found)
            assert (await ada.stub.Code(pb.CodeRequest())).user_name == "ada"
            await ada.claim()

            monkeypatch.setattr(login, "LIFETIME", 0.05)
            for email in (EMAIL, "nobody@example.org"):
                await ada.begin(pb.LOGIN_METHOD_CODE, email)
                assert await refused_with(Status.ABORTED, lambda: ada.stub.Code(pb.CodeRequest())) == NOT_CONFIRMED
            await refused_with(Status.UNAUTHENTICATED, ada.claim)
        assert not logins._waiting


async def test_beacon_has_so_many_login_passages_and_each_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 26, at helm: whatever a beacon lets through."""
    monkeypatch.setattr(waiting, "PER_BEACON", 1)
    async with edge(tmp_path) as scene:
        async with guest(scene) as first:
            await first.begin()
            with pytest.raises((GRPCError, LinkLostError)):
                async with guest(scene) as second:
                    await second.begin()
        monkeypatch.setattr(edges, "LOGIN_TIME", 0.1)
        async with guest(scene) as first:
            await first.begin()
            with trio.fail_after(5):
                await first.passage.wait_ended()


@asynccontextmanager
async def with_provider(scene: Scene, **facts: Any) -> AsyncIterator[OidcProvider]:
    async with running_provider(**facts) as provider:
        for name, value in (("issuer", provider.issuer), ("client_id", CLIENT), ("users", True)):
            await scene.helm.store.run(put_setting, sample_act(), f"oidc.{name}", 0, value)
        yield provider


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The provider on loopback may be asked a hundred times a second."""
    monkeypatch.setattr(devicecode, "SHORTEST_INTERVAL", 0.01)


@pytest.mark.usefixtures("impatient")
async def test_provider_says_who_it_is(tmp_path: Path) -> None:
    async with edge(tmp_path) as scene, guest(scene) as ada:
        assert await refused_with(Status.PERMISSION_DENIED, lambda: ada.begin(pb.LOGIN_METHOD_OIDC)) == NOT_OFFERED
        await add_ada(scene)
        async with with_provider(scene, device_answers=["authorization_pending"]) as provider:
            begun = await ada.begin(pb.LOGIN_METHOD_OIDC, "")
            assert (begun.code, begun.verification_uri) == ("WDJB-MJHT", f"{provider.issuer}/activate")
            assert 0 < begun.seconds <= 600
            assert (await ada.stub.Code(pb.CodeRequest())).user_name == "ada"
            await ada.claim()
            refusals: dict[str, dict[str, Any]] = {
                "no mail address": {"email_verified": False},
                "nobody in this fleet": {"email": "eve@example.org"},
            }
            for said, claims in refusals.items():
                provider.claims = claims
                await ada.begin(pb.LOGIN_METHOD_OIDC, "")
                assert said in await refused_with(Status.PERMISSION_DENIED, lambda: ada.stub.Code(pb.CodeRequest()))
                await refused_with(Status.UNAUTHENTICATED, ada.claim)
            provider.device_answers = ["access_denied"]
            await ada.begin(pb.LOGIN_METHOD_OIDC, "")
            assert "refused at the provider" in await refused_with(
                Status.PERMISSION_DENIED, lambda: ada.stub.Code(pb.CodeRequest())
            )
            await scene.helm.store.run(put_setting, sample_act(), "oidc.users", 1, value=False)
            await refused_with(Status.PERMISSION_DENIED, lambda: ada.begin(pb.LOGIN_METHOD_OIDC))


async def test_strangers_do_not_make_helm_ask_the_provider_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oidclogin, "BURST", 2)
    async with edge(tmp_path) as scene, with_provider(scene) as provider, guest(scene) as eve:
        for _ in range(2):
            await eve.begin(pb.LOGIN_METHOD_OIDC)
        await refused_with(Status.RESOURCE_EXHAUSTED, lambda: eve.begin(pb.LOGIN_METHOD_OIDC))
        assert provider.asked.count("/device") == 2


async def test_address_is_somebodys_in_any_capitals_unless_two_have_it(tmp_path: Path) -> None:
    async with edge(tmp_path) as scene:
        store = scene.helm.store
        ada = await add_ada(scene)
        assert (await store.read(find_by_email, "ADA@Example.org")) == ada
        other = await store.run(add_user, sample_act(), {"name": "other", "email": "ADA@example.org"})
        assert (await store.read(find_by_email, "ADA@example.org")) == other
        assert (await store.read(find_by_email, EMAIL)) == ada
        assert await store.read(find_by_email, "Ada@example.org") is None
