"""Devices whose keys were made in a browser: recorded by public keys alone, served by nodes, and never synced."""

from __future__ import annotations

import attrs
import pytest

from pharos.helm.accounts.admindevices import give_device
from pharos.helm.accounts.admins import add_admin
from pharos.helm.accounts.devices import move_device
from pharos.helm.accounts.exported import export_device
from pharos.helm.accounts.users import add_user, change_user
from pharos.helm.errors import ConflictError, InvalidRequestError, NotAllowedError, NotFoundError
from pharos.helm.model.admins import Role
from pharos.helm.model.devices import Device, DeviceAct, DeviceKeys
from pharos.helm.relay import edge
from pharos.helm.store.audit import audit_rows
from pharos.helm.store.bundles import due_bundles
from pharos.helm.store.database import Database
from pharos.helm.store.devices import find_by_noise_key, fingerprints_of, list_allowed_devices
from pharos.helm.store.exported import ways_of_device
from pharos.helm.store.fleet import get_fleet
from pharos.helm.store.watched import count_unsynced_devices
from pharos.wire.noise.keys import KeyPair
from tests.support.exported import BrowserKeys
from tests.support.helm import adopt_sample_node, enrol_sample_device, fleet_in_memory, sample_act

FOREVER = 2**62


def fresh_keys() -> DeviceKeys:
    return DeviceKeys(**{name: bytes.fromhex(key) for name, key in BrowserKeys.generate().public.items()})


def export(db: Database, keys: DeviceKeys | None = None, *, user_id: str | None = None) -> Device:
    return export_device(db, sample_act(), name="tablet", keys=keys or fresh_keys(), user_id=user_id)


def test_it_is_a_device_as_any_other_but_for_certificate_and_profile() -> None:
    with fleet_in_memory() as (db, authority):
        node, _ = adopt_sample_node(db, authority)
        revision, profiles = get_fleet(db).revision, due_bundles(db, at=0, after="", limit=10)
        keys = fresh_keys()
        device = export(db, keys)
        assert (device.exported, device.outdated_at, device.keys) == (True, None, keys)
        assert device.address4 == "10.86.0.2"
        assert list_allowed_devices(db, sample_act().at) == [device], "nodes are told of it"
        assert get_fleet(db).revision == revision + 1
        assert due_bundles(db, at=sample_act().at, after="", limit=10) == profiles == [], "nothing is sealed for it"
        assert fingerprints_of(db, device.id) == frozenset()
        assert count_unsynced_devices(db, FOREVER, at=sample_act().at) == 0, "nobody waits for it to sync"
        assert list(ways_of_device(db, device.id)) == [(node.id, "amneziawg")]
        assert [row.verb for row in audit_rows(db, after=0)][-1] == "device_exported"
        other = enrol_sample_device(db, 1)
        assert [due.device_id for due in due_bundles(db, at=sample_act().at, after="", limit=10)] == [other.id]


def test_keys_of_somebody_are_refused_whatever_they_were_used_for() -> None:
    with fleet_in_memory() as (db, authority):
        node, _ = adopt_sample_node(db, authority)
        first = export(db)
        move_device(db, sample_act(), first.id, first.version, DeviceAct.REVOKE)
        for taken in first.keys.in_order():
            for use in attrs.fields_dict(DeviceKeys):
                with pytest.raises(ConflictError, match=r"belongs to another device|was revoked"):
                    export(db, attrs.evolve(fresh_keys(), **{use: taken}))
        for taken in (node.awg_key, node.derive_key):
            with pytest.raises(ConflictError, match="belongs to a node"):
                export(db, attrs.evolve(fresh_keys(), awg=taken))
        assert find_by_noise_key(db, first.noise_key) is not None


def test_whoever_kept_the_noise_key_is_nobody_at_helms_door() -> None:
    with fleet_in_memory() as (db, _):
        device, other = export(db), enrol_sample_device(db, 1)
        assert edge._device_record(db, device.noise_key) == (None, None)
        record, denied = edge._device_record(db, other.noise_key)
        assert (record and record.id, denied) == (other.id, None)


def test_no_admin_comes_to_the_desk_by_it() -> None:
    with fleet_in_memory() as (db, _):
        admin = add_admin(db, sample_act(), "ada", Role.OWNER)
        with pytest.raises(ConflictError, match="no passage"):
            give_device(db, sample_act(), admin.id, export(db).id)


LOW_ORDER = [
    bytes(32),
    (1).to_bytes(32, "little"),
    # RFC 7748's curve has two points of order 8; these are their u-coordinates.
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    (2**255 - 20).to_bytes(32, "little"),
]


@pytest.mark.parametrize("key", [*LOW_ORDER, (2**255 - 19).to_bytes(32, "little"), b"\xff" * 32, b"short"])
def test_key_that_nobody_can_have_is_refused(key: bytes) -> None:
    with fleet_in_memory() as (db, _):
        for use in attrs.fields_dict(DeviceKeys):
            with pytest.raises(InvalidRequestError, match=f"the {use} key cannot be used"):
                export(db, attrs.evolve(fresh_keys(), **{use: key}))


def test_second_spelling_of_a_key_is_refused() -> None:
    """X25519 ignores the top bit: with it the same key would be taken twice."""
    with fleet_in_memory() as (db, _):
        public = bytearray(KeyPair.generate().public)
        public[31] |= 0x80
        with pytest.raises(InvalidRequestError, match="below 2"):
            export(db, attrs.evolve(fresh_keys(), awg=bytes(public)))


def test_one_key_for_two_uses_is_refused() -> None:
    with fleet_in_memory() as (db, _):
        keys = fresh_keys()
        with pytest.raises(InvalidRequestError, match="cannot serve two"):
            export(db, attrs.evolve(keys, noise=keys.awg))


def test_the_limit_of_its_user_counts_it() -> None:
    with fleet_in_memory() as (db, _):
        user = add_user(db, sample_act(), {"name": "ada", "device_limit": 1})
        assert export(db, user_id=user.id).user_id == user.id
        with pytest.raises(ConflictError, match="may have 1 devices"):
            export(db, user_id=user.id)
        with pytest.raises(NotFoundError):
            export(db, user_id="nobody")


def test_a_user_who_is_kept_out_gets_none() -> None:
    with fleet_in_memory() as (db, _):
        user = add_user(db, sample_act(), {"name": "ada"})
        gone = change_user(db, sample_act(), user.id, user.version, {"expires_at": 1})
        with pytest.raises(NotAllowedError, match="has expired"):
            export(db, user_id=gone.id)
