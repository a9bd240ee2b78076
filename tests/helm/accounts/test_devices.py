"""Revoking a device is one change that nodes hear of, and it is for ever."""

from __future__ import annotations

import pytest

from pharos.helm.accounts.devices import revoke_device
from pharos.helm.errors import ConflictError, NotFoundError
from pharos.helm.model.devices import DeviceState
from pharos.helm.store.devices import get_device, list_devices
from pharos.helm.store.fleet import get_fleet
from pharos.helm.store.outbox import entries_after
from tests.support.helm import enrol_sample_device, fleet_in_memory, now


def test_revoking_grows_version_and_revision_and_is_told() -> None:
    with fleet_in_memory() as (db, _):
        device = enrol_sample_device(db, 1, "Ada's phone")
        before = get_fleet(db).revision
        revoked = revoke_device(db, "Ada's phone", actor="operator", now=now())
        assert (revoked.state, revoked.version) == (DeviceState.REVOKED, device.version + 1)
        assert get_device(db, device.id) == revoked
        assert get_fleet(db).revision == before + 1
        entry = entries_after(db, 0)[-1]
        assert (entry.kind, entry.subject, entry.actor, entry.detail) == (
            "device_revoked",
            device.id,
            "operator",
            "Ada's phone",
        )


def test_revoking_twice_changes_nothing_more() -> None:
    with fleet_in_memory() as (db, _):
        device = enrol_sample_device(db, 1)
        first = revoke_device(db, device.id, actor="o", now=now())
        told, revision = entries_after(db, 0), get_fleet(db).revision
        assert revoke_device(db, device.id, actor="o", now=now()) == first
        assert (entries_after(db, 0), get_fleet(db).revision) == (told, revision)


def test_ambiguous_or_unknown_name_revokes_nobody() -> None:
    with fleet_in_memory() as (db, _):
        enrol_sample_device(db, 1, "phone")
        enrol_sample_device(db, 2, "phone")
        with pytest.raises(ConflictError, match="2 devices"):
            revoke_device(db, "phone", actor="o", now=now())
        with pytest.raises(NotFoundError):
            revoke_device(db, "Phone", actor="o", now=now())
        assert [device.state for device in list_devices(db)] == [DeviceState.ACTIVE] * 2
