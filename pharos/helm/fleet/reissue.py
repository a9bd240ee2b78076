"""New parameters for a node or the fleet, and an end to the old ones that leaves nobody behind.

They are those of AmneziaWG and of REALITY, with another REALITY key. From one moment to the next the node serves them
on its ports. The old ones stay served on a spare port, which every profile lists beside the first: a device that has
not heard of the new ones tries the next port of its list and is back. They end when every device has acknowledged a
newer bundle, and after 14 days in any case.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final, NoReturn

import trio

from pharos.helm.errors import BusyError, ConflictError, DatabaseCorruptError
from pharos.helm.fleet.reality import add_missing, next_reality
from pharos.helm.live.board import now_us
from pharos.helm.model.nodes import Node, NodeState
from pharos.helm.model.reissues import Reissue, ReissueState
from pharos.helm.model.users import Protocol
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database, Store
from pharos.helm.store.fleet import get_fleet, next_revision
from pharos.helm.store.ids import fresh_id
from pharos.helm.store.members import member_state
from pharos.helm.store.nodes import NODES, list_nodes
from pharos.helm.store.realitykeys import reality_keys
from pharos.helm.store.records import add_record, change_record, check_version, get_record
from pharos.helm.store.reissues import REISSUES, count_unaware, reissues_of, served_reissues
from pharos.wire.awg.generate import generate
from pharos.wire.units import SECONDS
from pharos.wire.world import random_bytes

# A fortnight's holiday: whoever was away for longer opens the app and syncs through a relay first.
LIFETIME: Final = 14 * 24 * 3600 * 1_000_000
"""Microseconds."""
# An end that comes a minute late harms nobody; who holds which bundle is written all the time.
LOOK_EVERY: Final = 60 * SECONDS
BOTH: Final = frozenset(Protocol)


def reissue_node(db: Database, act: Act, node_id: str, version: int, protocols: Collection[Protocol] = BOTH) -> Node:
    """Give a node new parameters of these protocols; the old ones are served on a spare port.

    Raises: ConflictError — it is revoked, has no spare port, or still serves older ones. StaleVersionError,
    NotFoundError.
    """
    node = get_record(db, NODES, node_id)
    check_version(NODES, node, version)
    if node.state is NodeState.REVOKED:
        raise ConflictError("a node that is revoked gets no parameters")
    for standing in reissues_of(db, node_id):
        if not standing.replaced.isdisjoint(protocols):
            waiting = count_unaware(db, standing, act.at)
            raise ConflictError(
                f"{node.name} still serves the parameters before these to {waiting} devices;"
                " wait until they have synced"
            )
    if not node.spare_ports:
        raise ConflictError(f"{node.name} has no spare port on which the old parameters could stay; give it one first")
    old: dict[str, Any] = {}
    new: dict[str, Any] = {}
    if Protocol.AMNEZIAWG in protocols:
        old["parameters"], new["awg_parameters"] = node.awg_parameters, generate(random_bytes)
    if Protocol.REALITY in protocols:
        old["reality"], new["reality"] = node.reality, next_reality(db, node)
    reissue = Reissue(
        id=fresh_id(),
        node_id=node.id,
        port=node.spare_ports[0],
        **old,
        until_at=act.at + LIFETIME,
        revision=get_fleet(db).revision + 1,
    )
    if reissue.replaced:
        add_record(db, REISSUES, reissue, act, detail=node.name)
    changed = change_record(db, NODES, node.id, version, new, act, verb="reissued", detail=node.name)
    revision = next_revision(db)
    assert revision == reissue.revision, "one transaction"
    return changed


def reissue_fleet(db: Database, act: Act, protocols: Collection[Protocol] = BOTH) -> tuple[list[Node], dict[str, str]]:
    """Give every node new parameters; return those that got them, and by name why others did not."""
    done, left = [], {}
    for node in list_nodes(db):
        if node.state is NodeState.REVOKED:
            continue
        try:
            done.append(reissue_node(db, act, node.id, node.version, protocols))
        except ConflictError as error:
            left[node.name] = str(error)
    return done, left


def end_reissues(db: Database, act: Act) -> int:
    """End what everybody has acknowledged or whose time is up; return how many."""
    ended = 0
    for reissue in served_reissues(db):
        if act.at >= reissue.until_at or (_is_told(db, reissue) and count_unaware(db, reissue, act.at) == 0):
            change_record(db, REISSUES, reissue.id, reissue.version, {"state": ReissueState.DONE}, act, verb="ended")
            ended += 1
    if ended:
        # Profiles name where the old ones were.
        next_revision(db)
    return ended


async def run_reissues(store: Store, *, clock: Callable[[], int] = now_us) -> NoReturn:
    """End re-issues as they become due, until cancelled; ``clock`` gives microseconds since 1970.

    Nodes of an earlier version's record get their first parameters of REALITY before all else.
    """
    complete = False
    while True:
        try:
            if not complete:
                await store.run(add_missing, Act(actor="helm", at=clock(), via="helm"))
                complete = True
            if await store.read(served_reissues):
                await store.run(end_reissues, Act(actor="helm", at=clock(), via="helm"))
        except (BusyError, DatabaseCorruptError):
            # Who watches the store says so; the next look is soon.
            pass
        await trio.sleep(LOOK_EVERY)


def _is_told(db: Database, reissue: Reissue) -> bool:
    """Whether profiles have all that is new: a REALITY key is known once the node has said it."""
    node = get_record(db, NODES, reissue.node_id)
    if reissue.reality is None or node.reality is None or not member_state(db, node.id).reality_port:
        return True
    return node.reality.generation in reality_keys(db, node.id)
