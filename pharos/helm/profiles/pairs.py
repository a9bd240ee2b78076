"""Blind secrets kept in step: what both ends say they derived is compared, and pairs move on by one generation.

A pair moves in three steps, so that no tunnel waits for helm: the device is told of the next generation in its profile;
it says what it derived for it; only then is the node told to use it, and the device, whose handshakes fail from then
on, tries the next generation by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import attrs

from pharos.helm.alerts.acts import clear_alert, raise_alert
from pharos.helm.model.alerts import AlertState, Severity
from pharos.helm.store.alerts import standing_alert
from pharos.helm.store.changes import Act, record_change
from pharos.helm.store.database import Database
from pharos.helm.store.fleet import next_revision
from pharos.helm.store.pairs import Pair, Said, known_nodes, pairs_of_device, pairs_of_node, put_pairs
from pharos.wire.convert import PeerReport
from pharos.wire.ids import DeviceId, NodeId
from pharos.wire.seal.blind import COMMITMENT_LENGTH

MAX_COMMITMENTS: Final = 64
"""In one sync; caravel sends no more, and a device of a larger fleet reports its first nodes."""
DESYNC: Final = "pair_desync"
"""Kind of the alert; one stands for a node, however many devices disagree with it. To acknowledge it is to confirm."""
LARGEST_GENERATION: Final = 2**32 - 1


def note_commitments(db: Database, act: Act, device_id: DeviceId, commitments: Iterable[tuple[NodeId, Said]]) -> None:
    """Note what a device says it derived for its nodes; what it acknowledges with it, its node hears of.

    Ids that are no nodes', and commitments of another length, are passed over. Nothing is written where nothing is new.
    """
    said = dict(list(commitments)[:MAX_COMMITMENTS])
    said = {node_id: what for node_id, what in said.items() if len(what.commitment) == COMMITMENT_LENGTH}
    if not said:
        return
    pairs, nodes = pairs_of_device(db, device_id), known_nodes(db, said)
    changed = []
    for node_id in sorted(nodes):
        before = pairs.get(node_id, Pair(device_id=device_id, node_id=node_id))
        after = attrs.evolve(before, device=said[node_id])
        if said[node_id].generation == before.generation:
            after = attrs.evolve(after, acknowledged=before.generation)
        if after != before:
            changed.append((before, after))
    put_pairs(db, [after for _, after in changed])
    if any(after.acknowledged != before.acknowledged for before, after in changed):
        next_revision(db)
    for _, after in changed:
        if after.differs:
            _disagree(db, act, after.node_id, {after.device_id: after})


def node_news(db: Database, node_id: NodeId, reports: Iterable[PeerReport]) -> dict[DeviceId, Pair]:
    """Return what a node says it derived for its peers, where that is news, and pairs that go on disagreeing.

    Only of devices that have said something themselves: there is nothing to compare it with otherwise.
    """
    news: dict[DeviceId, Pair] = {}
    pairs = pairs_of_node(db, node_id)
    for report in reports:
        before = pairs.get(report.device_id)
        if before is None or len(report.commitment) != COMMITMENT_LENGTH or report.generation > LARGEST_GENERATION:
            continue
        after = attrs.evolve(before, node=Said(generation=report.generation, commitment=report.commitment))
        if after != before or after.differs:
            news[report.device_id] = after
    return news


def note_node_commitments(db: Database, act: Act, node_id: NodeId, reports: Iterable[PeerReport]) -> None:
    """Note what a node says it derived for its peers, raise an alert where that is not what they derived, or clear it.

    Nothing is written where nothing is new.
    """
    news = node_news(db, node_id, reports)
    if not news:
        return
    put_pairs(db, news.values())
    disagreeing = {device_id: pair for device_id, pair in pairs_of_node(db, node_id).items() if pair.differs}
    if disagreeing:
        _disagree(db, act, node_id, disagreeing)
    else:
        clear_alert(db, act, DESYNC, node_id)


def move_pairs(db: Database, act: Act, pairs: Iterable[Pair]) -> int:
    """Let pairs come to their next generation, those that are on their way already apart; return how many."""
    moved = [
        attrs.evolve(pair, generation=pair.generation + 1, device=None, node=None)
        for pair in pairs
        if pair.generation == pair.acknowledged < LARGEST_GENERATION
    ]
    put_pairs(db, moved)
    for pair in moved:
        record_change(
            db,
            act,
            "pair",
            "moved",
            subject=pair.device_id,
            version=pair.generation,
            body=None,
            detail=f"node {pair.node_id}",
        )
    if moved:
        next_revision(db)
    return len(moved)


def _disagree(db: Database, act: Act, node_id: NodeId, pairs: Mapping[DeviceId, Pair]) -> None:
    standing = standing_alert(db, DESYNC, node_id)
    if standing is not None and standing.state is AlertState.ACKNOWLEDGED:
        # Somebody has looked at it and wants them to begin anew. If that does not help, it is raised anew.
        if move_pairs(db, act, pairs.values()):
            clear_alert(db, act, DESYNC, node_id)
        return
    first = min(pairs)
    text = (
        f"{len(pairs)} device{'s derive' if len(pairs) > 1 else ' derives'} another tunnel secret than this node"
        f" (device {first}); acknowledge this to let them derive new ones"
    )
    evidence: dict[str, str | int | float] = {"devices": len(pairs), "device": first}
    raise_alert(db, act, DESYNC, Severity.WARNING, text, noun="node", subject=node_id, evidence=evidence)
