"""Devices, as REST serves them; they come in by tickets and logins, and none is ever removed, for its keys stay taken.

What is added here is a device whose keys were made in a browser, for another program (docs/guide/exported.md).
"""

from __future__ import annotations

import functools
from typing import Annotated, Any

import attrs
import msgspec

from pharos.helm.accounts.devices import change_device, move_device
from pharos.helm.accounts.exported import export_device
from pharos.helm.model.devices import Device, DeviceAct, DeviceKeys
from pharos.helm.store.certificates import certificates_of
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.devices import DEVICES
from pharos.helm.store.records import find_record
from pharos.helm.store.users import USERS
from pharos.helm.web.bodies import UNSET, Time, Unset, given
from pharos.helm.web.resources import ItemAct, Resource, View

PublicKey = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$", max_length=64)]


class DeviceKeysBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """X25519 public keys, hexadecimal."""

    sealing: PublicKey
    derive: PublicKey
    noise: PublicKey
    awg: PublicKey


class DeviceBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A device whose private keys a browser has made and keeps."""

    name: str
    keys: DeviceKeysBody
    user_id: str | None = None
    note: str = ""


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


def _add(db: Database, act: Act, body: DeviceBody) -> Device:
    keys = {name: bytes.fromhex(key) for name, key in msgspec.structs.asdict(body.keys).items()}
    return export_device(db, act, name=body.name, keys=DeviceKeys(**keys), user_id=body.user_id, note=body.note)


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
    add_body=DeviceBody,
    add=_add,
    change_body=DeviceChange,
    change=lambda db, act, device_id, version, body: change_device(db, act, device_id, version, given(body)),
    acts={verb.value: ItemAct[Any](do=functools.partial(_move, verb), says=says) for verb, says in _SAYS.items()},
)
