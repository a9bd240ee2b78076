"""What nodes say of their REALITY keys: believed where the node's derive key has signed it, and the first word counts.

Devices check the same signature. A key that they would refuse never gets into a profile, and somebody hears of it.
"""

from __future__ import annotations

from typing import Final

import attrs

from pharos.helm.alerts.acts import clear_alert, raise_alert
from pharos.helm.model.alerts import Severity
from pharos.helm.model.nodes import Node
from pharos.helm.store.alerts import standing_alert
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.fleet import get_fleet, next_revision
from pharos.helm.store.members import member_state, note_member
from pharos.helm.store.nodes import NODES
from pharos.helm.store.realitykeys import put_reality_key, reality_keys
from pharos.helm.store.records import find_record
from pharos.helm.store.reissues import note_known, reissues_of
from pharos.wire.errors import LockError
from pharos.wire.ids import FleetId, NodeId
from pharos.wire.reports import RealityKey, RealityReport
from pharos.wire.seal.realitykey import verify_reality_key

FALSE_KEY: Final = "reality_key_refused"
"""Kind of the alert; one stands for a node."""


@attrs.frozen(kw_only=True)
class RealityNews:
    """What of a report is to be written down."""

    keys: tuple[RealityKey, ...] = ()
    """Proven, and not known yet."""
    port: int | None = None
    """Another one than before."""
    refused: str = ""
    """Why a key was refused; empty: none was."""
    cleared: bool = False
    """One was before, and now all are as they should be."""

    @property
    def is_news(self) -> bool:
        """Whether there is anything."""
        return self != RealityNews()


def reality_news(db: Database, fleet: FleetId, node_id: NodeId, report: RealityReport | None) -> RealityNews:
    """Compare what a node says with the record."""
    if report is None:
        return RealityNews()
    port = None if report.port == member_state(db, node_id).reality_port else report.port
    # Most reports have none, for the node has told them; and they are looked at all the time.
    node = find_record(db, NODES, node_id) if report.keys else None
    if node is None:
        return RealityNews(port=port)
    known, wanted = reality_keys(db, node_id), _generations(db, node)
    told = [key for key in report.keys if key.generation in wanted]
    faults = [_fault_of(key, known.get(key.generation), node, fleet) for key in told]
    refused = next(filter(None, faults), "")
    stands = standing_alert(db, FALSE_KEY, node_id) is not None
    return RealityNews(
        keys=tuple(key for key, fault in zip(told, faults, strict=True) if not fault and key.generation not in known),
        port=port,
        refused="" if stands else refused,
        cleared=stands and bool(told) and not refused,
    )


def note_reality(db: Database, act: Act, node_id: NodeId, report: RealityReport | None, *, moves: bool = True) -> None:
    """Write down what is new; profiles name it from the next revision on where the node serves REALITY.

    Without ``moves`` the port stays what it was.
    """
    news = reality_news(db, get_fleet(db).id, node_id, report)
    if not moves:
        news = attrs.evolve(news, port=None)
    for key in news.keys:
        put_reality_key(db, node_id, key, at=act.at)
    if news.port is not None:
        note_member(db, node_id, at=act.at, reality_port=news.port)
    if news.refused:
        raise_alert(db, act, FALSE_KEY, Severity.CRITICAL, news.refused, noun="node", subject=node_id)
    elif news.cleared:
        clear_alert(db, act, FALSE_KEY, node_id)
    if news.port is not None or (news.keys and member_state(db, node_id).reality_port):
        # Whoever holds a profile of before this one does not know all that is new.
        note_known(db, node_id, next_revision(db))


def _fault_of(key: RealityKey, known: RealityKey | None, node: Node, fleet: FleetId) -> str:
    """Return what is wrong with a key that a node reports; empty: nothing is."""
    if known is not None:
        if known.public_key == key.public_key:
            return ""
        return f"{node.name} reports another REALITY key of generation {key.generation} than it did first"
    try:
        verify_reality_key(
            key.public_key,
            key.proof,
            derive_key=node.derive_key,
            fleet=fleet,
            node=node.id,
            generation=key.generation,
        )
    except LockError:
        return f"{node.name} reports a REALITY key of generation {key.generation} that it has not signed"
    return ""


def _generations(db: Database, node: Node) -> set[int]:
    """Return the generations in which the record has this node."""
    old = (reissue.reality for reissue in reissues_of(db, node.id))
    return {reality.generation for reality in (node.reality, *old) if reality is not None}
