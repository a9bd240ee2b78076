"""Wakes the links that have something to tell, and no others: most changes are few nodes' affair."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import NoReturn

import attrs
import trio

from pharos.helm.ca.live import LiveAuthority
from pharos.helm.fleet.desired import DesiredFleet
from pharos.helm.live.board import Board
from pharos.helm.store.database import Database, Store
from pharos.wire.ids import NodeId


class Stir:
    """Counts for each node the moments at which its link looks at the record again."""

    def __init__(self) -> None:
        self.revision = -1
        """Up to which everybody whom it concerns was stirred."""
        self._counts: defaultdict[str, int] = defaultdict(int)
        self._waiting: defaultdict[str, trio.lowlevel.ParkingLot] = defaultdict(trio.lowlevel.ParkingLot)

    def count(self, node_id: NodeId) -> int:
        """Return how often the node was stirred."""
        return self._counts[node_id]

    def stir(self, node_ids: Iterable[NodeId]) -> None:
        """Let the links of these nodes look again."""
        for node_id in node_ids:
            self._counts[node_id] += 1
            self._waiting[node_id].unpark_all()

    async def wait(self, node_id: NodeId, seen: int) -> int:
        """Return the count of the node once it is larger than ``seen``."""
        while self._counts[node_id] <= seen:
            await self._waiting[node_id].park()
        return self._counts[node_id]

    async def run(self, store: Store, authorities: LiveAuthority, desired: DesiredFleet, board: Board) -> NoReturn:
        """Stir whom a new revision or another authority concerns, until cancelled.

        At a node that it does not concern, and that was in force, the new revision is in force at once.
        """
        revision = -1
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_authority, authorities)
            while True:
                commits = store.commits
                if await store.read(read_revision) != revision:
                    before = revision
                    revision, changed = await desired.changed()
                    self.revision = revision
                    self.stir(changed)
                    _note_unchanged(board, changed, before, revision)
                await store.wait_commit(commits)

    async def _watch_authority(self, authorities: LiveAuthority) -> NoReturn:
        seen = authorities.changes
        while True:
            seen = await authorities.wait_changed(seen)
            self.stir([NodeId(node_id) for node_id in self._counts])


def read_revision(db: Database) -> int:
    """Return the fleet's revision, without the rest of its row."""
    revision: int = db.execute("SELECT revision FROM fleet").fetchone()[0]
    return revision


def _note_unchanged(board: Board, changed: frozenset[NodeId], before: int, revision: int) -> None:
    for member_id, sighting in board.seen().items():
        if member_id not in changed and sighting.applied.revision == before:
            sighting.applied = attrs.evolve(sighting.applied, revision=revision)
