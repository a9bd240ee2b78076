"""A device takes a bundle that is its own, the fleet's and not older than what it holds; nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import pytest

from pharos.caravel.profiles.store import ProfileStore
from pharos.helm.ca.authority import load_authority
from pharos.helm.ca.vault import open_vault
from pharos.helm.profiles.seal import current_bundle
from pharos.helm.store.bundles import Bundle, put_bundle
from pharos.helm.store.database import Database, open_store
from pharos.helm.store.devices import list_devices
from pharos.wire.errors import BundleError, BundleNotForUsError, BundleRollbackError, StateFileError
from pharos.wire.ids import DeviceId
from tests.support.fleet import Fleet, running_fleet
from tests.support.pki import utc_now


async def stored_bundle(fleet: Fleet, name: str) -> tuple[DeviceId, Bundle]:
    """Read helm's record beside the running helm."""

    def read(db: Database) -> tuple[DeviceId, Bundle]:
        (device,) = [device for device in list_devices(db) if device.name == name]
        authority = load_authority(db, open_vault(fleet.helm_state), now=utc_now())
        return device.id, current_bundle(db, authority, device, at=0)

    with open_store(fleet.helm_state) as store:
        return await store.run(read)


async def plant(fleet: Fleet, device_id: DeviceId, bundle: Bundle) -> None:
    with open_store(fleet.helm_state) as store:
        await store.run(put_bundle, device_id, bundle)


async def test_sync_brings_a_new_node_to_the_device(tmp_path: Path) -> None:
    async with running_fleet(tmp_path) as fleet:
        await fleet.enrol()
        async with fleet.client() as client:
            assert not (await client.sync()).changed
            await fleet.add_buoy("b")
            outcome = await client.sync()
            assert outcome.changed
            assert outcome.revision == 2
            assert [node.name for node in client.profile().nodes] == ["a", "b"]


async def test_whoever_invited_a_device_sees_that_its_profile_has_arrived(tmp_path: Path) -> None:
    async with running_fleet(tmp_path) as fleet:
        enrolled = await fleet.enrol()
        (ticket,) = (await fleet.ask("GET", "/api/v1/tickets"))["items"]
        assert (ticket["state"], ticket["device_id"]) == ("used", enrolled.device_id)
        shown = await fleet.ask("GET", f"/api/v1/devices/{enrolled.device_id}")
        assert shown["safety_words"] == enrolled.words
        async with fleet.client() as client:
            await client.sync()
            await client.sync()
        events = (await fleet.ask("GET", "/api/v1/status"))["events"]
        assert [one["device"] for one in events if one["kind"] == "profile_delivered"] == [enrolled.device_id]


async def test_bundle_of_another_device_is_refused(tmp_path: Path) -> None:
    async with running_fleet(tmp_path) as fleet:
        await fleet.enrol("laptop")
        await fleet.enrol("phone")
        laptop_id, laptops = await stored_bundle(fleet, "laptop")
        _, phones = await stored_bundle(fleet, "phone")
        # A newer revision number around the wrong ciphertext, so that it is sent at all.
        await plant(fleet, laptop_id, attrs.evolve(laptops, revision=laptops.revision + 1, sealed=phones.sealed))
        async with fleet.client("laptop") as client:
            before = client.profile()
            with pytest.raises(BundleNotForUsError):
                await client.sync()
            assert client.profile() == before


async def test_older_bundle_is_refused_and_the_newer_one_stays(tmp_path: Path) -> None:
    async with running_fleet(tmp_path) as fleet:
        await fleet.enrol()
        device_id, old = await stored_bundle(fleet, "laptop")
        async with fleet.client() as client:
            await fleet.add_buoy("b")
            # What helm learns of the node later would have it seal the profile anew, over the planted one.
            await fleet.wait_settled(peers=1)
            await fleet.wait_reality()
            await client.sync()
            newer = client.profile()
            _, current = await stored_bundle(fleet, "laptop")
            await plant(fleet, device_id, attrs.evolve(current, revision=old.revision, sealed=old.sealed))
            with pytest.raises(BundleRollbackError):
                await client.sync()
            assert client.profile() == newer


async def test_old_bundle_under_a_new_number_is_refused(tmp_path: Path) -> None:
    async with running_fleet(tmp_path) as fleet:
        await fleet.enrol()
        device_id, old = await stored_bundle(fleet, "laptop")
        await plant(fleet, device_id, attrs.evolve(old, revision=old.revision + 7))
        async with fleet.client() as client:
            with pytest.raises(BundleRollbackError):
                await client.sync()


async def test_helm_holds_no_private_key_of_the_device(tmp_path: Path) -> None:
    async with running_fleet(tmp_path) as fleet:
        enrolled = await fleet.enrol()
        secrets = enrolled.secrets
        canaries = [pair.private_bytes() for pair in (secrets.sealing, secrets.derive, secrets.noise, secrets.awg)]
        for path in fleet.helm_state.iterdir():
            if path.is_file():
                content = path.read_bytes()
                assert not any(canary in content or canary.hex().encode() in content for canary in canaries), path


@pytest.mark.parametrize("name", ["device.json", "bundle.json"])
async def test_damaged_store_is_refused_and_left_as_it_is(tmp_path: Path, name: str) -> None:
    async with running_fleet(tmp_path) as fleet:
        await fleet.enrol()
    path = tmp_path / "device-laptop" / name
    document = json.loads(path.read_text())
    document["sha256"] = "0" * 64
    path.write_text(json.dumps(document))
    before = path.read_bytes()
    with pytest.raises((StateFileError, BundleError), match=name):
        ProfileStore(tmp_path / "device-laptop").profile(utc_now())
    assert path.read_bytes() == before
