"""A device's bundle is sealed anew when its profile has changed, and only then; helm cannot open it."""

from __future__ import annotations

import pytest

from pharos.helm.ca.authority import Authority
from pharos.helm.model.devices import Device
from pharos.helm.profiles.build import build_profile
from pharos.helm.profiles.seal import current_bundle
from pharos.helm.store.bundles import Bundle
from pharos.helm.store.database import Database
from pharos.helm.store.devices import get_device
from pharos.helm.store.fleet import get_fleet, next_revision
from pharos.helm.store.nodes import list_nodes
from pharos.helm.store.relays import list_relays
from pharos.wire.errors import BundleNotForUsError, BundleSignatureError
from pharos.wire.noise.keys import KeyPair
from pharos.wire.profile import Profile, parse_profile
from pharos.wire.seal.envelope import open_bundle
from tests.support.helm import adopt_sample_node, adopt_sample_relay, enrol_sample_device, fleet_in_memory

AT = 1_800_000_000_000_000


def enrolled(db: Database, number: int = 1) -> tuple[Device, KeyPair]:
    """A device whose sealing key is real."""
    device, sealing = enrol_sample_device(db, number), KeyPair.generate()
    db.execute("UPDATE devices SET sealing_key = ? WHERE id = ?", (sealing.public, device.id))
    return get_device(db, device.id), sealing


def opened(bundle: Bundle, authority: Authority, device: Device, sealing: KeyPair) -> Profile:
    inside = open_bundle(
        bundle.sealed,
        fleet=authority.trust.fleet,
        device=device.id,
        sealing_key=sealing,
        signing_keys=[bytes(authority.signing.verify_key)],
    )
    assert (inside.header.epoch, inside.header.revision) == (bundle.epoch, bundle.revision)
    assert inside.header.manifest_version == authority.manifest_version
    return parse_profile(inside.profile)


def test_device_opens_what_the_record_says_of_it() -> None:
    with fleet_in_memory() as (db, authority):
        adopt_sample_node(db, authority)
        adopt_sample_relay(db, authority)
        device, sealing = enrolled(db)
        bundle = current_bundle(db, authority, device, at=AT)
        assert opened(bundle, authority, device, sealing) == build_profile(
            get_fleet(db), device, list_nodes(db), list_relays(db)
        )


def test_unchanged_profile_is_not_sealed_again() -> None:
    with fleet_in_memory() as (db, authority):
        device, _ = enrolled(db)
        first = current_bundle(db, authority, device, at=AT)
        # Another device, or another time, is nothing to this one.
        enrolled(db, 2)
        next_revision(db)
        assert current_bundle(db, authority, device, at=AT + 60_000_000) == first


def test_each_change_of_the_profile_is_one_revision_more() -> None:
    with fleet_in_memory() as (db, authority):
        device, sealing = enrolled(db)
        revisions = [current_bundle(db, authority, device, at=AT).revision]
        for name in ("a", "b"):
            adopt_sample_node(db, authority, name)
            bundle = current_bundle(db, authority, device, at=AT)
            revisions.append(bundle.revision)
            assert [node.name for node in opened(bundle, authority, device, sealing).nodes][-1] == name
        assert revisions == [1, 2, 3]


def test_restored_fleet_seals_anew_under_its_new_epoch() -> None:
    """So that no (epoch, revision) is ever issued twice, whatever the backup had forgotten."""
    with fleet_in_memory() as (db, authority):
        device, _ = enrolled(db)
        first = current_bundle(db, authority, device, at=AT)
        db.execute("UPDATE fleet SET epoch = epoch + 1")
        second = current_bundle(db, authority, device, at=AT)
        assert (second.epoch, second.revision) == (first.epoch + 1, 1)
        assert second.sealed != first.sealed


def test_bundle_opens_for_its_own_device_and_fleet_only() -> None:
    with fleet_in_memory() as (db, authority), fleet_in_memory(1) as (_, stranger):
        device, sealing = enrolled(db, 1)
        other, other_sealing = enrolled(db, 2)
        bundle = current_bundle(db, authority, device, at=AT)
        with pytest.raises(BundleNotForUsError):
            opened(bundle, authority, other, other_sealing)
        with pytest.raises(BundleNotForUsError):
            opened(bundle, authority, device, other_sealing)
        with pytest.raises(BundleSignatureError):
            open_bundle(
                bundle.sealed,
                fleet=authority.trust.fleet,
                device=device.id,
                sealing_key=sealing,
                signing_keys=[bytes(stranger.signing.verify_key)],
            )


def test_nothing_of_the_profile_lies_in_the_clear() -> None:
    with fleet_in_memory() as (db, authority):
        node, _ = adopt_sample_node(db, authority, "a-name-to-be-found")
        device, _ = enrolled(db)
        bundle = current_bundle(db, authority, device, at=AT)
        for text in (node.name, node.id, node.address, device.address4):
            assert text.encode() not in bundle.sealed


def test_devices_of_one_fleet_get_bundles_of_one_size() -> None:
    """Who carries them learns no number of nodes from it (row 23)."""
    with fleet_in_memory() as (db, authority):
        sizes = set()
        for number in range(3):
            device, _ = enrolled(db, number)
            sizes.add(len(current_bundle(db, authority, device, at=AT).sealed))
            adopt_sample_node(db, authority, f"node-{number}")
        assert len(sizes) == 1
