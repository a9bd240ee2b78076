"""Signed checkpoints of the audit: the newest is for witnesses, the oldest is what the oldest row follows."""

from __future__ import annotations

from typing import Final

import attrs

from pharos.helm.audit.chain import Link
from pharos.helm.store.database import Database
from pharos.wire.ids import FleetId
from pharos.wire.seal.checkpoint import Checkpoint, join_checkpoint

_COLUMNS: Final = "sequence, at, hash, signature"


@attrs.frozen(kw_only=True)
class StoredCheckpoint:
    """A row of the table, believed by nobody before its signature was verified."""

    sequence: int
    at: int
    """When it was signed, in microseconds since 1970."""
    hash: bytes
    """Of the audit row of this sequence."""
    signature: bytes

    @property
    def link(self) -> Link:
        """The place in the chain that it names."""
        return Link(self.sequence, self.hash)

    def blob(self, fleet: FleetId) -> bytes:
        """Return it as it travels.

        Raises: ValueError, TypeError — the row was altered and holds what no checkpoint can.
        """
        checkpoint = Checkpoint(fleet=fleet, size=self.sequence, head=self.hash, at=self.at)
        return join_checkpoint(checkpoint, self.signature)


def add_checkpoint(db: Database, checkpoint: StoredCheckpoint) -> None:
    """Write one checkpoint; part of the caller's transaction."""
    db.execute(
        f"INSERT INTO checkpoints ({_COLUMNS}) VALUES (?, ?, ?, ?)",  # noqa: S608 -- constant text
        (checkpoint.sequence, checkpoint.at, checkpoint.hash, checkpoint.signature),
    )


def latest_checkpoint(db: Database) -> StoredCheckpoint | None:
    """Return the checkpoint to offer to witnesses, None before the first was signed."""
    return _one(db, "ORDER BY sequence DESC LIMIT 1")


def find_checkpoint(db: Database, sequence: int) -> StoredCheckpoint | None:
    """Return the checkpoint of exactly this row."""
    return _one(db, "WHERE sequence = ?", sequence)


def next_checkpoint(db: Database, after: int) -> StoredCheckpoint | None:
    """Return the oldest checkpoint of a row after this one."""
    return _one(db, "WHERE sequence > ? ORDER BY sequence LIMIT 1", after)


def checkpoints_between(db: Database, after: int, up_to: int) -> list[StoredCheckpoint]:
    """Return the checkpoints of the rows after ``after`` and up to ``up_to``, oldest first."""
    rows = db.execute(
        f"SELECT {_COLUMNS} FROM checkpoints"  # noqa: S608 -- constant text
        " WHERE sequence > ? AND sequence <= ? ORDER BY sequence",
        (after, up_to),
    )
    return [StoredCheckpoint(**dict(row)) for row in rows]


def remove_checkpoints(db: Database, before: int) -> None:
    """Delete the checkpoints of rows before this one; part of the caller's transaction."""
    db.execute("DELETE FROM checkpoints WHERE sequence < ?", (before,))


def _one(db: Database, which: str, *values: int) -> StoredCheckpoint | None:
    row = db.execute(f"SELECT {_COLUMNS} FROM checkpoints {which}", values).fetchone()  # noqa: S608 -- constant text
    return None if row is None else StoredCheckpoint(**dict(row))
