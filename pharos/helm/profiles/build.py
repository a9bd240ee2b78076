"""From the record to a device's profile and a node's peers: pure, so that both ends always agree."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Iterable, Mapping

from pharos.helm.fleet.reconcile import DesiredNode
from pharos.helm.model.devices import Device, DeviceState
from pharos.helm.model.fleet import Fleet
from pharos.helm.model.nodes import Node, NodeState
from pharos.helm.model.relays import Relay
from pharos.helm.profiles.access import AccessRules, AccessSet
from pharos.helm.profiles.record import FleetRecord
from pharos.helm.profiles.ways import has_way, ways_of
from pharos.helm.store.pairs import FIRST_GENERATION, Pair
from pharos.wire.desired import Peer, QuotaLease
from pharos.wire.ids import DeviceId, NodeId
from pharos.wire.profile import AmneziaWgAccess, Profile, ProfileNode, ProfileRelay


def build_profile(fleet: Fleet, device: Device, nodes: Iterable[Node], relays: Iterable[Relay]) -> Profile:
    """Return what a device is to be told in a fleet without groups."""
    return profile_of(open_record(fleet, nodes, relays), device)


def open_record(fleet: Fleet, nodes: Iterable[Node], relays: Iterable[Relay] = ()) -> FleetRecord:
    """Return the record of a fleet without groups: everybody may use everything."""
    own = tuple(nodes)
    rules = AccessRules(groups=(), memberships={}, nodes=own)
    return FleetRecord(fleet=fleet, nodes=own, relays=tuple(relays), rules=rules)


def profile_of(record: FleetRecord, device: Device) -> Profile:
    """Return what this device is to be told."""
    pairs = record.pairs.get(device.id, {})
    shown = nodes_shown(record, record.rules.of(device.user_id))
    return Profile(
        fleet=record.fleet.id,
        device_id=device.id,
        addresses=peer_networks(device),
        nodes=tuple(profile_node(record, node, protocols, pairs.get(node.id)) for node, protocols in shown),
        relays=profile_relays(record.relays),
        resolvers=record.policy.resolvers,
        lock_key=record.lock_key,
    )


def nodes_shown(record: FleetRecord, access: AccessSet) -> list[tuple[Node, tuple[str, ...]]]:
    """Return the nodes in the profiles of those with this access, each with the protocols it may be used by."""
    return [
        (node, access.nodes[node.id])
        for node in record.nodes
        if node.state is NodeState.ACTIVE and node.id in access.nodes and has_way(record, node, access.nodes[node.id])
    ]


def profile_node(record: FleetRecord, node: Node, protocols: tuple[str, ...], pair: Pair | None = None) -> ProfileNode:
    """Return a node as a device sees it."""
    moving = pair is not None and pair.generation > pair.acknowledged
    access = ways_of(record, node, protocols)
    return ProfileNode(
        id=node.id,
        name=node.name,
        tags=node.tags,
        derive_key=node.derive_key,
        generation=FIRST_GENERATION if pair is None else pair.acknowledged,
        next_generation=pair.generation if pair is not None and moving else 0,
        addresses=node_addresses(record.fleet),
        access=access,
        other_awg_key=b"" if any(isinstance(way, AmneziaWgAccess) for way in access) else node.awg_key,
        key_proof=node.key_proof or b"",
        lock_signature=node.lock_signature or b"",
    )


def profile_relays(relays: Iterable[Relay]) -> tuple[ProfileRelay, ...]:
    """Return the relays that profiles name."""
    return tuple(
        ProfileRelay(id=relay.id, host=relay.address, port=relay.ingress_port)
        for relay in relays
        if relay.state is NodeState.ACTIVE
    )


def build_desired(fleet: Fleet, node: Node, devices: Iterable[Device]) -> DesiredNode:
    """Return what a node is to be in a fleet without groups: a disabled one serves nobody."""
    peers = {device.id: build_peer(device) for device in devices if device.state is DeviceState.ACTIVE}
    return desired_node(open_record(fleet, [node]), node, peers)


def desired_node(record: FleetRecord, node: Node, peers: Mapping[DeviceId, Peer]) -> DesiredNode:
    """Return what a node is to be, with these peers if it serves anybody."""
    return DesiredNode(
        revision=record.fleet.revision,
        awg=node.awg_parameters,
        reality=node.reality,
        addresses=node_addresses(record.fleet),
        peers={} if node.state is NodeState.DISABLED else peers,
        policy=record.policy,
    )


def build_peer(
    device: Device,
    *,
    expires_at: int | None = None,
    generation: int = FIRST_GENERATION,
    quota: QuotaLease | None = None,
    protocols: tuple[str, ...] = (),
) -> Peer:
    """Return a device as a node has to know it. ``expires_at`` is when its user expires."""
    ends = [end for end in (device.expires_at, expires_at) if end is not None]
    return Peer(
        device_id=device.id,
        awg_key=device.keys.awg,
        derive_key=device.keys.derive,
        generation=generation,
        addresses=peer_networks(device),
        expires_at=min(ends, default=0),
        quota=quota,
        rate_limit=device.rate_limit or 0,
        protocols=protocols,
    )


def peer_networks(device: Device) -> tuple[str, ...]:
    """Return the inner networks of a device: one host of each family."""
    return f"{device.address4}/32", f"{device.address6}/128"


def node_addresses(fleet: Fleet) -> tuple[str, ...]:
    """Return the address that every node answers at inside the tunnel: the first host of the first pool."""
    return _first_hosts(fleet.pool4, fleet.pool6)


# Asked for each node of the fleet at each change of it.
@functools.lru_cache(maxsize=16)
def _first_hosts(*pools: str) -> tuple[str, ...]:
    return tuple(str(ipaddress.ip_network(pool)[1]) for pool in pools)


def nodes_open_to(access: AccessSet, nodes: Iterable[Node]) -> list[NodeId]:
    """Return the nodes that serve those with this access."""
    return [node.id for node in nodes if node.id in access.nodes and node.state is not NodeState.DISABLED]
