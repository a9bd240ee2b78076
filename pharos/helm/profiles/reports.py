"""What a node's status says that concerns quotas and blind secrets; most of the time nothing new, and then no write."""

from __future__ import annotations

import attrs

from pharos.helm.profiles.pairs import node_news, note_node_commitments
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.leases import note_used, used_news
from pharos.helm.store.pairs import pairs_of_node
from pharos.wire.convert import NodeReport
from pharos.wire.ids import NodeId


@attrs.frozen(kw_only=True)
class Told:
    """What follows from a report for quotas and secrets."""

    is_news: bool
    """Something of it has to be written: `note_report`."""
    incomplete: bool
    """A device waits for the node's word about a secret, or disagrees with it, and the node may not say it again."""


def read_told(db: Database, node_id: NodeId, report: NodeReport) -> Told:
    """Compare a report with the record."""
    pairs = pairs_of_node(db, node_id).values()
    return Told(
        is_news=bool(used_news(db, node_id, report.applied, report.peers) or node_news(db, node_id, report.peers)),
        incomplete=any(pair.device is not None and (pair.node is None or pair.differs) for pair in pairs),
    )


def note_report(db: Database, node_id: NodeId, report: NodeReport, *, at: int) -> None:
    """Write what is new in a node's report; ``at`` is helm's clock in microseconds since 1970."""
    note_used(db, used_news(db, node_id, report.applied, report.peers))
    note_node_commitments(db, Act(actor="helm", at=at, via="helm"), node_id, report.peers)
