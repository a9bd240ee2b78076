"""The rotations table, and rotation_members: which of the fleet's keys are being exchanged, and who is waited for."""

from __future__ import annotations

import base64
import json
from typing import Any, Final

import attrs

from pharos.helm.store.changes import Act, record_change
from pharos.helm.store.database import Database
from pharos.helm.store.times import rfc3339
from pharos.wire.pki.roles import parse_identity
from pharos.wire.pki.rotation import Rotation, State, Subject

MANIFESTS: Final = {State.DISTRIBUTING: 0, State.SWITCHING: 1, State.DROPPING: 2, State.DONE: 2}
"""Index of the manifest that goes with a state."""
_COLUMNS: Final = "id, subjects, state, manifests, version, created_at, updated_at, updated_by"


@attrs.frozen(kw_only=True)
class StoredRotation:
    """One rotation as the record keeps it."""

    id: str
    rotation: Rotation
    manifests: tuple[bytes, ...] = attrs.field(repr=False)
    """Signed by the root when it was prepared: those of distributing, switching and dropping."""
    version: int = 1
    created_at: int = 0
    """Microseconds since 1970."""
    updated_at: int = 0
    updated_by: str = ""

    @property
    def manifest(self) -> bytes:
        """The manifest of its state."""
        return self.manifests[MANIFESTS[self.rotation.state]]

    def view(self) -> dict[str, Any]:
        """Return it as the feed and commands show it."""
        return {
            "id": self.id,
            "subjects": sorted(subject.value for subject in self.rotation.subjects),
            "state": self.rotation.state.value,
            "waiting": sorted(member.uri for member in self.rotation.waiting),
            "members": len(self.rotation.members),
            "version": self.version,
            "created_at": rfc3339(self.created_at),
            "updated_at": rfc3339(self.updated_at),
            "updated_by": self.updated_by,
        }


def active_rotation(db: Database) -> StoredRotation | None:
    """Return the rotation that is going on."""
    row = db.execute(
        f"SELECT {_COLUMNS} FROM rotations WHERE state <> ? ORDER BY id DESC LIMIT 1",  # noqa: S608 -- constant text
        (State.DONE.value,),
    ).fetchone()
    return None if row is None else _load(db, row)


def list_rotations(db: Database) -> list[StoredRotation]:
    """Return every rotation, oldest first."""
    return [_load(db, row) for row in db.execute(f"SELECT {_COLUMNS} FROM rotations ORDER BY id").fetchall()]  # noqa: S608


def add_rotation(db: Database, act: Act, stored: StoredRotation) -> StoredRotation:
    """Write a rotation that was just prepared."""
    subjects = json.dumps(sorted(subject.value for subject in stored.rotation.subjects))
    manifests = json.dumps([base64.b64encode(manifest).decode() for manifest in stored.manifests])
    db.execute(
        f"INSERT INTO rotations ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 -- constant text
        (stored.id, subjects, stored.rotation.state.value, manifests, 1, act.at, act.at, act.actor),
    )
    added = attrs.evolve(stored, version=1, created_at=act.at, updated_at=act.at, updated_by=act.actor)
    _put_members(db, added)
    record_change(db, act, "rotation", "begun", subject=added.id, version=1, body=added.view(), detail=_named(added))
    return added


def put_rotation(db: Database, act: Act, stored: StoredRotation, after: Rotation) -> StoredRotation:
    """Write what a rotation has become. Who is waited for is no news; a new state is, and goes into the audit."""
    moved = after.state is not stored.rotation.state
    version = stored.version + moved
    changed = attrs.evolve(stored, rotation=after, version=version, updated_at=act.at, updated_by=act.actor)
    db.execute(
        "UPDATE rotations SET state = ?, version = ?, updated_at = ?, updated_by = ? WHERE id = ?",
        (after.state.value, version, act.at, act.actor, stored.id),
    )
    _put_members(db, changed)
    if moved:
        verb, detail = after.state.value, _named(changed)
        record_change(
            db, act, "rotation", verb, subject=changed.id, version=version, body=changed.view(), detail=detail
        )
    return changed


def held_bundles(db: Database) -> frozenset[str]:
    """Return the devices that hold their newest bundle, and it is not stale."""
    rows = db.execute(
        "SELECT device_id FROM bundles WHERE profile_hash <> ? AND held_epoch = epoch AND held_revision = revision",
        (b"",),
    )
    return frozenset(row["device_id"] for row in rows)


def _named(stored: StoredRotation) -> str:
    return ", ".join(sorted(subject.value for subject in stored.rotation.subjects))


def _put_members(db: Database, stored: StoredRotation) -> None:
    db.execute("DELETE FROM rotation_members WHERE rotation_id = ?", (stored.id,))
    waiting = stored.rotation.waiting
    if stored.rotation.state is State.DONE:
        return
    db.executemany(
        "INSERT INTO rotation_members (rotation_id, member, waiting) VALUES (?, ?, ?)",
        [(stored.id, member.uri, int(member in waiting)) for member in sorted(stored.rotation.members, key=str)],
    )


def _load(db: Database, row: Any) -> StoredRotation:
    rows = db.execute("SELECT member, waiting FROM rotation_members WHERE rotation_id = ?", (row["id"],)).fetchall()
    members = {parse_identity(found["member"]): bool(found["waiting"]) for found in rows}
    return StoredRotation(
        id=row["id"],
        rotation=Rotation(
            subjects=frozenset(Subject(value) for value in json.loads(row["subjects"])),
            state=State(row["state"]),
            members=frozenset(members),
            waiting=frozenset(member for member, waiting in members.items() if waiting),
        ),
        manifests=tuple(base64.b64decode(text) for text in json.loads(row["manifests"])),
        version=row["version"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        updated_by=row["updated_by"],
    )
