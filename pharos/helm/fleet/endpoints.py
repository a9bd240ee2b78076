"""Endpoints that rotate: a node gets new parameters when its own are old, one node of the fleet after the other.

It is a re-issue as an operator orders it (`pharos.helm.fleet.reissue`): both protocols, another REALITY key, and the
next target of the list; the old ones stay served until every device has heard of the new ones.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final, NoReturn

import trio

from pharos.helm.errors import BusyError, DatabaseCorruptError
from pharos.helm.fleet.reissue import reissue_node
from pharos.helm.live.board import Board, now_us
from pharos.helm.model.nodes import Node, NodeState
from pharos.helm.model.users import Protocol
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database, Store
from pharos.helm.store.nodes import list_nodes
from pharos.helm.store.reissues import newest_reissues, served_reissues
from pharos.helm.store.settings import setting
from pharos.wire.link import LinkState
from pharos.wire.units import SECONDS

DAY: Final = 24 * 3600 * 1_000_000
"""Microseconds."""
# Nodes that joined or were re-issued on one day are due on one day. At twice the pace that their number takes they are
# spread over half a period, and whoever had to wait catches up.
PACE: Final = 2
# Rotations are hours apart, in a fleet of a hundred nodes four.
LOOK_EVERY: Final = 60 * SECONDS


def next_due(db: Database, at: int, up: Collection[str]) -> Node | None:
    """Return the node whose turn it is, of those whose links are ``up``; None where it is nobody's.

    A node that cannot be told of new parameters keeps its own, and so does one that still serves older ones, or has no
    port for them.
    """
    if not setting(db, "endpoints.rotate"):
        return None
    period = setting(db, "endpoints.days") * DAY
    nodes = [node for node in list_nodes(db) if node.state is NodeState.ACTIVE]
    newest = newest_reissues(db, at)
    pause = period // (PACE * max(len(nodes), 1))
    if any(at - made < pause for protocols in newest.values() for made in protocols.values()):
        return None

    def since(node: Node) -> int:
        return min(newest.get(node.id, {}).get(protocol, node.created_at) for protocol in Protocol)

    serving = {reissue.node_id for reissue in served_reissues(db)}
    due = [
        node
        for node in nodes
        if node.id in up and node.spare_ports and node.id not in serving and at - since(node) >= period
    ]
    return min(due, key=since, default=None)


def rotate_next(db: Database, act: Act, up: Collection[str]) -> Node | None:
    """Give the node whose turn it is new parameters, and return it as it is then; None where it is nobody's."""
    node = next_due(db, act.at, up)
    return None if node is None else reissue_node(db, act, node.id, node.version)


async def run_endpoints(store: Store, board: Board, *, clock: Callable[[], int] = now_us) -> NoReturn:
    """Rotate endpoints as they become due, until cancelled; ``clock`` gives microseconds since 1970."""
    while True:
        up = {member_id for member_id, sighting in board.seen().items() if sighting.state is LinkState.UP}
        try:
            if await store.read(next_due, clock(), up) is not None:
                await store.run(rotate_next, Act(actor="helm", at=clock(), via="helm"), up)
        except (BusyError, DatabaseCorruptError):
            # Who watches the store says so; the next look is soon.
            pass
        await trio.sleep(LOOK_EVERY)
