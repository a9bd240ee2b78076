"""The peers of every node out of one reading of the record: whatever is equal at two nodes is one object at both.

A peer's digest is computed once in its life, so that a fleet of a thousand nodes costs one digest a device and not a
thousand; and where nothing sets two nodes apart, they have one and the same mapping of peers.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from pharos.helm.model.devices import Device
from pharos.helm.model.nodes import Node, NodeState
from pharos.helm.profiles.access import AccessSet
from pharos.helm.profiles.build import build_peer
from pharos.helm.profiles.record import FleetRecord
from pharos.helm.store.pairs import FIRST_GENERATION
from pharos.wire.desired import Peer, QuotaLease
from pharos.wire.ids import DeviceId, NodeId

Shape = tuple[int, QuotaLease | None, tuple[str, ...]]
"""What of a peer may differ from node to node: generation, quota, protocols."""
# A device whose quota is used up, or of which a node has no lease yet, may spend nothing there.
NOTHING = QuotaLease(id=0, octets=0)


@attrs.frozen(kw_only=True)
class Allowed:
    """The devices that may use the fleet, and what holds for each at every node."""

    devices: Mapping[DeviceId, Device]
    user_ends: Mapping[str, int]
    """When users expire, by id."""
    leases: Mapping[DeviceId, Mapping[NodeId, QuotaLease]]
    """Of the devices that have a quota which is enforced, by node; those of no other device are in it."""

    def end_of(self, device: Device) -> int | None:
        """Return when the user of a device expires."""
        return None if device.user_id is None else self.user_ends.get(device.user_id)


@attrs.define
class _Made:
    """The peers that were made of a device, for as long as it stays what it is."""

    device: Device
    user_end: int | None
    peers: dict[Shape, Peer] = attrs.field(factory=dict)


@attrs.define(eq=False)
class PeerMaker:
    """Makes peers, and remembers them from one reading of the record to the next."""

    _made: dict[DeviceId, _Made] = attrs.field(factory=dict, init=False)

    def keep(self, allowed: Allowed) -> None:
        """Forget devices that may not use the fleet any more, and peers of those that have changed."""
        fresh: dict[DeviceId, _Made] = {}
        for device_id, device in allowed.devices.items():
            known, end = self._made.get(device_id), allowed.end_of(device)
            unchanged = known is not None and known.device is device and known.user_end == end
            fresh[device_id] = known if known is not None and unchanged else _Made(device, end)
        self._made = fresh

    def peer(self, device_id: DeviceId, shape: Shape) -> Peer:
        """Return the peer of a device in that shape, the same object each time."""
        made = self._made[device_id]
        peer = made.peers.get(shape)
        if peer is None:
            generation, quota, protocols = shape
            peer = made.peers[shape] = build_peer(
                made.device, expires_at=made.user_end, generation=generation, quota=quota, protocols=protocols
            )
        return peer


class NodePeers:
    """The peers of each node by one reading of the record."""

    def __init__(self, record: FleetRecord, allowed: Allowed, maker: PeerMaker) -> None:
        maker.keep(allowed)
        self._maker = maker
        self._leases = allowed.leases
        # Some dozens of access sets at most: combinations of groups that somebody is in.
        self._by_access: dict[AccessSet, list[DeviceId]] = {}
        for device_id, device in allowed.devices.items():
            self._by_access.setdefault(record.rules.of(device.user_id), []).append(device_id)
        self._moved: dict[NodeId, dict[DeviceId, int]] = {}
        for device_id, pairs in record.pairs.items():
            for node_id, pair in pairs.items():
                if pair.acknowledged != FIRST_GENERATION and device_id in allowed.devices:
                    self._moved.setdefault(node_id, {})[device_id] = pair.acknowledged
        self._plain: dict[tuple[tuple[str, ...] | None, ...], Mapping[DeviceId, Peer]] = {}

    def of(self, node: Node) -> Mapping[DeviceId, Peer]:
        """Return the peers of a node."""
        if node.state is NodeState.DISABLED:
            return {}
        signature = tuple(access.nodes.get(node.id) for access in self._by_access)
        plain = self._plain.get(signature)
        if plain is None:
            plain = self._plain[signature] = {
                device_id: self._maker.peer(device_id, (FIRST_GENERATION, None, protocols))
                for protocols, device_ids in zip(signature, self._by_access.values(), strict=True)
                if protocols is not None
                for device_id in device_ids
            }
        moved = self._moved.get(node.id, {})
        special = [device_id for device_id in {*moved, *self._leases} if device_id in plain]
        if not special:
            return plain
        own = dict(plain)
        for device_id in special:
            quota = self._leases[device_id].get(node.id, NOTHING) if device_id in self._leases else None
            shape = (moved.get(device_id, FIRST_GENERATION), quota, plain[device_id].protocols)
            own[device_id] = self._maker.peer(device_id, shape)
        return own
