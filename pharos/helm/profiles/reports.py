"""What a node's status says that concerns quotas and blind secrets; most of the time nothing new, and then no write."""

from __future__ import annotations

from pharos.helm.profiles.pairs import node_news, note_node_commitments
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database, Store
from pharos.helm.store.leases import note_used, used_news
from pharos.wire.convert import NodeReport
from pharos.wire.ids import NodeId


async def take_report(store: Store, node_id: NodeId, report: NodeReport, *, at: int) -> None:
    """Note what a node reported at ``at``, in microseconds since 1970 by helm's clock.

    Raises: BusyError — the store cannot be written now; the next report says it again.
    """
    if await store.read(_is_news, node_id, report):
        await store.run(note_report, node_id, report, at=at)


def note_report(db: Database, node_id: NodeId, report: NodeReport, *, at: int) -> None:
    """Write what is new in a node's report."""
    note_used(db, used_news(db, node_id, report.applied, report.peers))
    note_node_commitments(db, Act(actor="helm", at=at, via="helm"), node_id, report.peers)


def _is_news(db: Database, node_id: NodeId, report: NodeReport) -> bool:
    return bool(used_news(db, node_id, report.applied, report.peers) or node_news(db, node_id, report.peers))
