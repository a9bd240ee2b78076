"""The denials table: whose certificates are no longer welcome, and which version of the list says so.

A list is one (epoch, version) and always the same rows: what adds or drops one counts the version in its transaction.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import attrs

from pharos.helm.errors import ConflictError
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.ids import fresh_id
from pharos.wire.ids import FleetId
from pharos.wire.pki.denylist import KEPT_AFTER_END, MAX_ENTRIES, DenyEntry, DenyList, tunnel_key_hash
from pharos.wire.pki.roles import Identity, Role

_SECOND: Final = 1_000_000
_KEY: Final = "key"
"""In the column ``role``: the row is about keys alone."""
_COLUMNS: Final = "id, role, subject, spki, tunnel_key_hash, not_after, created_at"


@attrs.frozen(kw_only=True)
class DenyOrder:
    """Which list is the newest."""

    epoch: int
    version: int
    """0 as long as nobody was ever denied."""
    issued: int
    """Seconds since 1970."""

    @property
    def order(self) -> tuple[int, int]:
        """As members compare it."""
        return self.epoch, self.version


def deny_order(db: Database) -> DenyOrder:
    """Return which list is the newest."""
    row = db.execute("SELECT epoch, deny_version, deny_issued FROM fleet").fetchone()
    return DenyOrder(epoch=row["epoch"], version=row["deny_version"], issued=row["deny_issued"])


def deny_list(db: Database) -> DenyList:
    """Return the newest list, not yet signed; its version is 0 and it is empty as long as nobody was ever denied."""
    fleet = FleetId(db.execute("SELECT id FROM fleet").fetchone()["id"])
    newest = deny_order(db)
    entries = sorted(_entries(db, fleet), key=lambda entry: entry.target)
    return DenyList(
        fleet=fleet, epoch=newest.epoch, version=newest.version, issued=newest.issued, entries=tuple(entries)
    )


def deny_member(db: Database, act: Act, role: Role, subject: str, *, tunnel_key: bytes | None = None) -> None:
    """Deny a member for ever, with every key that it had and the AmneziaWG key (32 bytes) that it has.

    Raises: ConflictError — the list is full.
    """
    ends = db.execute("SELECT MAX(not_after_at) FROM certificates WHERE subject = ?", (subject,)).fetchone()[0]
    entry = DenyEntry(
        member=Identity(fleet=FleetId(db.execute("SELECT id FROM fleet").fetchone()["id"]), role=role, id=subject),
        tunnel_key_hash=None if tunnel_key is None else tunnel_key_hash(tunnel_key),
        not_after=max(ends or 0, act.at) // _SECOND,
    )
    add_denials(db, (entry,), at=act.at)


def add_denials(db: Database, entries: Iterable[DenyEntry], *, at: int) -> bool:
    """Add entries to the list and drop those that are outlived; return whether it became another one.

    What is on it already stays, with the later of both ends: lists that come back from members after a restore may be
    added as they are.

    Raises: ConflictError — the list is full.
    """
    fleet = FleetId(db.execute("SELECT id FROM fleet").fetchone()["id"])
    known = {entry.target: entry for entry in _entries(db, fleet)}
    changed = _drop_outlived(db, at) > 0
    for entry in entries:
        before = known.get(entry.target)
        if before is not None and before.not_after >= entry.not_after:
            continue
        role, subject = (_KEY, "") if entry.member is None else (entry.member.role.value, entry.member.id)
        if before is not None:
            _remove(db, role, subject, entry)
        db.execute(
            f"INSERT INTO denials ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 -- constant text
            (fresh_id(), role, subject, entry.spki_hash, entry.tunnel_key_hash, entry.not_after, at),
        )
        known[entry.target] = entry
        changed = True
    if changed:
        if db.execute("SELECT COUNT(*) FROM denials").fetchone()[0] > MAX_ENTRIES:
            raise ConflictError(
                f"the deny list is full: {MAX_ENTRIES} members were revoked whose certificates have not ended;"
                " exchange the authority that signed them: helm ca rotate --device-ca"
            )
        next_deny_version(db, at)
    return changed


def prune_denials(db: Database, at: int) -> bool:
    """Drop what is outlived; return whether there was anything."""
    if not _drop_outlived(db, at):
        return False
    next_deny_version(db, at)
    return True


def next_deny_version(db: Database, at: int) -> None:
    """Count a new version of the list, in the caller's transaction: also when nothing but its signature changes."""
    db.execute("UPDATE fleet SET deny_version = deny_version + 1, deny_issued = ?", (at // _SECOND,))


def _drop_outlived(db: Database, at: int) -> int:
    before = at // _SECOND - int(KEPT_AFTER_END.total_seconds())
    return db.execute("DELETE FROM denials WHERE not_after < ?", (before,)).rowcount


def _remove(db: Database, role: str, subject: str, entry: DenyEntry) -> None:
    db.execute(
        "DELETE FROM denials WHERE role = ? AND subject = ? AND COALESCE(spki, ?) = ?"
        " AND COALESCE(tunnel_key_hash, ?) = ?",
        (role, subject, b"", entry.spki_hash or b"", b"", entry.tunnel_key_hash or b""),
    )


def _entries(db: Database, fleet: FleetId) -> list[DenyEntry]:
    return [
        DenyEntry(
            member=None if row["role"] == _KEY else Identity(fleet=fleet, role=Role(row["role"]), id=row["subject"]),
            spki_hash=row["spki"],
            tunnel_key_hash=row["tunnel_key_hash"],
            not_after=row["not_after"],
        )
        for row in db.execute(f"SELECT {_COLUMNS} FROM denials")  # noqa: S608 -- constant text
    ]
