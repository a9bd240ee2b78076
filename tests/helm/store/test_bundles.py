"""One newest bundle a device, as ciphertext."""

from __future__ import annotations

import attrs

from pharos.helm.store.bundles import Bundle, find_bundle, note_held, put_bundle, put_checked
from pharos.wire.ids import DeviceId
from tests.support.helm import enrol_sample_device, fleet_in_memory

BUNDLE = Bundle(epoch=1, revision=1, profile_hash=b"H" * 32, sealed=b"ciphertext")


def test_newer_bundle_replaces_the_older() -> None:
    with fleet_in_memory() as (db, _):
        device = enrol_sample_device(db, 1)
        assert find_bundle(db, device.id) is None
        put_bundle(db, device.id, BUNDLE)
        newer = Bundle(epoch=1, revision=2, profile_hash=b"I" * 32, sealed=b"other")
        put_bundle(db, device.id, newer)
        assert find_bundle(db, device.id) == newer
        assert find_bundle(db, DeviceId("another")) is None
        assert db.execute("SELECT count(*) FROM bundles").fetchone()[0] == 1


def test_ciphertext_does_not_print() -> None:
    assert "ciphertext" not in repr(BUNDLE)


def test_first_bundle_that_a_device_holds_is_told_once() -> None:
    with fleet_in_memory() as (db, _):
        device = enrol_sample_device(db, 1).id
        assert not note_held(db, device, epoch=1, revision=1, at=5), "it was given none"
        put_bundle(db, device, BUNDLE)
        assert not note_held(db, device, epoch=0, revision=0, at=6), "it holds none"
        assert note_held(db, device, epoch=1, revision=1, at=7)
        assert not note_held(db, device, epoch=1, revision=1, at=8)
        put_bundle(db, device, attrs.evolve(BUNDLE, revision=2))
        assert not note_held(db, device, epoch=1, revision=2, at=9)


def test_device_is_behind_since_the_first_bundle_that_it_has_not_fetched() -> None:
    def behind() -> int | None:
        found: int | None = db.execute("SELECT behind_at FROM bundles").fetchone()[0]
        return found

    with fleet_in_memory() as (db, _):
        device = enrol_sample_device(db, 1).id
        put_bundle(db, device, attrs.evolve(BUNDLE, sealed_at=10))
        assert behind() == 10
        note_held(db, device, epoch=1, revision=1, at=15)
        assert behind() is None
        second, third = (attrs.evolve(BUNDLE, revision=number, sealed_at=number * 10) for number in (2, 3))
        put_bundle(db, device, second)
        put_checked(db, [(device, second, third)], checked=9)
        assert behind() == 20
        # What it fetched meanwhile is not the newest.
        note_held(db, device, epoch=1, revision=2, at=35)
        assert behind() == 20
        note_held(db, device, epoch=1, revision=3, at=40)
        assert behind() is None
