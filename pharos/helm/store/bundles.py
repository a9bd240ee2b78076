"""The bundles table, what each device was last given, as ciphertext; and the profiles view, all but what is in it."""

from __future__ import annotations

from typing import Final

import attrs

from pharos.helm.model.profiles import Profile
from pharos.helm.store.database import Database
from pharos.helm.store.records import Noun
from pharos.wire.ids import DeviceId

PROFILES: Final = Noun(
    kind="profile",
    table="profiles",
    columns=("id", "name", "epoch", "revision", "size", "hash", "state", "sealed_at", "synced_at"),
    model=Profile,
    filters={
        "device": "id = ?",
        "name": "name = ?",
        "state": "state = ?",
        "user": "id IN (SELECT id FROM devices WHERE user_id = ?)",
    },
    sorts={"created_at": "created_at", "name": "name"},
)


@attrs.frozen(kw_only=True)
class Bundle:
    """A device's newest bundle."""

    epoch: int
    revision: int
    profile_hash: bytes
    """SHA-256 of the profile inside, so that an unchanged profile is not sealed again."""
    sealed: bytes = attrs.field(repr=False)
    sealed_at: int = 0
    """Microseconds since 1970."""


def find_bundle(db: Database, device_id: DeviceId) -> Bundle | None:
    """Return the newest bundle of a device."""
    row = db.execute(
        "SELECT epoch, revision, profile_hash, sealed, sealed_at FROM bundles WHERE device_id = ?", (device_id,)
    ).fetchone()
    return None if row is None else Bundle(**dict(row))


def put_bundle(db: Database, device_id: DeviceId, bundle: Bundle) -> None:
    """Replace the device's bundle."""
    db.execute(
        "INSERT INTO bundles (device_id, epoch, revision, profile_hash, sealed, sealed_at) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (device_id) DO UPDATE SET"
        " epoch = excluded.epoch, revision = excluded.revision, profile_hash = excluded.profile_hash,"
        " sealed = excluded.sealed, sealed_at = excluded.sealed_at",
        (device_id, bundle.epoch, bundle.revision, bundle.profile_hash, bundle.sealed, bundle.sealed_at),
    )


def note_checked(db: Database, device_id: DeviceId) -> None:
    """Note that the bundle is what the record says now."""
    db.execute(
        "UPDATE bundles SET checked_revision = (SELECT profiles_revision FROM fleet)"
        " WHERE device_id = ? AND checked_revision < (SELECT profiles_revision FROM fleet)",
        (device_id,),
    )


def note_held(db: Database, device_id: DeviceId, *, epoch: int, revision: int, at: int) -> None:
    """Note which bundle a device says it holds; nothing is written where it was known."""
    db.execute(
        "UPDATE bundles SET held_epoch = ?, held_revision = ?, synced_at = ?"
        " WHERE device_id = ? AND (held_epoch <> ? OR held_revision <> ?)",
        (epoch, revision, at, device_id, epoch, revision),
    )
