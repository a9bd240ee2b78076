"""Rows of devices: keys are unique over all that ever were, and who may use the fleet."""

from __future__ import annotations

import attrs
import pytest

from pharos.helm.accounts.users import add_user
from pharos.helm.errors import ConflictError, NotFoundError
from pharos.helm.model.devices import DeviceState
from pharos.helm.store.devices import (
    add_device,
    bind_certificate,
    certificate_of,
    find_by_noise_key,
    fingerprints_of,
    get_device,
    is_allowed,
    list_allowed_devices,
    list_devices,
    next_expiry,
)
from pharos.wire.ids import DeviceId
from tests.support.helm import enrol_sample_device, fleet_in_memory, sample_act, sample_keys


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


@pytest.mark.parametrize("name", ["sealing_key", "derive_key", "noise_key", "awg_key"])
@pytest.mark.parametrize("state", DeviceState)
def test_public_key_of_another_device_live_or_revoked_is_refused(name: str, state: DeviceState) -> None:
    with fleet_in_memory() as (db, _):
        first = enrol_sample_device(db, 1)
        db.execute("UPDATE devices SET state = ?", (state.value,))
        keys = {f"{use}_key": key for use, key in attrs.asdict(sample_keys(2)).items()}
        taken = keys | {name: getattr(first, name)}
        thief = attrs.evolve(first, id=DeviceId("thief"), address4="10.86.0.99", address6="fd00::99", **taken)
        with pytest.raises(ConflictError, match="belongs to another device"):
            add_device(db, thief, sample_act())


@pytest.mark.parametrize(
    ("device", "user", "allowed"),
    [
        ({}, None, True),
        ({"state": "disabled"}, None, False),
        ({"state": "revoked"}, None, False),
        ({"expires_at": 1001}, None, True),
        ({"expires_at": 1000}, None, False),
        ({}, {}, True),
        ({}, {"state": "disabled"}, False),
        ({}, {"expires_at": 1001}, True),
        ({}, {"expires_at": 1000}, False),
        ({"state": "disabled"}, {}, False),
    ],
)
def test_device_is_kept_out_for_its_own_state_or_for_that_of_its_user(
    device: dict[str, object], user: dict[str, object] | None, *, allowed: bool
) -> None:
    with fleet_in_memory() as (db, _):
        user_id = None if user is None else add_user(db, sample_act(), {"name": "ada"}).id
        found = enrol_sample_device(db, 1, user_id=user_id)
        for table, values in (("devices", device), ("users", user or {})):
            for column, value in values.items():
                db.execute(f"UPDATE {table} SET {column} = ?", (value,))
        assert is_allowed(db, found.id, 1000) == allowed
        assert bool(list_allowed_devices(db, 1000)) == allowed


def test_next_expiry_is_the_first_of_devices_and_users_after_a_time() -> None:
    with fleet_in_memory() as (db, _):
        assert next_expiry(db, 0) is None
        add_user(db, sample_act(), {"name": "ada", "expires_at": 700})
        enrol_sample_device(db, 1)
        db.execute("UPDATE devices SET expires_at = 500")
        assert [next_expiry(db, after) for after in (0, 499, 500, 700)] == [500, 500, 700, None]


def test_certificates_are_bound_to_one_device() -> None:
    with fleet_in_memory() as (db, _):
        one, two = enrol_sample_device(db, 1), enrol_sample_device(db, 2)
        bind_certificate(db, one.id, fingerprint="a" * 64, spki=b"1", certificate=b"older", not_after=1)
        bind_certificate(db, one.id, fingerprint="b" * 64, spki=b"2", certificate=b"newer", not_after=2)
        assert certificate_of(db, one.id) == b"newer"
        assert fingerprints_of(db, one.id) == {"a" * 64, "b" * 64}
        assert fingerprints_of(db, two.id) == frozenset()
        with pytest.raises(ConflictError, match="belongs to another device"):
            bind_certificate(db, two.id, fingerprint="c" * 64, spki=b"1", certificate=b"stolen", not_after=3)
        with pytest.raises(NotFoundError, match="no certificate"):
            certificate_of(db, two.id)
