"""From the record to a device's profile and a node's peers: pure, so that both ends always agree."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from pharos.helm.fleet.reconcile import DesiredNode
from pharos.helm.model.devices import Device, DeviceState
from pharos.helm.model.fleet import Fleet
from pharos.helm.model.nodes import Node, NodeState
from pharos.helm.model.relays import Relay
from pharos.wire.desired import Peer
from pharos.wire.profile import AmneziaWgAccess, Profile, ProfileNode, ProfileRelay

# Every pair of device and node starts here; a later generation is agreed pair by pair.
FIRST_GENERATION = 1


def build_profile(fleet: Fleet, device: Device, nodes: Iterable[Node], relays: Iterable[Relay]) -> Profile:
    """Return what this device is to be told."""
    inside = node_addresses(fleet)
    return Profile(
        fleet=fleet.id,
        device_id=device.id,
        addresses=peer_networks(device),
        nodes=tuple(
            ProfileNode(
                id=node.id,
                name=node.name,
                tags=node.tags,
                derive_key=node.derive_key,
                generation=FIRST_GENERATION,
                addresses=inside,
                access=(
                    AmneziaWgAccess(
                        host=node.address,
                        port=node.awg_port,
                        public_key=node.awg_key,
                        parameters=node.awg_parameters,
                    ),
                ),
            )
            for node in nodes
            if node.state is NodeState.ACTIVE
        ),
        relays=tuple(
            ProfileRelay(id=relay.id, host=relay.address, port=relay.ingress_port)
            for relay in relays
            if relay.state is NodeState.ACTIVE
        ),
    )


def build_desired(fleet: Fleet, node: Node, devices: Iterable[Device]) -> DesiredNode:
    """Return what this node is to be for the devices that may use the fleet: a disabled one serves none of them."""
    return DesiredNode(
        revision=fleet.revision,
        awg=node.awg_parameters,
        addresses=node_addresses(fleet),
        peers={}
        if node.state is NodeState.DISABLED
        else {
            device.id: Peer(
                device_id=device.id,
                awg_key=device.keys.awg,
                derive_key=device.keys.derive,
                generation=FIRST_GENERATION,
                addresses=peer_networks(device),
            )
            for device in devices
            if device.state is DeviceState.ACTIVE
        },
    )


def peer_networks(device: Device) -> tuple[str, ...]:
    """Return the inner networks of a device: one host of each family."""
    return f"{device.address4}/32", f"{device.address6}/128"


def node_addresses(fleet: Fleet) -> tuple[str, ...]:
    """Return the address that every node answers at inside the tunnel: the first host of the first pool."""
    return tuple(str(ipaddress.ip_network(pool)[1]) for pool in (fleet.pool4, fleet.pool6))
