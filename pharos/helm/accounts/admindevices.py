"""An owner gives a device to an admin, who can then use the desk from it; and takes it back."""

from __future__ import annotations

from typing import Final

from pharos.helm.errors import ConflictError, InvalidRequestError, NotFoundError
from pharos.helm.model.admins import Admin
from pharos.helm.model.devices import DeviceState
from pharos.helm.store.admindevices import delete_admin_device, devices_of_admin, owner_of, write_admin_device
from pharos.helm.store.admins import ADMINS
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.devices import get_device
from pharos.helm.store.records import get_record, touch_record
from pharos.wire.ids import DeviceId

MOST: Final = 8
"""Of one admin: a few machines and phones. Each is a second way to helm's sign-in."""


def give_device(db: Database, act: Act, admin_id: str, device_id: str) -> Admin:
    """Make a device an admin's.

    Raises: NotFoundError. ConflictError — it is another admin's, or not active. InvalidRequestError — they have enough.
    """
    admin, device = get_record(db, ADMINS, admin_id), get_device(db, DeviceId(device_id))
    owner = owner_of(db, device.id)
    if owner == admin_id:
        return admin
    if owner is not None:
        raise ConflictError(f"{device.name} is the device of {get_record(db, ADMINS, owner).name}; take it back first")
    if device.state is not DeviceState.ACTIVE:
        raise ConflictError(f"{device.name} is {device.state.value}")
    if device.exported:
        raise ConflictError(f"{device.name} is exported: it has no passage to helm, and so no way to the desk")
    if len(devices_of_admin(db, admin_id)) >= MOST:
        raise InvalidRequestError(f"{admin.name} has {MOST} devices already; take one back first")
    write_admin_device(db, device.id, admin_id, at=act.at, actor=act.actor)
    return touch_record(db, ADMINS, admin_id, act, verb="device_given", detail=f"{device.name} ({device.id})")


def take_device(db: Database, act: Act, admin_id: str, device_id: str) -> Admin:
    """Take a device back: its passages carry no desk any more.

    Raises: NotFoundError — it is not this admin's.
    """
    get_record(db, ADMINS, admin_id)
    device = get_device(db, DeviceId(device_id))
    if owner_of(db, device.id) != admin_id:
        raise NotFoundError(f"{device.name} is no device of this admin's")
    delete_admin_device(db, device.id)
    return touch_record(db, ADMINS, admin_id, act, verb="device_taken", detail=f"{device.name} ({device.id})")
