"""One newest bundle a device, as ciphertext."""

from __future__ import annotations

from pharos.helm.store.bundles import Bundle, find_bundle, put_bundle
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
