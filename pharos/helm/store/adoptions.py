"""The adoptions table, and which nodes a restored helm has read."""

from __future__ import annotations

from typing import Final

from pharos.helm.model.adoptions import Adoption, AdoptionState
from pharos.helm.store.database import Database
from pharos.helm.store.records import Noun
from pharos.wire.desired import Peer
from pharos.wire.ids import DeviceId, NodeId

_WAITING: Final = AdoptionState.WAITING.value

ADOPTIONS: Final = Noun(
    kind="adoption",
    table="adoptions",
    columns=("id", "node_id", "device_id", "peer", "state"),
    model=Adoption,
    documents=frozenset({"peer"}),
    filters={"state": "state = ?", "node": "node_id = ?", "device": "device_id = ?"},
    sorts={"created_at": "created_at"},
)


def adoptions_of(db: Database, device_id: DeviceId) -> list[Adoption]:
    """Return every row about a device, whatever became of it, oldest first."""
    rows = db.execute(
        f"SELECT {ADOPTIONS.all_columns} FROM adoptions WHERE device_id = ? ORDER BY id",  # noqa: S608
        (device_id,),
    )
    return [ADOPTIONS.load(row) for row in rows]


def adoptions_at(db: Database, node_id: NodeId) -> dict[DeviceId, Adoption]:
    """Return the newest row of each device at a node."""
    rows = db.execute(
        f"SELECT {ADOPTIONS.all_columns} FROM adoptions WHERE node_id = ? ORDER BY id",  # noqa: S608
        (node_id,),
    )
    return {adoption.device_id: adoption for adoption in map(ADOPTIONS.load, rows)}


def held_peers(db: Database, node_id: NodeId) -> list[Peer]:
    """Return the peers that a node keeps although the record does not know them, by device.

    A device of the record goes before: whose id, key or address it has is not held.
    """
    rows = db.execute(
        f"SELECT {ADOPTIONS.all_columns} FROM adoptions WHERE state = ? AND node_id = ? ORDER BY device_id",  # noqa: S608
        (_WAITING, node_id),
    )
    return [peer for peer in (ADOPTIONS.load(row).as_peer() for row in rows) if not is_recorded(db, peer)]


def waiting_nodes(db: Database) -> list[NodeId]:
    """Return the nodes that keep peers which wait for somebody's word."""
    rows = db.execute("SELECT DISTINCT node_id FROM adoptions WHERE state = ? ORDER BY node_id", (_WAITING,))
    return [NodeId(row["node_id"]) for row in rows]


def count_adoptions(db: Database) -> dict[str, int]:
    """Return how many there are in each state."""
    rows = db.execute("SELECT state, COUNT(*) AS number FROM adoptions GROUP BY state")
    return dict.fromkeys((state.value for state in AdoptionState), 0) | {row["state"]: row["number"] for row in rows}


def is_recorded(db: Database, peer: Peer) -> bool:
    """Return whether the record has a device with the id, a tunnel key or an address of a peer."""
    hosts = [network.partition("/")[0] for network in peer.addresses]
    marks = ", ".join("?" for _ in hosts)
    return (
        db.execute(
            "SELECT 1 FROM devices WHERE id = ? OR awg_key = ? OR derive_key = ?"  # noqa: S608 -- marks only
            f" OR address4 IN ({marks}) OR address6 IN ({marks})",
            (peer.device_id, peer.awg_key, peer.derive_key, *hosts, *hosts),
        ).fetchone()
        is not None
    )


def is_taken(db: Database, address4: str, address6: str) -> bool:
    """Return whether an address belongs to a device, or to a peer that waits for adoption."""
    if db.execute("SELECT 1 FROM devices WHERE address4 = ? OR address6 = ?", (address4, address6)).fetchone():
        return True
    return any(
        db.execute("SELECT 1 FROM adoptions WHERE state = ? AND peer LIKE ?", (_WAITING, f'%"{address}/%')).fetchone()
        for address in (address4, address6)
    )


def must_be_read(db: Database, member_id: str) -> bool:
    """Return whether a node has to be asked what it has before it may be told anything: the record was restored."""
    row = db.execute(
        "SELECT 1 FROM fleet WHERE restored_at IS NOT NULL"
        " AND epoch > COALESCE((SELECT read_epoch FROM member_states WHERE id = ?), 0)",
        (member_id,),
    ).fetchone()
    return row is not None


def note_read(db: Database, member_id: str) -> None:
    """Note that a node was asked in this epoch."""
    db.execute(
        "INSERT INTO member_states (id, read_epoch) VALUES (?, (SELECT epoch FROM fleet))"
        " ON CONFLICT (id) DO UPDATE SET read_epoch = excluded.read_epoch",
        (member_id,),
    )
