"""The devices table, and the certificates that are bound to a device."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from pharos.helm.errors import ConflictError, NotFoundError
from pharos.helm.model.devices import Device, DeviceState
from pharos.helm.model.users import UserState
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.records import Noun, add_record, get_record
from pharos.wire.ids import DeviceId
from pharos.wire.seal.words import safety_words

# SQLite took no more than 999 marks in a statement before its version 3.32.
_AT_ONCE: Final = 500
_KEYS: Final = ("sealing_key", "derive_key", "noise_key", "awg_key")


def _words(device: Device) -> dict[str, Any]:
    # There is nobody to read them where the keys were made for another program.
    return {"safety_words": None if device.exported else safety_words(device.id, *device.keys.in_order())}


DEVICES: Final = Noun(
    kind="device",
    table="devices",
    columns=(
        *("id", "name", "user_id", "state", "note", *_KEYS, "address4", "address6"),
        *("expires_at", "quota_bytes", "rate_limit", "exported", "outdated_at"),
    ),
    model=Device,
    flags=frozenset({"exported"}),
    hidden=frozenset(_KEYS),
    enrich=_words,
    filters={
        "id": "id = ?",
        "name": "name = ?",
        "state": "state = ?",
        "user": "user_id = ?",
        "exported": "CASE exported WHEN 1 THEN 'true' ELSE 'false' END = ?",
        "q": "LOWER(name) LIKE LOWER(?) ESCAPE '!'",
    },
)

_OWNER_OF_KEY: Final = f"SELECT id FROM devices WHERE {' OR '.join(f'{name} = ?' for name in _KEYS)}"  # noqa: S608
# Whoever is disabled or has expired, the device or its user, is kept out; parameters: the time, twice.
ALLOWED: Final = (
    f"devices.state = '{DeviceState.ACTIVE.value}' AND (devices.expires_at IS NULL OR devices.expires_at > ?)"  # noqa: S608
    f" AND (user_id IS NULL OR user_id IN (SELECT id FROM users WHERE users.state = '{UserState.ACTIVE.value}'"
    " AND (users.expires_at IS NULL OR users.expires_at > ?)))"
)
"""SQL condition on the devices table."""


def add_device(db: Database, device: Device, act: Act, *, verb: str = "enrolled") -> Device:
    """Write a new device.

    Raises: ConflictError — one of its public keys belongs to another device, live or revoked, for whichever use.
    """
    keys = device.keys.in_order()
    if any(db.execute(_OWNER_OF_KEY, (key,) * len(keys)).fetchone() for key in keys):
        raise ConflictError("one of these public keys belongs to another device")
    return add_record(db, DEVICES, device, act, verb=verb, detail=device.name)


def list_devices(db: Database) -> list[Device]:
    """Return every device, oldest first."""
    rows = db.execute(f"SELECT {DEVICES.all_columns} FROM devices ORDER BY id")  # noqa: S608 -- names of a Noun
    return [DEVICES.load(row) for row in rows]


def list_allowed_devices(db: Database, at: int) -> list[Device]:
    """Return the devices that may use the fleet as of ``at``, oldest first."""
    query = f"SELECT {DEVICES.all_columns} FROM devices WHERE {ALLOWED} ORDER BY id"  # noqa: S608 -- constant text
    return [DEVICES.load(row) for row in db.execute(query, (at, at))]


def list_allowed_versions(db: Database, at: int) -> list[tuple[DeviceId, int]]:
    """Return id and version of the devices that may use the fleet as of ``at``, oldest first."""
    query = f"SELECT id, version FROM devices WHERE {ALLOWED} ORDER BY id"  # noqa: S608 -- constant text
    return [(row[0], row[1]) for row in db.execute(query, (at, at))]


def load_devices(db: Database, device_ids: Collection[DeviceId]) -> list[Device]:
    """Return these devices, in no order; ids of none are passed over."""
    found: list[Device] = []
    wanted = list(device_ids)
    for start in range(0, len(wanted), _AT_ONCE):
        some = wanted[start : start + _AT_ONCE]
        marks = ", ".join("?" for _ in some)
        rows = db.execute(f"SELECT {DEVICES.all_columns} FROM devices WHERE id IN ({marks})", some)  # noqa: S608
        found += map(DEVICES.load, rows)
    return found


def load_allowed(db: Database, device_ids: Collection[DeviceId], at: int) -> list[Device]:
    """Return those of these devices that may use the fleet as of ``at``, in no order."""
    return [device for device in load_devices(db, device_ids) if is_allowed(db, device.id, at)]


def is_allowed(db: Database, device_id: DeviceId, at: int) -> bool:
    """Return whether a device may use the fleet as of ``at``: neither it nor its user is disabled or has expired."""
    query = f"SELECT 1 FROM devices WHERE id = ? AND {ALLOWED}"  # noqa: S608 -- constant text
    return db.execute(query, (device_id, at, at)).fetchone() is not None


def next_expiry(db: Database, after: int) -> int | None:
    """Return when the next device or user expires, None where none will."""
    row = db.execute(
        "SELECT MIN(expires_at) FROM (SELECT expires_at FROM devices WHERE expires_at > ?"
        " UNION ALL SELECT expires_at FROM users WHERE expires_at > ?) AS ends",
        (after, after),
    ).fetchone()
    expiry: int | None = row[0]
    return expiry


def count_live_devices(db: Database, user_id: str) -> int:
    """Return how many devices of a user are not revoked."""
    count: int = db.execute(
        "SELECT COUNT(*) FROM devices WHERE user_id = ? AND state <> ?", (user_id, DeviceState.REVOKED.value)
    ).fetchone()[0]
    return count


def live_devices_of(db: Database, user_id: str) -> list[Device]:
    """Return the devices of a user that are not revoked, oldest first."""
    rows = db.execute(
        f"SELECT {DEVICES.all_columns} FROM devices WHERE user_id = ? AND state <> ? ORDER BY id",  # noqa: S608
        (user_id, DeviceState.REVOKED.value),
    )
    return [DEVICES.load(row) for row in rows]


def get_device(db: Database, device_id: DeviceId) -> Device:
    """Return one device.

    Raises: NotFoundError.
    """
    return get_record(db, DEVICES, device_id)


def find_by_noise_key(db: Database, key: bytes) -> Device | None:
    """Return the device that proved this Noise key."""
    row = db.execute(f"SELECT {DEVICES.all_columns} FROM devices WHERE noise_key = ?", (key,)).fetchone()  # noqa: S608
    return None if row is None else DEVICES.load(row)


def bind_certificate(
    db: Database, device_id: DeviceId, *, fingerprint: str, spki: bytes, certificate: bytes, not_after: int
) -> None:
    """Bind a certificate to a device, beside those that it has for the same key.

    Raises: ConflictError — its key is certified for another device already.
    """
    if db.execute("SELECT 1 FROM device_certificates WHERE spki = ? AND device_id <> ?", (spki, device_id)).fetchone():
        raise ConflictError("this certificate key belongs to another device")
    db.execute(
        "INSERT INTO device_certificates (fingerprint, device_id, spki, certificate, not_after) VALUES (?, ?, ?, ?, ?)",
        (fingerprint, device_id, spki, certificate, not_after),
    )


def certificate_of(db: Database, device_id: DeviceId) -> bytes:
    """Return the newest certificate of a device (DER).

    Raises: NotFoundError.
    """
    row = db.execute(
        "SELECT certificate FROM device_certificates WHERE device_id = ? ORDER BY not_after DESC, fingerprint LIMIT 1",
        (device_id,),
    ).fetchone()
    if row is None:
        raise NotFoundError(f"device {device_id!r} has no certificate")
    certificate: bytes = row["certificate"]
    return certificate


def bound_certificate(db: Database, device_id: DeviceId, fingerprint: str) -> bytes | None:
    """Return the certificate of this fingerprint (DER), None if it is not bound to this device."""
    row = db.execute(
        "SELECT certificate FROM device_certificates WHERE device_id = ? AND fingerprint = ?", (device_id, fingerprint)
    ).fetchone()
    return None if row is None else row["certificate"]


def fingerprints_of(db: Database, device_id: DeviceId) -> frozenset[str]:
    """Return the SHA-256 fingerprints of every certificate bound to a device, lower-case hexadecimal."""
    rows = db.execute("SELECT fingerprint FROM device_certificates WHERE device_id = ?", (device_id,))
    return frozenset(row["fingerprint"] for row in rows)
