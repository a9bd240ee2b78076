"""The fleet lock: the owner's offline public key in the fleet's row, and its signatures in the rows of nodes."""

from __future__ import annotations

from pharos.helm.store.database import Database
from pharos.wire.ids import NodeId


def get_lock_key(db: Database) -> bytes | None:
    """Return the Ed25519 public key of the lock, None where there is no lock."""
    row = db.execute("SELECT lock_key FROM fleet").fetchone()
    return None if row is None else row["lock_key"]


def set_lock_key(db: Database, key: bytes) -> None:
    """Write the public key of a new lock; the signatures of one before it are worth nothing any more."""
    db.execute("UPDATE fleet SET lock_key = ?", (key,))
    db.execute("UPDATE nodes SET lock_signature = NULL")


def put_lock_signature(db: Database, node_id: NodeId, signature: bytes) -> None:
    """Write the lock's signature of a node. It is not the node's own record that changes, so its version stays."""
    db.execute("UPDATE nodes SET lock_signature = ? WHERE id = ?", (signature, node_id))
