"""The peers of every node out of one reading of the record: whatever is equal at two nodes is one object at both.

A peer's digest is computed once in its life, so that a fleet of a thousand nodes costs one digest a device and not a
thousand; and where nothing sets two nodes apart, they have one and the same mapping of peers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import attrs

from pharos.helm.model.devices import Device
from pharos.helm.model.nodes import Node, NodeState
from pharos.helm.profiles.access import AccessSet
from pharos.helm.profiles.build import build_peer
from pharos.helm.profiles.leases import Leases
from pharos.helm.profiles.record import FleetRecord
from pharos.helm.store.pairs import FIRST_GENERATION
from pharos.wire.desired import Peer, PeerSet, QuotaLease
from pharos.wire.ids import DeviceId, NodeId

Shape = tuple[int, QuotaLease | None, tuple[str, ...]]
"""What of a peer may differ from node to node: generation, quota, protocols."""
Signature = tuple[tuple[str, ...] | None, ...]
"""By access set: the protocols that it opens at a node, None where it does not open the node."""


@attrs.frozen(kw_only=True)
class Allowed:
    """The devices that may use the fleet, and what holds for each at every node."""

    devices: Mapping[DeviceId, Device]
    user_ends: Mapping[str, int]
    """When users expire, by id."""
    leases: Mapping[DeviceId, Leases]
    """Of the devices that have a quota which is enforced; those of no other device are in it."""

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
        self._made = {device_id: self._kept(device_id, allowed) for device_id in allowed.devices}

    def keep_some(self, allowed: Allowed, device_ids: Iterable[DeviceId]) -> None:
        """Do so for some devices only; no other one has changed."""
        for device_id in device_ids:
            if device_id in allowed.devices:
                self._made[device_id] = self._kept(device_id, allowed)
            else:
                self._made.pop(device_id, None)

    def _kept(self, device_id: DeviceId, allowed: Allowed) -> _Made:
        device, known = allowed.devices[device_id], self._made.get(device_id)
        end = allowed.end_of(device)
        unchanged = known is not None and known.device is device and known.user_end == end
        return known if known is not None and unchanged else _Made(device, end)

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
    """The peers of each node by one reading of the record, kept up to date where devices alone have changed."""

    def __init__(self, record: FleetRecord, allowed: Allowed, maker: PeerMaker) -> None:
        maker.keep(allowed)
        self._maker = maker
        self._rules = record.rules
        self._leases = allowed.leases
        # Some dozens of access sets at most: combinations of groups that somebody is in.
        self._by_access: dict[AccessSet, dict[DeviceId, None]] = {}
        self._access: dict[DeviceId, AccessSet] = {}
        for device_id, device in allowed.devices.items():
            access = self._access[device_id] = record.rules.of(device.user_id)
            self._by_access.setdefault(access, {})[device_id] = None
        self._moved: dict[NodeId, dict[DeviceId, int]] = {}
        for device_id, pairs in record.pairs.items():
            for node_id, pair in pairs.items():
                if pair.acknowledged != FIRST_GENERATION:
                    self._moved.setdefault(node_id, {})[device_id] = pair.acknowledged
        self._signatures: dict[NodeId, Signature] = {}
        self._plain: dict[Signature, PeerSet] = {}

    def of(self, node: Node) -> PeerSet:
        """Return the peers of a node."""
        if node.state is NodeState.DISABLED:
            return PeerSet()
        signature = self._signatures.get(node.id)
        if signature is None:
            signature = self._signatures[node.id] = tuple(access.nodes.get(node.id) for access in self._by_access)
        plain = self._plain.get(signature)
        if plain is None:
            plain = self._plain[signature] = PeerSet(
                {
                    device_id: self._maker.peer(device_id, (FIRST_GENERATION, None, protocols))
                    for protocols, device_ids in zip(signature, self._by_access.values(), strict=True)
                    if protocols is not None
                    for device_id in device_ids
                }
            )
        moved = self._moved.get(node.id, {})
        special = [device_id for device_id in {*moved, *self._leases} if device_id in plain]
        if not special:
            return plain
        own = PeerSet(plain)
        for device_id in special:
            quota = self._leases[device_id].at(node.id) if device_id in self._leases else None
            shape = (moved.get(device_id, FIRST_GENERATION), quota, plain[device_id].protocols)
            own[device_id] = self._maker.peer(device_id, shape)
        return own

    def update(self, allowed: Allowed, changed: Collection[DeviceId]) -> frozenset[NodeId] | None:
        """Take in devices that have changed, came or went while all else stayed; return whose peers may be others now.

        None where nothing was taken in, for somebody has access as nobody had before: that is a reading anew.
        """
        after = {
            device_id: self._rules.of(allowed.devices[device_id].user_id)
            for device_id in changed
            if device_id in allowed.devices
        }
        if not all(access in self._by_access for access in after.values()):
            return None
        self._maker.keep_some(allowed, changed)
        columns = {access: column for column, access in enumerate(self._by_access)}
        concerned: set[NodeId] = set()
        moves = []
        for device_id in changed:
            before, now = self._access.pop(device_id, None), after.get(device_id)
            if before is not None:
                del self._by_access[before][device_id]
                concerned |= before.nodes.keys()
            if now is not None:
                self._access[device_id] = now
                self._by_access[now][device_id] = None
                concerned |= now.nodes.keys()
            moves.append((device_id, None if now is None else columns[now]))
        for signature in {
            self._signatures[node_id] for node_id in concerned & self._signatures.keys()
        } & self._plain.keys():
            # Links hold on to what they were given.
            plain = PeerSet(self._plain[signature])
            for device_id, column in moves:
                plain.pop(device_id, None)
                if column is not None and (protocols := signature[column]) is not None:
                    plain[device_id] = self._maker.peer(device_id, (FIRST_GENERATION, None, protocols))
            self._plain[signature] = plain
        return frozenset(concerned)
