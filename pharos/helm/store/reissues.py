"""The reissues table."""

from __future__ import annotations

from typing import Final

from pharos.helm.model.reissues import Reissue, ReissueState
from pharos.helm.model.users import Protocol
from pharos.helm.store.database import Database
from pharos.helm.store.records import Noun
from pharos.wire.awg.params import ObfuscationParameters
from pharos.wire.desired import PreviousEndpoint
from pharos.wire.ids import NodeId
from pharos.wire.reality.params import RealityParameters

REISSUES: Final = Noun(
    kind="reissue",
    table="reissues",
    columns=("id", "node_id", "port", "parameters", "reality", "revision", "until_at", "state"),
    model=Reissue,
    documents=frozenset({"parameters", "reality"}),
    forms={"parameters": ObfuscationParameters.from_mapping, "reality": RealityParameters.from_mapping},
    hidden=frozenset({"parameters", "reality", "revision"}),
    filters={"node": "node_id = ?", "state": "state = ?"},
)


def served_reissues(db: Database) -> list[Reissue]:
    """Return what nodes still serve of old parameters, oldest first."""
    rows = db.execute(
        f"SELECT {REISSUES.all_columns} FROM reissues WHERE state = ? ORDER BY id",  # noqa: S608 -- names of a Noun
        (ReissueState.SERVED.value,),
    )
    return [REISSUES.load(row) for row in rows]


def reissues_of(db: Database, node_id: str) -> list[Reissue]:
    """Return what one node still serves of old parameters, oldest first."""
    rows = db.execute(
        f"SELECT {REISSUES.all_columns} FROM reissues WHERE node_id = ? AND state = ? ORDER BY id",  # noqa: S608
        (node_id, ReissueState.SERVED.value),
    )
    return [REISSUES.load(row) for row in rows]


def previous_endpoints(db: Database) -> dict[NodeId, tuple[PreviousEndpoint, ...]]:
    """Return for each node what it serves beside its parameters."""
    found: dict[NodeId, tuple[PreviousEndpoint, ...]] = {}
    for reissue in served_reissues(db):
        endpoint = PreviousEndpoint(
            port=reissue.port, awg=reissue.parameters, reality=reissue.reality, until=reissue.until_at
        )
        node_id = NodeId(reissue.node_id)
        found[node_id] = (*found.get(node_id, ()), endpoint)
    return found


def newest_reissues(db: Database, at: int) -> dict[str, dict[Protocol, int]]:
    """Return by node when each protocol's parameters were replaced last; what a wrong clock dated after ``at`` is not.

    Microseconds since 1970.
    """
    replaced = {Protocol.AMNEZIAWG: "parameters", Protocol.REALITY: "reality"}
    newest: dict[str, dict[Protocol, int]] = {}
    for protocol, column in replaced.items():
        rows = db.execute(
            f"SELECT node_id, MAX(created_at) AS at FROM reissues WHERE created_at <= ? AND {column} <> 'null'"  # noqa: S608
            " GROUP BY node_id",
            (at,),
        )
        for row in rows:
            newest.setdefault(row["node_id"], {})[protocol] = row["at"]
    return newest


def note_known(db: Database, node_id: str, revision: int) -> None:
    """Note that only a profile of this revision has all that a node was given instead of the old parameters.

    It has said its new REALITY key, or on which port it serves it.
    """
    db.execute(
        "UPDATE reissues SET revision = ? WHERE node_id = ? AND state = ? AND reality <> 'null'",
        (revision, node_id, ReissueState.SERVED.value),
    )


def count_unaware(db: Database, reissue: Reissue, at: int) -> int:
    """Return how many devices may use the fleet and have not acknowledged a bundle made since the re-issue.

    A device acknowledges by saying that it holds its newest bundle. Where the re-issue changed nothing in that, for the
    device may not use this node, it needs no newer one: that its bundle was compared since is enough.
    """
    # An earlier version did not note the revision: there the time tells.
    sealed_since = 0 if reissue.revision else reissue.created_at
    count: int = db.execute(
        "SELECT COUNT(*) FROM devices LEFT JOIN bundles ON bundles.device_id = devices.id"
        " WHERE devices.state = 'active' AND (devices.expires_at IS NULL OR devices.expires_at > ?)"
        " AND devices.created_at < ? AND (bundles.device_id IS NULL OR bundles.checked_revision < ?"
        " OR bundles.sealed_at < ? OR bundles.held_epoch <> bundles.epoch"
        " OR bundles.held_revision <> bundles.revision)",
        (at, reissue.created_at, reissue.revision, sealed_since),
    ).fetchone()[0]
    return count
