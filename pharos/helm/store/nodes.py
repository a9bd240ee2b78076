"""The nodes table."""

from __future__ import annotations

from typing import Any, Final

from pharos.helm.model.nodes import Node
from pharos.helm.store.database import Database
from pharos.helm.store.records import Noun
from pharos.wire.awg.params import ObfuscationParameters
from pharos.wire.reality.params import RealityParameters


def _tagged(tag: str) -> tuple[str, list[Any]]:
    # The column holds a JSON list, so a tag between quotation marks is a whole one.
    literal = tag.replace("!", "!!").replace("%", "!%").replace("_", "!_")
    return "tags LIKE ? ESCAPE '!'", [f'%"{literal}"%']


NODES: Final = Noun(
    kind="node",
    table="nodes",
    columns=(
        *("id", "name", "address", "control_port", "awg_port", "spare_ports", "tags", "note", "state"),
        *("place", "latitude", "longitude"),
        *("awg_key", "derive_key", "awg_parameters", "reality", "spki", "certificate"),
        *("key_proof", "lock_signature", "ssh_destination", "ssh_host_key"),
    ),
    model=Node,
    documents=frozenset({"spare_ports", "tags", "awg_parameters", "reality"}),
    forms={"awg_parameters": ObfuscationParameters.from_mapping, "reality": RealityParameters.from_mapping},
    hidden=frozenset({"spki", "certificate", "key_proof", "lock_signature"}),
    filters={
        "name": "name = ?",
        "state": "state = ?",
        "address": "address = ?",
        "tag": _tagged,
        "q": "LOWER(name) LIKE LOWER(?) ESCAPE '!'",
    },
)


def find_node_by_key(db: Database, spki: bytes) -> Node | None:
    """Return the node whose certificate key has this hash."""
    row = db.execute(f"SELECT {NODES.all_columns} FROM nodes WHERE spki = ?", (spki,)).fetchone()  # noqa: S608
    return None if row is None else NODES.load(row)


def list_nodes(db: Database) -> list[Node]:
    """Return every node, oldest first."""
    return [NODES.load(row) for row in db.execute(f"SELECT {NODES.all_columns} FROM nodes ORDER BY id")]  # noqa: S608
