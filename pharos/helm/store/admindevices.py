"""The admin_devices table: which device is which admin's. A link is part of the admin's record."""

from __future__ import annotations

from typing import Any

from pharos.helm.model.admins import AdminState
from pharos.helm.model.desk import AdminDevice
from pharos.helm.store.database import Database
from pharos.helm.store.devices import is_allowed
from pharos.wire.ids import DeviceId


def find_admin_device(db: Database, device_id: DeviceId, *, at: int) -> AdminDevice | None:
    """Return whose device this is, if device and admin may both come in as of ``at``."""
    row = db.execute(
        "SELECT admin_id, devices.expires_at AS device_until, users.expires_at AS user_until FROM admin_devices"
        " JOIN admins ON admins.id = admin_devices.admin_id JOIN devices ON devices.id = admin_devices.device_id"
        " LEFT JOIN users ON users.id = devices.user_id WHERE device_id = ? AND admins.state <> ?",
        (device_id, AdminState.DISABLED.value),
    ).fetchone()
    if row is None or not is_allowed(db, device_id, at):
        return None
    ends = [until for until in (row["device_until"], row["user_until"]) if until is not None]
    return AdminDevice(device_id=device_id, admin_id=row["admin_id"], until=min(ends, default=None))


def owner_of(db: Database, device_id: DeviceId) -> str | None:
    """Return the id of the admin whose device this is, whatever their states."""
    row = db.execute("SELECT admin_id FROM admin_devices WHERE device_id = ?", (device_id,)).fetchone()
    return None if row is None else row["admin_id"]


def devices_of_admin(db: Database, admin_id: str) -> list[dict[str, Any]]:
    """Return an admin's devices as views show them, the oldest first."""
    rows = db.execute(
        "SELECT devices.id AS id, devices.name AS name, devices.state AS state FROM admin_devices"
        " JOIN devices ON devices.id = admin_devices.device_id WHERE admin_id = ? ORDER BY devices.id",
        (admin_id,),
    )
    return [dict(row) for row in rows]


def write_admin_device(db: Database, device_id: DeviceId, admin_id: str, *, at: int, actor: str) -> None:
    """Note whose device this is."""
    db.execute(
        "INSERT INTO admin_devices (device_id, admin_id, created_at, created_by) VALUES (?, ?, ?, ?)",
        (device_id, admin_id, at, actor),
    )


def delete_admin_device(db: Database, device_id: DeviceId) -> None:
    """Forget whose device this is."""
    db.execute("DELETE FROM admin_devices WHERE device_id = ?", (device_id,))
