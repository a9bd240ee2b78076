"""What the firewall of a node is told: by the node's own word, or as helm knows it where the node says nothing."""

from __future__ import annotations

import ipaddress
import json
from typing import Final

import attrs
import trio

from pharos.helm.ca.authority import Authority
from pharos.helm.errors import ConflictError, NodeAwayError
from pharos.helm.fleet.asking import CALL_TIMEOUT, ask_node
from pharos.helm.model.nodes import LINKED, Node
from pharos.helm.profiles.build import node_addresses
from pharos.helm.profiles.policy import read_policy
from pharos.helm.store.database import Database
from pharos.helm.store.fleet import get_fleet
from pharos.helm.store.pools import list_pools
from pharos.wire.desired import MAX_PREVIOUS
from pharos.wire.gen.pharos.buoy.v1 import control_pb2 as pb
from pharos.wire.netpolicy import TUNNELS, NetworkPlan
from pharos.wire.units import SECONDS

# Whoever tries settings asks at each key that is pressed; what a node says of its machine hardly ever changes.
REMEMBERED: Final = 30 * SECONDS


@attrs.frozen(kw_only=True)
class Firewall:
    """One node's."""

    plan: NetworkPlan
    told: str = ""
    """Why this is what helm knows, and not the node's own word; empty: it is that."""


class Firewalls:
    """Asks nodes, each of them seldom; ``now`` is seconds of any clock."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, Firewall]] = {}

    async def of(self, authority: Authority, node: Node, assumed: NetworkPlan) -> Firewall:
        """Return what a node's firewall is told; ``assumed`` is what helm knows of it."""
        now = trio.current_time()
        self._known = {key: one for key, one in self._known.items() if now < one[0] + REMEMBERED}
        if node.id not in self._known:
            self._known[node.id] = (now, await _ask(authority, node, assumed))
        return self._known[node.id][1]


async def _ask(authority: Authority, node: Node, assumed: NetworkPlan) -> Firewall:
    if node.state not in LINKED:
        return Firewall(plan=assumed, told=f"helm does not speak to a node that is {node.state.value}")
    try:
        plan = await read_network(authority, node)
    except (NodeAwayError, ConflictError) as error:
        return Firewall(plan=assumed, told=str(error))
    if plan is None:
        return Firewall(plan=assumed, told=f"{node.name} has put no rules in force")
    return Firewall(plan=plan)


async def read_network(authority: Authority, node: Node) -> NetworkPlan | None:
    """Return what a node's firewall was told last; None: its agent keeps no rules.

    Raises: NodeAwayError, ConflictError — as `pharos.helm.fleet.asking.ask_node`.
    """
    reply = await ask_node(
        authority, node, lambda stub: stub.ShowNetwork(pb.NetworkRequest(), timeout=CALL_TIMEOUT), what="tell its rules"
    )
    if not reply.plan:
        return None
    try:
        return NetworkPlan.from_json(json.loads(reply.plan))
    except (ValueError, RecursionError) as error:
        raise ConflictError(f"node {node.name} tells rules that are none: {error}") from error


def assumed_plan(db: Database) -> NetworkPlan:
    """Return what a node is told whose machine is as the package sets it up."""
    fleet = get_fleet(db)
    return NetworkPlan(
        interfaces=TUNNELS[: 1 + MAX_PREVIOUS],
        # A pool keeps the spelling in which it was made.
        networks=tuple(
            str(ipaddress.ip_network(text)) for pool in list_pools(db) for text in (pool.network4, pool.network6)
        ),
        addresses=node_addresses(fleet),
        policy=read_policy(db),
    )
