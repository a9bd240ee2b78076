"""Acts on devices that an admin asks for."""

from __future__ import annotations

import datetime

from pharos.helm.model.devices import Device, DeviceState
from pharos.helm.store.database import Database, microseconds
from pharos.helm.store.devices import get_device, resolve_device, set_device_state
from pharos.helm.store.fleet import next_revision
from pharos.helm.store.outbox import append_entry


def revoke_device(db: Database, id_or_name: str, *, actor: str, now: datetime.datetime) -> Device:
    """Revoke a device: every node drops it, and its passage is refused. Its keys can never enrol again.

    Raises: NotFoundError, ConflictError — the name fits none or several.
    """
    device = resolve_device(db, id_or_name)
    if device.state is DeviceState.REVOKED:
        return device
    at = microseconds(now.timestamp())
    set_device_state(db, device, DeviceState.REVOKED, at=at, actor=actor)
    next_revision(db)
    append_entry(db, at=at, kind="device_revoked", subject=device.id, actor=actor, detail=device.name)
    return get_device(db, device.id)
