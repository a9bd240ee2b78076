"""Acts on devices that an admin asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pharos.helm.accounts.tickets import check_device_name
from pharos.helm.accounts.users import check_note
from pharos.helm.errors import ConflictError, InvalidRequestError
from pharos.helm.model.devices import TRANSITIONS, Device, DeviceAct, DeviceState
from pharos.helm.model.users import User
from pharos.helm.store.admindevices import delete_admin_device
from pharos.helm.store.certificates import revoke_certificates
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.devices import DEVICES, count_live_devices
from pharos.helm.store.fleet import next_revision
from pharos.helm.store.records import change_record, check_version, get_record
from pharos.helm.store.settings import setting
from pharos.helm.store.users import USERS
from pharos.wire.pki.roles import Role

# 64-bit counters, with room for sums.
_LARGEST: Final = 2**62


def change_device(db: Database, act: Act, device_id: str, version: int, values: Mapping[str, Any]) -> Device:
    """Change what an operator says of a device; its keys never change, and its state is changed otherwise.

    Raises: InvalidRequestError — a value does not fit. NotFoundError — there is no such device or user. ConflictError —
    it is revoked, or the user it is given to has as many devices as they may have. StaleVersionError.
    """
    device = get_record(db, DEVICES, device_id)
    check_version(DEVICES, device, version)
    if device.state is DeviceState.REVOKED:
        raise ConflictError("a device that is revoked cannot be changed")
    user_id = values.get("user_id")
    if user_id is not None and user_id != device.user_id:
        check_device_limit(db, user_id)
    changed = change_record(db, DEVICES, device_id, version, _checked(values), act)
    if changed != device:
        # Another user is in other groups, and so may use other nodes.
        next_revision(db, profiles=changed.user_id != device.user_id)
    return changed


def move_device(db: Database, act: Act, device_id: str, version: int, verb: DeviceAct) -> Device:
    """Disable, enable or revoke a device: every node drops it or takes it back, and so do its passages.

    The keys of a revoked one can never enrol again.

    Raises: ConflictError — its state does not allow it. StaleVersionError, NotFoundError.
    """
    device = get_record(db, DEVICES, device_id)
    check_version(DEVICES, device, version)
    state = TRANSITIONS.get((device.state, verb))
    if state is None:
        raise ConflictError(f"a device that is {device.state.value} cannot be {verb.past}")
    moved = change_record(db, DEVICES, device_id, version, {"state": state}, act, verb=verb.past, detail=device.name)
    if state is DeviceState.REVOKED:
        revoke_certificates(db, act, Role.DEVICE, device_id, tunnel_key=device.awg_key)
        delete_admin_device(db, device.id)
    next_revision(db, profiles=False)
    return moved


def check_device_limit(db: Database, user_id: str) -> None:
    """Raises: ConflictError — the user has as many devices as they may have. NotFoundError — there is no such user."""
    user = get_record(db, USERS, user_id)
    limit = device_limit(db, user)
    if count_live_devices(db, user_id) >= limit:
        raise ConflictError(f"{user.name} may have {limit} devices and has them; revoke one, or raise the limit")


def device_limit(db: Database, user: User) -> int:
    """Return how many devices a user may have: as many as stands with them, else as the setting says."""
    limit: int = setting(db, "devices.limit") if user.device_limit is None else user.device_limit
    return limit


def _checked(values: Mapping[str, Any]) -> dict[str, Any]:
    checked = dict(values)
    if "name" in checked:
        check_device_name(checked["name"])
    if "note" in checked:
        check_note(checked["note"])
    for name in ("expires_at", "quota_bytes", "rate_limit"):
        value = checked.get(name)
        if value is not None and not 0 < value < _LARGEST:
            raise InvalidRequestError(f"{name} has to be above zero, or null for none")
    return checked
