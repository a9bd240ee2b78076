"""The pairs table: which generation of their secrets a device and a node use, and what each says it derived.

A pair without a row is in its first generation, and nobody has said anything of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

from pharos.helm.store.database import Database
from pharos.wire.ids import DeviceId, NodeId

FIRST_GENERATION = 1
"""Where every pair of device and node starts."""


@attrs.frozen(kw_only=True)
class Said:
    """What one end says it derived."""

    generation: int
    commitment: bytes = attrs.field(repr=False)
    """HMAC(PSK, "commit")[:8]."""

    def encode(self) -> bytes:
        """Return the generation in four octets, big-endian, and the commitment."""
        return self.generation.to_bytes(4, "big") + self.commitment

    @classmethod
    def decode(cls, raw: bytes | None) -> Said | None:
        """Read what ``encode`` gives."""
        return None if raw is None else cls(generation=int.from_bytes(raw[:4], "big"), commitment=raw[4:])


@attrs.frozen(kw_only=True)
class Pair:
    """A device and a node."""

    device_id: DeviceId
    node_id: NodeId
    generation: int = FIRST_GENERATION
    """What they shall come to."""
    acknowledged: int = FIRST_GENERATION
    """What the device has acknowledged, and the node uses; ``generation``, or one less."""
    device: Said | None = None
    node: Said | None = None

    @property
    def differs(self) -> bool:
        """Whether both speak of one generation and did not derive the same."""
        return (
            self.device is not None
            and self.node is not None
            and self.device.generation == self.node.generation
            and self.device.commitment != self.node.commitment
        )


_COLUMNS = "device_id, node_id, generation, acknowledged, device_commitment, node_commitment"


def pairs_of_device(db: Database, device_id: DeviceId) -> dict[NodeId, Pair]:
    """Return the pairs of a device that have a row."""
    rows = db.execute(f"SELECT {_COLUMNS} FROM pairs WHERE device_id = ?", (device_id,))  # noqa: S608 -- constant text
    return {pair.node_id: pair for pair in map(_load, rows)}


def pairs_of_node(db: Database, node_id: NodeId) -> dict[DeviceId, Pair]:
    """Return the pairs of a node that have a row."""
    rows = db.execute(f"SELECT {_COLUMNS} FROM pairs WHERE node_id = ?", (node_id,))  # noqa: S608 -- constant text
    return {pair.device_id: pair for pair in map(_load, rows)}


def moved_pairs(db: Database, device_ids: Iterable[DeviceId] | None = None) -> list[Pair]:
    """Return the pairs that have left the first generation, or are about to; of some devices only, or of all."""
    query = f"SELECT {_COLUMNS} FROM pairs WHERE generation > {FIRST_GENERATION}"  # noqa: S608 -- constant text
    if device_ids is None:
        return list(map(_load, db.execute(query)))
    wanted = list(device_ids)
    marks = ", ".join("?" for _ in wanted)
    query = f"SELECT {_COLUMNS} FROM pairs WHERE generation > {FIRST_GENERATION} AND device_id IN ({marks})"  # noqa: S608
    return list(map(_load, db.execute(query, wanted)))


def put_pairs(db: Database, pairs: Iterable[Pair]) -> None:
    """Write pairs in place of what was there."""
    db.executemany(
        f"INSERT INTO pairs ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)"  # noqa: S608 -- constant text
        " ON CONFLICT (device_id, node_id) DO UPDATE SET generation = excluded.generation,"
        " acknowledged = excluded.acknowledged, device_commitment = excluded.device_commitment,"
        " node_commitment = excluded.node_commitment",
        [
            (
                pair.device_id,
                pair.node_id,
                pair.generation,
                pair.acknowledged,
                pair.device and pair.device.encode(),
                pair.node and pair.node.encode(),
            )
            for pair in pairs
        ],
    )


def known_nodes(db: Database, node_ids: Iterable[NodeId]) -> set[NodeId]:
    """Return those of the ids that are nodes of the fleet."""
    wanted = list(node_ids)
    marks = ", ".join("?" for _ in wanted)
    return {row[0] for row in db.execute(f"SELECT id FROM nodes WHERE id IN ({marks})", wanted)}  # noqa: S608


def _load(row: Mapping[str, object]) -> Pair:
    values = dict(row)
    said = {"device": Said.decode(values.pop("device_commitment")), "node": Said.decode(values.pop("node_commitment"))}  # type: ignore[arg-type]
    return Pair(**values, **said)  # type: ignore[arg-type]
