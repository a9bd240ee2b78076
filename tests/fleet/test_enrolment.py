"""A device joins through a beacon, once, with its own keys."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
import trio

from pharos.caravel.enrolment import enroll
from pharos.caravel.errors import AlreadyEnrolledError, HelmRefusedError, NoAnswerError
from pharos.caravel.profiles.store import ProfileStore, generate_secrets
from pharos.wire.errors import PeerRejectedError
from tests.support.fleet import running_fleet


async def test_device_enrols_through_the_beacon_and_gets_its_profile(tmp_path: Path) -> None:
    async with running_fleet(tmp_path) as fleet:
        enrolled = await fleet.enrol()
        async with fleet.client() as client:
            profile = client.profile()
        assert profile.device_id == enrolled.device_id
        assert [node.name for node in profile.nodes] == ["a"]
        picture = await fleet.ask("GET", "/api/v1/status")
        assert [(device["id"], device["name"], device["state"]) for device in picture["devices"]] == [
            (enrolled.device_id, "laptop", "active")
        ]


async def test_ticket_is_good_for_one_device_only(tmp_path: Path) -> None:
    async with running_fleet(tmp_path) as fleet:
        ticket = await fleet.invite()
        await enroll(fleet.device_store("first"), ticket)
        with pytest.raises(HelmRefusedError, match="used up"):
            await enroll(fleet.device_store("second"), ticket)
        picture = await fleet.ask("GET", "/api/v1/status")
        assert len(picture["devices"]) == 1


async def test_claim_with_the_same_keys_may_be_repeated(tmp_path: Path) -> None:
    async with running_fleet(tmp_path) as fleet:
        ticket = await fleet.invite()
        first = fleet.device_store("first")
        enrolled = await enroll(first, ticket)
        # The reply was lost: the device has its keys and nothing else.
        again = fleet.device_store("again")
        again.save_secrets(enrolled.secrets)
        assert (await enroll(again, ticket)).certificate == enrolled.certificate


async def test_many_racing_claims_of_one_ticket_make_one_device(tmp_path: Path) -> None:
    async with running_fleet(tmp_path) as fleet:
        ticket = await fleet.invite()
        outcomes: list[str] = []

        async def claim(number: int) -> None:
            try:
                await enroll(fleet.device_store(f"racer{number}"), ticket)
            except HelmRefusedError:
                outcomes.append("refused")
            else:
                outcomes.append("enrolled")

        async with trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(claim, number)
        assert sorted(outcomes) == ["enrolled"] + ["refused"] * 7


async def test_wrong_secret_and_unknown_ticket_fail_alike(tmp_path: Path) -> None:
    async with running_fleet(tmp_path) as fleet:
        ticket = await fleet.invite()
        wrong = attrs.evolve(ticket, secret=bytes(16))
        unknown = attrs.evolve(ticket, ticket_id=bytes(8))
        messages = []
        for bad in (wrong, unknown):
            with pytest.raises(HelmRefusedError) as caught:
                await enroll(fleet.device_store("thief"), bad)
            messages.append(str(caught.value))
        assert messages[0] == messages[1]
        # Wrong tries never burn a ticket.
        await enroll(fleet.device_store("owner"), ticket)


async def test_public_key_of_another_device_cannot_be_enrolled(tmp_path: Path) -> None:
    async with running_fleet(tmp_path) as fleet:
        victim = await fleet.enrol("victim")
        # Even who holds the private key, say from a stolen backup, cannot make a second device of it.
        store = fleet.device_store("thief")
        store.save_secrets(attrs.evolve(generate_secrets(), awg=victim.secrets.awg))
        with pytest.raises(HelmRefusedError, match="belongs to another device"):
            await enroll(store, await fleet.invite("thief"))


async def test_beacon_of_another_fleet_is_refused_before_a_byte_is_sent(tmp_path: Path) -> None:
    async with running_fleet(tmp_path / "one") as one, running_fleet(tmp_path / "two", buoys=()) as two:
        ticket = await one.invite()
        foreign = attrs.evolve(ticket, beacons=(await two.invite()).beacons)
        with pytest.raises(PeerRejectedError):
            await enroll(one.device_store("laptop"), foreign)


async def test_second_fleet_never_replaces_the_first(tmp_path: Path) -> None:
    async with running_fleet(tmp_path) as fleet:
        before = await fleet.enrol()
        with pytest.raises(AlreadyEnrolledError):
            await enroll(fleet.device_store("laptop"), await fleet.invite())
        assert fleet.device_store("laptop").enrolled().certificate == before.certificate


async def test_enrolment_without_helm_says_so_and_the_ticket_stays_good(tmp_path: Path) -> None:
    async with running_fleet(tmp_path) as fleet:
        ticket = await fleet.invite()
        await fleet.helm.stop()
        store = ProfileStore(tmp_path / "device")
        with pytest.raises(NoAnswerError, match="not connected"):
            await enroll(store, ticket)
        await fleet.helm.start()
        await fleet.wait_settled(peers=0)
        await enroll(store, ticket)
