"""The record as nodes have to be, read once per revision and shared by every link."""

from __future__ import annotations

import attrs
import trio

from pharos.helm.fleet.reconcile import DesiredNode
from pharos.helm.live.board import now_us
from pharos.helm.model.devices import Device
from pharos.helm.model.fleet import Fleet
from pharos.helm.model.nodes import Node
from pharos.helm.profiles.build import build_desired
from pharos.helm.store.database import Database, Store
from pharos.helm.store.devices import list_allowed_devices
from pharos.helm.store.fleet import get_fleet
from pharos.helm.store.nodes import list_nodes
from pharos.wire.ids import NodeId


@attrs.frozen
class _Snapshot:
    fleet: Fleet
    nodes: dict[NodeId, Node]
    devices: list[Device]
    """Those that may use the fleet."""


class DesiredFleet:
    """Answers what a node shall be; the store is read again only when the fleet's revision has moved."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._snapshot: _Snapshot | None = None
        self._commits = -1
        self._turn = trio.Lock()

    async def of(self, node_id: NodeId) -> tuple[int, DesiredNode | None]:
        """Return how many commits this answer has seen, and what the node shall be: None where it left the fleet."""
        async with self._turn:
            commits = self._store.commits
            if commits != self._commits or self._snapshot is None:
                known = None if self._snapshot is None else self._snapshot.fleet.revision
                fresh = await self._store.run(_read_if_newer, known)
                self._snapshot = fresh or self._snapshot
                self._commits = commits
            snapshot = self._snapshot
        assert snapshot is not None
        node = snapshot.nodes.get(node_id)
        return commits, None if node is None else build_desired(snapshot.fleet, node, snapshot.devices)


def _read_if_newer(db: Database, known: int | None) -> _Snapshot | None:
    fleet = get_fleet(db)
    if fleet.revision == known:
        return None
    return _Snapshot(fleet, {node.id: node for node in list_nodes(db)}, list_allowed_devices(db, now_us()))
