"""The bundles table, what each device was last given, as ciphertext; and the profiles view, all but what is in it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Final

import attrs

from pharos.helm.model.profiles import Profile
from pharos.helm.store.bulk import insert_rows, select_rows
from pharos.helm.store.database import Database
from pharos.helm.store.devices import ALLOWED
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


_STANDING: Final = (
    "WITH wanted (device) AS (VALUES (?)) SELECT device_id AS id, epoch, revision, profile_hash, checked_revision"
    " FROM wanted, bundles WHERE device_id = device"
)
# Who was behind already is so since then.
_REPLACE: Final = (
    "INSERT INTO bundles (device_id, epoch, revision, profile_hash, sealed, sealed_at, checked_revision, behind_at)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (device_id) DO UPDATE SET"
    " epoch = excluded.epoch, revision = excluded.revision, profile_hash = excluded.profile_hash,"
    " sealed = excluded.sealed, sealed_at = excluded.sealed_at, checked_revision = excluded.checked_revision,"
    " behind_at = COALESCE(bundles.behind_at, excluded.sealed_at)"
)
_CHECK: Final = (
    "WITH said (device, epoch, revision, checked) AS (VALUES (?, ?, ?, ?))"
    " UPDATE bundles SET checked_revision = said.checked FROM said WHERE bundles.device_id = said.device"
    " AND bundles.epoch = said.epoch AND bundles.revision = said.revision AND checked_revision < said.checked"
)


@attrs.frozen(kw_only=True)
class Bundle:
    """A device's newest bundle."""

    epoch: int
    revision: int
    profile_hash: bytes
    """SHA-256 of the signing key's public half and the profile, so that what is unchanged is not sealed again."""
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
        "INSERT INTO bundles (device_id, epoch, revision, profile_hash, sealed, sealed_at, behind_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (device_id) DO UPDATE SET"
        " epoch = excluded.epoch, revision = excluded.revision, profile_hash = excluded.profile_hash,"
        " sealed = excluded.sealed, sealed_at = excluded.sealed_at,"
        " behind_at = COALESCE(bundles.behind_at, excluded.sealed_at)",
        (device_id, bundle.epoch, bundle.revision, bundle.profile_hash, bundle.sealed, *[bundle.sealed_at] * 2),
    )


def is_checked(db: Database, device_id: DeviceId) -> bool:
    """Return whether the bundle is known to be what the record says now."""
    row = db.execute(
        "SELECT 1 FROM bundles CROSS JOIN fleet WHERE device_id = ? AND bundles.epoch = fleet.epoch"
        " AND checked_revision >= profiles_revision",
        (device_id,),
    ).fetchone()
    return row is not None


def note_checked(db: Database, device_id: DeviceId) -> None:
    """Note that the bundle is what the record says now."""
    db.execute(
        "UPDATE bundles SET checked_revision = (SELECT profiles_revision FROM fleet)"
        " WHERE device_id = ? AND checked_revision < (SELECT profiles_revision FROM fleet)",
        (device_id,),
    )


def note_held(db: Database, device_id: DeviceId, *, epoch: int, revision: int, at: int) -> bool:
    """Note which bundle a device says it holds; return whether it is its first.

    Nothing is written where it was known.
    """
    held = db.execute(
        "SELECT synced_at FROM bundles WHERE device_id = ? AND (held_epoch <> ? OR held_revision <> ?)",
        (device_id, epoch, revision),
    ).fetchone()
    if held is None:
        return False
    db.execute(
        "UPDATE bundles SET held_epoch = ?, held_revision = ?, synced_at = ?,"
        " behind_at = CASE WHEN epoch = ? AND revision = ? THEN NULL ELSE COALESCE(behind_at, sealed_at) END"
        " WHERE device_id = ? AND (held_epoch <> ? OR held_revision <> ?)",
        (epoch, revision, at, epoch, revision, device_id, epoch, revision),
    )
    return held["synced_at"] is None


@attrs.frozen(kw_only=True)
class DueBundle:
    """A device whose bundle may not be what the record says now."""

    device_id: DeviceId
    bundle: Bundle | None
    """The one it has, without its octets; None: none yet."""


def profiles_revision(db: Database) -> int:
    """Return the fleet's revision as of the last change of any profile."""
    revision: int = db.execute("SELECT profiles_revision FROM fleet").fetchone()[0]
    return revision


def due_bundles(db: Database, *, at: int, after: str, limit: int) -> list[DueBundle]:
    """Return some devices that may use the fleet and whose bundle is to be looked at, by id, those behind ``after``."""
    rows = db.execute(
        "SELECT devices.id AS id, bundles.epoch, bundles.revision, profile_hash, sealed_at"  # noqa: S608 -- constant text
        " FROM devices CROSS JOIN fleet LEFT JOIN bundles ON bundles.device_id = devices.id"
        f" WHERE {ALLOWED} AND devices.id > ? AND devices.exported = 0"
        " AND (bundles.epoch IS NULL OR bundles.epoch <> fleet.epoch OR checked_revision < profiles_revision)"
        " ORDER BY devices.id LIMIT ?",
        (at, at, after, limit),
    )
    return [DueBundle(device_id=row["id"], bundle=_unsealed(row)) for row in rows]


def _unsealed(row: sqlite3.Row) -> Bundle | None:
    values = dict(row)
    del values["id"]
    return None if values["epoch"] is None else Bundle(**values, sealed=b"")


def put_checked(
    db: Database, bundles: Iterable[tuple[DeviceId, Bundle | None, Bundle]], *, checked: int
) -> list[tuple[DeviceId, Bundle]]:
    """Write bundles in place of those that they follow, and that they are what profiles were as of ``checked``.

    One that was replaced meanwhile stays, and so does one that was looked at later. Return those that are new now.
    """
    entries = list(bundles)
    found = {row["id"]: row for row in select_rows(db, _STANDING, [(device_id,) for device_id, _, _ in entries])}
    written = []
    unchanged = []
    for device_id, before, bundle in entries:
        row = found.get(device_id)
        if bundle is before:
            unchanged.append((device_id, bundle.epoch, bundle.revision, checked))
        elif _follows(row, before) and (row is None or row["checked_revision"] <= checked):
            written.append((device_id, bundle))
    insert_rows(
        db,
        _REPLACE,
        [
            (device_id, new.epoch, new.revision, new.profile_hash, new.sealed, new.sealed_at, checked, new.sealed_at)
            for device_id, new in written
        ],
    )
    insert_rows(db, _CHECK, unchanged)
    return written


def _follows(row: sqlite3.Row | None, before: Bundle | None) -> bool:
    """Whether what stands is what was there when the next one was made."""
    if row is None or before is None:
        return row is None and before is None
    return (row["epoch"], row["revision"], row["profile_hash"]) == (before.epoch, before.revision, before.profile_hash)


def mark_stale(db: Database, device_id: DeviceId | None = None) -> int:
    """Have bundles sealed anew though nothing in them changed, of one device or of all; return how many there are.

    The caller counts a change of profiles (`next_revision`), which is what sealing waits for.
    """
    where = "" if device_id is None else " WHERE device_id = ?"
    query = f"UPDATE bundles SET profile_hash = ?, checked_revision = 0{where}"  # noqa: S608 -- constant text
    return db.execute(query, (b"", *(() if device_id is None else (device_id,)))).rowcount
