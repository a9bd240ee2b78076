"""Rows of the nodes table."""

from __future__ import annotations

import json
import sqlite3

from pharos.helm.errors import ConflictError
from pharos.helm.model.nodes import Node, NodeState
from pharos.helm.store.database import Database
from pharos.wire.awg.params import ObfuscationParameters
from pharos.wire.ids import NodeId

_COLUMNS = (
    "id, name, address, control_port, awg_port, tags, state, awg_key, derive_key, awg_parameters, version, created_at"
)


def add_node(db: Database, node: Node, *, certificate: bytes, spki: bytes, actor: str) -> None:
    """Write a new node.

    Raises: ConflictError — its name or one of its keys is taken.
    """
    try:
        db.execute(
            f"INSERT INTO nodes ({_COLUMNS}, certificate, spki, updated_at, updated_by)"  # noqa: S608 -- constant text
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                node.id,
                node.name,
                node.address,
                node.control_port,
                node.awg_port,
                json.dumps(node.tags),
                node.state.value,
                node.awg_key,
                node.derive_key,
                json.dumps(node.awg_parameters.as_mapping()),
                node.version,
                node.created_at,
                certificate,
                spki,
                node.created_at,
                actor,
            ),
        )
    except sqlite3.IntegrityError as error:
        raise ConflictError(
            f"a node named {node.name!r}, or one with the same keys, is in the fleet already"
        ) from error


def find_node_by_key(db: Database, spki: bytes) -> tuple[Node, bytes] | None:
    """Return the node whose certificate key has this hash, and its certificate (DER)."""
    row = db.execute(f"SELECT {_COLUMNS} FROM nodes WHERE spki = ?", (spki,)).fetchone()  # noqa: S608 -- constant text
    if row is None:
        return None
    certificate = db.execute("SELECT certificate FROM nodes WHERE spki = ?", (spki,)).fetchone()[0]
    return _node(row), certificate


def list_nodes(db: Database) -> list[Node]:
    """Return every node, oldest first."""
    return [_node(row) for row in db.execute(f"SELECT {_COLUMNS} FROM nodes ORDER BY id")]  # noqa: S608 -- constant text


def _node(row: sqlite3.Row) -> Node:
    values = dict(row)
    return Node(
        **values
        | {
            "id": NodeId(values["id"]),
            "tags": tuple(json.loads(values["tags"])),
            "state": NodeState(values["state"]),
            "awg_parameters": ObfuscationParameters.from_mapping(json.loads(values["awg_parameters"])),
        }
    )
