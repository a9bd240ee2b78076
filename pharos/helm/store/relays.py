"""The relays table."""

from __future__ import annotations

from typing import Final

from pharos.helm.model.relays import Relay
from pharos.helm.store.database import Database
from pharos.helm.store.records import Noun

RELAYS: Final = Noun(
    kind="relay",
    table="relays",
    columns=(
        *("id", "name", "address", "ingress_port", "tunnel_port", "note", "state"),
        *("place", "latitude", "longitude"),
        *("spki", "certificate", "ssh_destination", "ssh_host_key"),
    ),
    model=Relay,
    hidden=frozenset({"spki", "certificate"}),
    filters={
        "name": "name = ?",
        "state": "state = ?",
        "address": "address = ?",
        "q": "LOWER(name) LIKE LOWER(?) ESCAPE '!'",
    },
)


def find_relay_by_key(db: Database, spki: bytes) -> Relay | None:
    """Return the relay whose certificate key has this hash."""
    row = db.execute(f"SELECT {RELAYS.all_columns} FROM relays WHERE spki = ?", (spki,)).fetchone()  # noqa: S608
    return None if row is None else RELAYS.load(row)


def list_relays(db: Database) -> list[Relay]:
    """Return every relay, oldest first."""
    rows = db.execute(f"SELECT {RELAYS.all_columns} FROM relays ORDER BY id")  # noqa: S608 -- names of a Noun
    return [RELAYS.load(row) for row in rows]
