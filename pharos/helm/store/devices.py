"""Rows of the devices table, their certificates and their sealed bundles."""

from __future__ import annotations

import sqlite3

from pharos.helm.errors import ConflictError, NotFoundError
from pharos.helm.model.devices import Device, DeviceKeys, DeviceState
from pharos.helm.store.database import Database
from pharos.wire.ids import DeviceId

_COLUMNS = "id, name, state, sealing_key, derive_key, noise_key, awg_key, address4, address6, version, created_at"
_OWNER_OF_KEY = "SELECT id FROM devices WHERE sealing_key = ? OR derive_key = ? OR noise_key = ? OR awg_key = ?"


def add_device(db: Database, device: Device, *, actor: str) -> None:
    """Write a new device.

    Raises: ConflictError — one of its public keys belongs to another device, live or revoked, for whichever use.
    """
    keys = device.keys.in_order()
    if any(db.execute(_OWNER_OF_KEY, (key,) * len(keys)).fetchone() for key in keys):
        raise ConflictError("one of these public keys belongs to another device")
    try:
        db.execute(
            f"INSERT INTO devices ({_COLUMNS}, updated_at, updated_by)"  # noqa: S608 -- constant text
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                device.id,
                device.name,
                device.state.value,
                *device.keys.in_order(),
                device.address4,
                device.address6,
                device.version,
                device.created_at,
                device.created_at,
                actor,
            ),
        )
    except sqlite3.IntegrityError as error:
        raise ConflictError("one of these public keys belongs to another device") from error


def list_devices(db: Database) -> list[Device]:
    """Return every device, oldest first."""
    return [_device(row) for row in db.execute(f"SELECT {_COLUMNS} FROM devices ORDER BY id")]  # noqa: S608 -- constant


def get_device(db: Database, device_id: DeviceId) -> Device:
    """Return one device.

    Raises: NotFoundError.
    """
    row = db.execute(f"SELECT {_COLUMNS} FROM devices WHERE id = ?", (device_id,)).fetchone()  # noqa: S608 -- constant
    if row is None:
        raise NotFoundError(f"there is no device {device_id!r}")
    return _device(row)


def find_by_noise_key(db: Database, key: bytes) -> Device | None:
    """Return the device that proved this Noise key."""
    row = db.execute(f"SELECT {_COLUMNS} FROM devices WHERE noise_key = ?", (key,)).fetchone()  # noqa: S608 -- constant
    return None if row is None else _device(row)


def resolve_device(db: Database, id_or_name: str) -> Device:
    """Return the device with that id, or the only active one with that name.

    Raises: NotFoundError — none. ConflictError — the name is not unique; the message lists the ids.
    """
    matches = [device for device in list_devices(db) if device.id == id_or_name]
    if not matches:
        matches = [d for d in list_devices(db) if d.name == id_or_name and d.state is DeviceState.ACTIVE]
    if not matches:
        raise NotFoundError(f"there is no active device {id_or_name!r}")
    if len(matches) > 1:
        raise ConflictError(f"{id_or_name!r} is the name of {len(matches)} devices: {', '.join(d.id for d in matches)}")
    return matches[0]


def set_device_state(db: Database, device: Device, state: DeviceState, *, at: int, actor: str) -> None:
    """Change the state of the record that was read as ``device``.

    Raises: ConflictError — somebody changed it since.
    """
    row = db.execute(
        "UPDATE devices SET state = ?, version = version + 1, updated_at = ?, updated_by = ?"
        " WHERE id = ? AND version = ? RETURNING version",
        (state.value, at, actor, device.id, device.version),
    ).fetchone()
    if row is None:
        raise ConflictError(f"device {device.name!r} has changed since it was read; look again")


def add_certificate(
    db: Database, device_id: DeviceId, *, fingerprint: str, spki: bytes, certificate: bytes, not_after: int
) -> None:
    """Bind a certificate to a device.

    Raises: ConflictError — its key is certified for another device already.
    """
    try:
        db.execute(
            "INSERT INTO device_certificates (fingerprint, device_id, spki, certificate, not_after)"
            " VALUES (?, ?, ?, ?, ?)",
            (fingerprint, device_id, spki, certificate, not_after),
        )
    except sqlite3.IntegrityError as error:
        raise ConflictError("this certificate key belongs to another device") from error


def certificate_of(db: Database, device_id: DeviceId) -> bytes:
    """Return the newest certificate of a device (DER)."""
    row = db.execute(
        "SELECT certificate FROM device_certificates WHERE device_id = ? ORDER BY not_after DESC LIMIT 1", (device_id,)
    ).fetchone()
    if row is None:
        raise NotFoundError(f"device {device_id!r} has no certificate")
    certificate: bytes = row["certificate"]
    return certificate


def fingerprints_of(db: Database, device_id: DeviceId) -> frozenset[str]:
    """Return the SHA-256 fingerprints of every certificate bound to a device, lower-case hexadecimal."""
    rows = db.execute("SELECT fingerprint FROM device_certificates WHERE device_id = ?", (device_id,))
    return frozenset(row["fingerprint"] for row in rows)


def _device(row: sqlite3.Row) -> Device:
    return Device(
        id=DeviceId(row["id"]),
        name=row["name"],
        state=DeviceState(row["state"]),
        keys=DeviceKeys(
            sealing=row["sealing_key"], derive=row["derive_key"], noise=row["noise_key"], awg=row["awg_key"]
        ),
        address4=row["address4"],
        address6=row["address6"],
        version=row["version"],
        created_at=row["created_at"],
    )
