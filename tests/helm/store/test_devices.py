"""Rows of devices: keys are unique over all that ever were, names are not, changes need the version that was read."""

from __future__ import annotations

import attrs
import pytest

from pharos.helm.errors import ConflictError, NotFoundError
from pharos.helm.model.devices import DeviceState
from pharos.helm.store.devices import (
    add_certificate,
    add_device,
    certificate_of,
    find_by_noise_key,
    fingerprints_of,
    get_device,
    list_devices,
    resolve_device,
    set_device_state,
)
from pharos.wire.ids import DeviceId
from tests.support.helm import enrol_sample_device, fleet_in_memory, sample_keys


def test_device_is_read_as_it_was_written() -> None:
    with fleet_in_memory() as (db, _):
        device = enrol_sample_device(db, 1, "Ada's phone")
        assert get_device(db, device.id) == device
        assert find_by_noise_key(db, device.keys.noise) == device
        assert find_by_noise_key(db, bytes(32)) is None
        with pytest.raises(NotFoundError, match="'nobody'"):
            get_device(db, DeviceId("nobody"))


def test_devices_are_listed_oldest_first() -> None:
    with fleet_in_memory() as (db, _):
        for number in (2, 3, 1):
            enrol_sample_device(db, number)
        assert [device.id[-1] for device in list_devices(db)] == ["1", "2", "3"]


@pytest.mark.parametrize("name", ["sealing", "derive", "noise", "awg"])
@pytest.mark.parametrize("state", DeviceState)
def test_public_key_of_another_device_live_or_revoked_is_refused(name: str, state: DeviceState) -> None:
    with fleet_in_memory() as (db, _):
        first = enrol_sample_device(db, 1)
        set_device_state(db, first, state, at=1, actor="a")
        taken = attrs.evolve(sample_keys(2), **{name: getattr(first.keys, name)})
        thief = attrs.evolve(first, id=DeviceId("thief"), keys=taken, address4="10.86.0.99", address6="fd00::99")
        with pytest.raises(ConflictError, match="belongs to another device"):
            add_device(db, thief, actor="a")


def test_device_is_resolved_by_id_or_by_its_only_active_name() -> None:
    with fleet_in_memory() as (db, _):
        phone, laptop = enrol_sample_device(db, 1, "phone"), enrol_sample_device(db, 2, "laptop")
        assert resolve_device(db, "phone") == phone
        assert resolve_device(db, laptop.id) == laptop
        with pytest.raises(NotFoundError, match="'tablet'"):
            resolve_device(db, "tablet")


def test_ambiguous_name_is_refused_with_the_ids() -> None:
    with fleet_in_memory() as (db, _):
        first, second = enrol_sample_device(db, 1, "phone"), enrol_sample_device(db, 2, "phone")
        with pytest.raises(ConflictError, match=f"2 devices: {first.id}, {second.id}"):
            resolve_device(db, "phone")
        set_device_state(db, first, DeviceState.REVOKED, at=1, actor="a")
        assert resolve_device(db, "phone") == second
        # A revoked device is still found by its id.
        assert resolve_device(db, first.id).state is DeviceState.REVOKED


def test_device_named_like_another_ones_id_does_not_shadow_it() -> None:
    with fleet_in_memory() as (db, _):
        first = enrol_sample_device(db, 1, "phone")
        enrol_sample_device(db, 2, first.id)
        assert resolve_device(db, first.id) == first


def test_change_of_a_record_that_has_moved_on_is_refused() -> None:
    with fleet_in_memory() as (db, _):
        device = enrol_sample_device(db, 1)
        set_device_state(db, device, DeviceState.REVOKED, at=5, actor="a")
        assert get_device(db, device.id).version == device.version + 1
        with pytest.raises(ConflictError, match="has changed"):
            set_device_state(db, device, DeviceState.ACTIVE, at=6, actor="b")
        assert get_device(db, device.id).state is DeviceState.REVOKED


def test_certificates_are_bound_to_one_device() -> None:
    with fleet_in_memory() as (db, _):
        one, two = enrol_sample_device(db, 1), enrol_sample_device(db, 2)
        add_certificate(db, one.id, fingerprint="a" * 64, spki=b"1", certificate=b"older", not_after=1)
        add_certificate(db, one.id, fingerprint="b" * 64, spki=b"2", certificate=b"newer", not_after=2)
        assert certificate_of(db, one.id) == b"newer"
        assert fingerprints_of(db, one.id) == {"a" * 64, "b" * 64}
        assert fingerprints_of(db, two.id) == frozenset()
        with pytest.raises(ConflictError, match="belongs to another device"):
            add_certificate(db, two.id, fingerprint="c" * 64, spki=b"1", certificate=b"stolen", not_after=3)
        with pytest.raises(NotFoundError, match="no certificate"):
            certificate_of(db, two.id)
