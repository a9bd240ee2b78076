"""The record as nodes have to be, read once per revision and shared by every link."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Final

import attrs
import trio

from pharos.helm.fleet.peers import Allowed, NodePeers, PeerMaker
from pharos.helm.fleet.reconcile import DesiredNode
from pharos.helm.live.board import now_us
from pharos.helm.model.devices import Device
from pharos.helm.model.nodes import Node
from pharos.helm.profiles.build import desired_node
from pharos.helm.profiles.leases import current_leases
from pharos.helm.profiles.record import FleetRecord, read_record
from pharos.helm.store.adoptions import held_peers, waiting_nodes
from pharos.helm.store.database import Database, Store
from pharos.helm.store.devices import list_allowed_versions, load_allowed, load_devices
from pharos.helm.store.fleet import get_fleet
from pharos.helm.store.outbox import last_sequence, oldest_sequence
from pharos.helm.store.pairs import moved_pairs
from pharos.helm.store.users import list_ends
from pharos.wire.desired import Peer, PeerSet, PreviousEndpoint
from pharos.wire.ids import DeviceId, NodeId

PreviousOf = Callable[[Database], Mapping[NodeId, tuple[PreviousEndpoint, ...]]]
"""Reads which replaced parameters nodes still serve."""


@attrs.frozen
class _Snapshot:
    sequence: int
    """Of the outbox: what of it was read."""
    record: FleetRecord
    nodes: Mapping[NodeId, Node]
    allowed: Allowed
    previous: Mapping[NodeId, tuple[PreviousEndpoint, ...]]
    held: Mapping[NodeId, Mapping[DeviceId, Peer]]
    """Peers that a restored helm found at a node and does not know: they stay until somebody has decided."""


class DesiredFleet:
    """Answers what a node shall be; the store is read again only when the fleet's revision has moved."""

    def __init__(self, store: Store, *, previous_of: PreviousOf = lambda _db: {}) -> None:
        self._store = store
        self._previous_of = previous_of
        self._snapshot: _Snapshot | None = None
        self._maker = PeerMaker()
        self._peers: NodePeers | None = None
        self._told: dict[NodeId, DesiredNode] = {}
        self._concerned: set[NodeId] | None = None
        """Whom what was read since the last call of ``changed`` may concern; None: everybody."""
        self._commits = -1
        self._turn = trio.Lock()

    async def of(self, node_id: NodeId) -> tuple[int, DesiredNode | None]:
        """Return how many commits this answer has seen, and what the node shall be: None where it left the fleet."""
        async with self._turn:
            await self._refresh()
            commits = self._commits
            return commits, self._desired(node_id)

    async def now(self, node_id: NodeId) -> DesiredNode | None:
        """Return what the node shall be, None where it left the fleet; at once where nothing was committed since."""
        if self._commits == self._store.commits and self._snapshot is not None and not self._turn.locked():
            return self._desired(node_id)
        return (await self.of(node_id))[1]

    async def changed(self) -> tuple[int, frozenset[NodeId]]:
        """Return the newest revision, and which nodes shall be something else than at the last call."""
        async with self._turn:
            await self._refresh()
            snapshot = self._snapshot
            assert snapshot is not None
            gone = self._told.keys() - snapshot.nodes.keys()
            changed = set(gone)
            for node_id in gone:
                del self._told[node_id]
            equal: dict[tuple[int, int], bool] = {}
            for node_id in snapshot.nodes if self._concerned is None else self._concerned & snapshot.nodes.keys():
                now, before = self._desired(node_id), self._told.get(node_id)
                assert now is not None
                self._told[node_id] = now
                if before is None or not _alike(before, now, equal):
                    changed.add(node_id)
            self._concerned = set()
            return snapshot.record.fleet.revision, frozenset(changed)

    async def _refresh(self) -> None:
        commits = self._store.commits
        if commits != self._commits or self._snapshot is None:
            fresh = await self._store.read(_read_if_newer, self._snapshot, self._previous_of)
            if fresh is not None:
                self._take(*fresh)
            self._commits = commits

    def _take(self, fresh: _Snapshot, devices: Collection[DeviceId] | None) -> None:
        """Take a new reading; ``devices`` are those that changed where nothing else did."""
        self._snapshot = fresh
        concerned = None
        if devices is not None and self._peers is not None:
            concerned = self._peers.update(fresh.allowed, devices)
        if concerned is None:
            self._peers = NodePeers(fresh.record, fresh.allowed, self._maker)
            self._concerned = None
        elif self._concerned is not None:
            self._concerned |= concerned

    def _desired(self, node_id: NodeId) -> DesiredNode | None:
        snapshot, peers = self._snapshot, self._peers
        assert snapshot is not None
        assert peers is not None
        node = snapshot.nodes.get(node_id)
        if node is None:
            return None
        previous = snapshot.previous.get(node_id, ())
        served = peers.of(node)
        if held := snapshot.held.get(node_id):
            served = PeerSet({**held, **served})
        desired = desired_node(snapshot.record, node, served)
        return attrs.evolve(desired, previous=previous) if previous else desired


def _alike(before: DesiredNode, now: DesiredNode, equal: dict[tuple[int, int], bool]) -> bool:
    """True where only the revision differs. Nodes share their peers: what was compared once is in ``equal``."""
    key = id(before.peers), id(now.peers)
    if key not in equal:
        equal[key] = before.peers is now.peers or before.peers == now.peers
    return (
        equal[key]
        and (before.awg, before.reality, before.addresses) == (now.awg, now.reality, now.addresses)
        and (before.policy, before.previous) == (now.policy, now.previous)
    )


# What a change of these alters, apart from the devices themselves and the revision: nothing.
_DEVICES_ONLY: Final = frozenset({"device", "ticket", "certificate", "profile", "session", "alert", "admin", "token"})
# Beyond so many, reading all of them is no dearer.
_SOME: Final = 500


def _read_if_newer(
    db: Database, known: _Snapshot | None, previous_of: PreviousOf
) -> tuple[_Snapshot, Collection[DeviceId] | None] | None:
    """Return a new reading, and the devices that alone have changed since ``known``, None where other things did too.

    Nothing where the revision is what it was.
    """
    if known is not None and get_fleet(db).revision == known.record.fleet.revision:
        return None
    changed = None if known is None else _changed_devices(db, known)
    leases, previous = current_leases(db), previous_of(db)
    held = {node_id: {peer.device_id: peer for peer in held_peers(db, node_id)} for node_id in waiting_nodes(db)}
    if known is not None and changed is not None:
        same = known.allowed.leases == leases and known.previous == previous and known.held == held
        changed = changed if same else None
    if known is not None and changed is not None:
        record = attrs.evolve(known.record, fleet=get_fleet(db))
        devices, ends = dict(known.allowed.devices), known.allowed.user_ends
        for device_id in changed:
            devices.pop(device_id, None)
        devices |= {device.id: device for device in load_allowed(db, changed, now_us())}
    else:
        record, ends = read_record(db), list_ends(db)
        devices = _read_devices(db, {} if known is None else known.allowed.devices)
    fresh = _Snapshot(
        sequence=last_sequence(db),
        record=record,
        nodes=known.nodes if known is not None and changed is not None else {node.id: node for node in record.nodes},
        allowed=Allowed(devices=devices, user_ends=ends, leases=leases),
        previous=previous,
        held=held,
    )
    return fresh, changed


def _changed_devices(db: Database, known: _Snapshot) -> Collection[DeviceId] | None:
    """Return the devices that have changed since a reading; None where other things may have, or too many did."""
    fleet = get_fleet(db)
    # Whom the deny list names, nodes hear beside their peers.
    same = attrs.evolve(known.record.fleet, revision=fleet.revision, deny_version=fleet.deny_version)
    # A pair moves on without a word in the outbox, and of what was dropped from that nobody knows.
    if same != fleet or moved_pairs(db):
        return None
    if oldest_sequence(db) > known.sequence + 1:
        return None
    rows = db.execute("SELECT DISTINCT noun, subject FROM outbox WHERE sequence > ?", (known.sequence,)).fetchall()
    if not {row["noun"] for row in rows} <= _DEVICES_ONLY:
        return None
    changed = {DeviceId(row["subject"]) for row in rows if row["noun"] == "device"}
    return changed if len(changed) <= _SOME else None


def _read_devices(db: Database, known: Mapping[DeviceId, Device]) -> dict[DeviceId, Device]:
    """Return who may use the fleet now; a device that is what it was is not loaded again."""
    versions = list_allowed_versions(db, now_us())
    changed = [device_id for device_id, version in versions if _version_of(known, device_id) != version]
    loaded = {device.id: device for device in _load(db, changed)}
    return {device_id: loaded.get(device_id) or known[device_id] for device_id, _ in versions}


def _load(db: Database, device_ids: Collection[DeviceId]) -> list[Device]:
    return load_devices(db, device_ids) if device_ids else []


def _version_of(known: Mapping[DeviceId, Device], device_id: DeviceId) -> int | None:
    device = known.get(device_id)
    return None if device is None else device.version
