"""Rows of the bundles table: what each device was last given, as ciphertext."""

from __future__ import annotations

import attrs

from pharos.helm.store.database import Database
from pharos.wire.ids import DeviceId


@attrs.frozen(kw_only=True)
class Bundle:
    """A device's newest bundle."""

    epoch: int
    revision: int
    profile_hash: bytes
    """SHA-256 of the profile inside, so that an unchanged profile is not sealed again."""
    sealed: bytes = attrs.field(repr=False)


def find_bundle(db: Database, device_id: DeviceId) -> Bundle | None:
    """Return the newest bundle of a device."""
    row = db.execute(
        "SELECT epoch, revision, profile_hash, sealed FROM bundles WHERE device_id = ?", (device_id,)
    ).fetchone()
    return None if row is None else Bundle(**dict(row))


def put_bundle(db: Database, device_id: DeviceId, bundle: Bundle) -> None:
    """Replace the device's bundle."""
    db.execute(
        "INSERT INTO bundles (device_id, epoch, revision, profile_hash, sealed) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (device_id) DO UPDATE SET"
        " epoch = excluded.epoch, revision = excluded.revision,"
        " profile_hash = excluded.profile_hash, sealed = excluded.sealed",
        (device_id, bundle.epoch, bundle.revision, bundle.profile_hash, bundle.sealed),
    )
