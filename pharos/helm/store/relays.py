"""Rows of the relays table."""

from __future__ import annotations

import sqlite3

from pharos.helm.errors import ConflictError
from pharos.helm.model.nodes import NodeState
from pharos.helm.model.relays import Relay
from pharos.helm.store.database import Database
from pharos.wire.ids import RelayId

_COLUMNS = "id, name, address, ingress_port, tunnel_port, state, version, created_at"


def add_relay(db: Database, relay: Relay, *, certificate: bytes, spki: bytes, actor: str) -> None:
    """Write a new relay.

    Raises: ConflictError — its name or key is taken.
    """
    try:
        db.execute(
            f"INSERT INTO relays ({_COLUMNS}, certificate, spki, updated_at, updated_by)"  # noqa: S608 -- constant text
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                relay.id,
                relay.name,
                relay.address,
                relay.ingress_port,
                relay.tunnel_port,
                relay.state.value,
                relay.version,
                relay.created_at,
                certificate,
                spki,
                relay.created_at,
                actor,
            ),
        )
    except sqlite3.IntegrityError as error:
        raise ConflictError(
            f"a relay named {relay.name!r}, or one with the same key, is in the fleet already"
        ) from error


def find_relay_by_key(db: Database, spki: bytes) -> tuple[Relay, bytes] | None:
    """Return the relay whose certificate key has this hash, and its certificate (DER)."""
    row = db.execute(f"SELECT {_COLUMNS} FROM relays WHERE spki = ?", (spki,)).fetchone()  # noqa: S608 -- constant
    if row is None:
        return None
    certificate = db.execute("SELECT certificate FROM relays WHERE spki = ?", (spki,)).fetchone()[0]
    return _relay(row), certificate


def list_relays(db: Database) -> list[Relay]:
    """Return every relay, oldest first."""
    rows = db.execute(f"SELECT {_COLUMNS} FROM relays ORDER BY id")  # noqa: S608 -- constant text
    return [_relay(row) for row in rows]


def _relay(row: sqlite3.Row) -> Relay:
    return Relay(**dict(row) | {"id": RelayId(row["id"]), "state": NodeState(row["state"])})
