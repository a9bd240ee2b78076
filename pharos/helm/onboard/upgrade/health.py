"""How a member is: a node is asked over a connection of its own, a relay has said it on the link that helm keeps."""

from __future__ import annotations

from pharos.helm.context import HelmContext
from pharos.helm.errors import ConflictError, NodeAwayError, NotFoundError
from pharos.helm.model.nodes import LINKED, NodeState
from pharos.helm.onboard.join.parts import Part
from pharos.helm.onboard.join.seeing import read_report, troubles_of
from pharos.helm.onboard.upgrade.desk import Health, Member
from pharos.helm.onboard.upgrade.plan import HANDSHAKE_LIFE
from pharos.helm.store.database import Database
from pharos.helm.store.fleet import get_fleet
from pharos.helm.store.nodes import NODES, list_nodes
from pharos.helm.store.records import find_record
from pharos.helm.store.relays import list_relays
from pharos.wire.link import LinkState
from pharos.wire.reports import NodeReport


async def node_health(context: HelmContext, node_id: str, since: int) -> Health:
    """Return how a node is by its own word; ``since`` as `Desk` has it.

    Raises: NotFoundError. NodeAwayError — it does not answer. ConflictError — it is not the node of the record.
    """
    node = await context.store.read(find_record, NODES, node_id)
    if node is None:
        raise NotFoundError(f"there is no node {node_id!r}")
    report = await read_report(context.authority, node)
    fleet = await context.store.read(get_fleet)
    sighting = context.board.of(node.id)
    return Health(
        version=report.version,
        started_at=report.started_at,
        # What helm knows to be in force there, and that it can change it.
        settled=sighting.state is LinkState.UP and sighting.applied.revision >= fleet.revision,
        troubles=troubles_of(report),
        now=report.now,
        tunnels=count_tunnels(report, since),
    )


def count_tunnels(report: NodeReport, since: int) -> int:
    """Return how many devices have shaken hands since then, or with 0 within the life of a session."""
    begin = since or report.now - HANDSHAKE_LIFE
    return sum(peer.last_handshake >= max(begin, 1) for peer in report.peers)


def relay_health(context: HelmContext, relay_id: str) -> Health | None:
    """Return how a relay is, None while its tunnel is down."""
    sighting = context.board.of(relay_id)
    if sighting.state is not LinkState.UP:
        return None
    return Health(version=sighting.version, started_at=sighting.since, settled=True)


class HelmDesk:
    """`Desk` in helm's own process."""

    def __init__(self, context: HelmContext) -> None:
        self._context = context

    async def members(self, part: Part) -> list[Member]:
        """See `Desk`."""
        return await self._context.store.read(_members, part)

    async def health(self, member: Member, since: int) -> Health | None:
        """See `Desk`."""
        if member.part is Part.BEACON:
            return relay_health(self._context, member.id)
        try:
            return await node_health(self._context, member.id, since)
        except (NodeAwayError, ConflictError):
            return None


def _members(db: Database, part: Part) -> list[Member]:
    found: list[tuple[str, str, NodeState, str, str]]
    if part is Part.BUOY:
        found = [(node.id, node.name, node.state, node.ssh_destination, node.ssh_host_key) for node in list_nodes(db)]
    else:
        found = [
            (relay.id, relay.name, relay.state, "" if relay.aboard else relay.ssh_destination, relay.ssh_host_key)
            for relay in list_relays(db)
        ]
    return [
        Member(id=id_, name=name, part=part, state=state, destination=destination, host_key=host_key)
        for id_, name, state, destination, host_key in found
        if state in LINKED
    ]
