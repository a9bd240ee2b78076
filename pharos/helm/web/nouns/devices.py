"""Devices, as REST serves them; they come in by tickets, and none is ever removed, for its keys stay taken."""

from __future__ import annotations

import functools
from typing import Any

import attrs
import msgspec

from pharos.helm.accounts.devices import change_device, move_device
from pharos.helm.model.devices import Device, DeviceAct
from pharos.helm.store.certificates import certificates_of
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.devices import DEVICES
from pharos.helm.store.records import find_record
from pharos.helm.store.users import USERS
from pharos.helm.web.bodies import UNSET, Time, Unset, given
from pharos.helm.web.resources import ItemAct, Resource, View


class DeviceChange(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What of a device changes; what is left out stays."""

    name: str | Unset = UNSET
    user_id: str | Unset | None = UNSET
    note: str | Unset = UNSET
    expires_at: Time | Unset | None = UNSET
    quota_bytes: int | Unset | None = UNSET
    rate_limit: int | Unset | None = UNSET
    """Bits per second."""


def _view(db: Database, device: Device) -> View:
    user = None if device.user_id is None else find_record(db, USERS, device.user_id)
    return DEVICES.view(device) | {
        "user": None if user is None else {"id": user.id, "name": user.name, "state": user.state.value},
        "keys": {name: key.hex() for name, key in attrs.asdict(device.keys).items()},
        "certificates": [{"id": c.id, "state": c.state.value} for c in certificates_of(db, device.id)],
    }


def _move(verb: DeviceAct, db: Database, act: Act, device_id: str, version: int) -> Device:
    return move_device(db, act, device_id, version, verb)


_SAYS = {
    DeviceAct.DISABLE: "Keep a device out until it is enabled",
    DeviceAct.ENABLE: "Let a device in again",
    DeviceAct.REVOKE: "Keep a device out for ever",
}

DEVICE_RESOURCE: Resource[Device] = Resource(
    noun=DEVICES,
    view=_view,
    change_body=DeviceChange,
    change=lambda db, act, device_id, version, body: change_device(db, act, device_id, version, given(body)),
    acts={verb.value: ItemAct[Any](do=functools.partial(_move, verb), says=says) for verb, says in _SAYS.items()},
)
