"""The reality_keys table: the public keys that nodes derived for their REALITY, as they proved them."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from pharos.helm.store.database import Database
from pharos.wire.ids import NodeId
from pharos.wire.reports import RealityKey


@attrs.frozen(kw_only=True)
class ServedReality:
    """What profiles have to know of a node's REALITY beside its parameters."""

    port: int
    """TCP."""
    keys: Mapping[int, RealityKey]
    """By generation."""


def reality_keys(db: Database, node_id: NodeId) -> dict[int, RealityKey]:
    """Return the keys of a node, by generation."""
    rows = db.execute("SELECT generation, public_key, proof FROM reality_keys WHERE node_id = ?", (node_id,))
    return {row["generation"]: RealityKey(**dict(row)) for row in rows}


def put_reality_key(db: Database, node_id: NodeId, key: RealityKey, *, at: int) -> None:
    """Write a key; the first of a generation stays."""
    db.execute(
        "INSERT INTO reality_keys (node_id, generation, public_key, proof, created_at) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (node_id, generation) DO NOTHING",
        (node_id, key.generation, key.public_key, key.proof, at),
    )


def forget_reality_keys(db: Database, node_id: NodeId) -> None:
    """Forget the keys of a node that was given another derive key: it derives others of that."""
    db.execute("DELETE FROM reality_keys WHERE node_id = ?", (node_id,))


def served_reality(db: Database) -> dict[NodeId, ServedReality]:
    """Return what is known of every node that serves REALITY."""
    rows = db.execute(
        "SELECT node_id, reality_port, generation, public_key, proof FROM member_states"
        " JOIN reality_keys ON node_id = id WHERE reality_port > 0"
    )
    found: dict[NodeId, tuple[int, dict[int, RealityKey]]] = {}
    for node_id, port, *key in map(tuple, rows):
        _, keys = found.setdefault(NodeId(node_id), (port, {}))
        generation, public_key, proof = key
        keys[generation] = RealityKey(generation=generation, public_key=public_key, proof=proof)
    return {node_id: ServedReality(port=port, keys=keys) for node_id, (port, keys) in found.items()}
