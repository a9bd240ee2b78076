"""From the links to telemetry.db: what nodes tell is taken at once, and written a batch at a time."""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Final, NoReturn

import attrs
import trio

from pharos.helm.errors import BusyError, DatabaseCorruptError
from pharos.helm.live.board import now_us
from pharos.helm.model.telemetry import Metric, NodeEvent, NodeReading
from pharos.helm.store.database import Database, Store
from pharos.helm.store.handshakes import add_events, handshakes_at
from pharos.helm.store.samples import HELM, add_counts, add_reading, note_look
from pharos.helm.store.sessions import apply_events
from pharos.helm.telemetry.backlog import Backlog, Batch
from pharos.helm.telemetry.readings import READ_EVERY
from pharos.wire.convert import EventKind
from pharos.wire.ids import NodeId
from pharos.wire.units import MILLISECONDS, SECONDS

log = logging.getLogger(__name__)

# An event is in the table a quarter of a second after it came; four transactions a second are no load.
BATCH_DELAY: Final = 250 * MILLISECONDS
# Indexes by device are written all over: of a large batch several rows fall on each page. Some 200 ms of writing, after
# which others have their turn.
BATCH_SIZE: Final = 5_000
RETRY_AFTER: Final = 1 * SECONDS
# A point of each node's chart with every batch would be four a second. What a crash takes of them is in the table of
# events all the same.
COUNTS_EVERY: Final = 10 * SECONDS
_NO_COUNTS: Final[Mapping[NodeId, int]] = MappingProxyType({})
# A batch that waits at shutdown is written within this, or lost.
_GRACE: Final = 2 * SECONDS

DROPPED: Final = "dropped"
"""Kind of the event that says how many events helm itself lost; its detail is ``kind=count …``."""


@attrs.define
class Written:
    """What was written since helm started."""

    events: int = 0
    repeated: int = 0
    """Events that were there already."""
    readings: int = 0
    batches: int = 0
    seconds: float = 0.0
    """How long the batches took, together."""


class Ingest:
    """Takes what links hear, without waiting; ``run`` writes it."""

    def __init__(self, backlog: Backlog | None = None) -> None:
        self.backlog: Final = Backlog() if backlog is None else backlog
        self.written: Final = Written()
        self._changed = trio.lowlevel.ParkingLot()
        self._failing = False
        self._counts: Mapping[NodeId, int] = {}
        """Handshakes that are in the table of events and not in a chart yet, by node."""
        self._counts_due = 0.0

    def offer_events(self, events: Iterable[NodeEvent]) -> None:
        """Take events, in order."""
        self.backlog.add_events(events)
        self._changed.unpark_all()

    def offer_reading(self, reading: NodeReading) -> None:
        """Take a reading of a node."""
        self.backlog.add_reading(reading)
        self._changed.unpark_all()

    async def run(self, store: Store, *, clock: Callable[[], int] = now_us) -> NoReturn:
        """Write what was taken until cancelled, and then what is left; ``clock`` gives microseconds since 1970."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_stay_awake, store, clock)
            try:
                while True:
                    await self._wait_batch()
                    if not await self.write(store, at=clock()):
                        await trio.sleep(RETRY_AFTER)
            finally:
                with trio.move_on_after(_GRACE, shield=True):
                    while (not self.backlog.is_empty or self._counts) and await self.write(
                        store, at=clock(), last=True
                    ):
                        pass
        raise AssertionError("unreachable")

    async def write(self, store: Store, *, at: int, last: bool = False) -> bool:
        """Write one batch; return False, with the batch back in its place, if the store cannot take it now."""
        batch = self.backlog.take(BATCH_SIZE)
        started = trio.current_time()
        due = last or started >= self._counts_due
        try:
            fresh, counts = await store.record(write_batch, batch, at=at, counts=self._counts, due=due)
        except (BusyError, DatabaseCorruptError) as error:
            self.backlog.put_back(batch)
            if not self._failing:
                log.warning("events and samples wait, for telemetry.db cannot be written: %s", error)
            self._failing = True
            return False
        except trio.Cancelled:
            # Only what never began can be cancelled.
            self.backlog.put_back(batch)
            raise
        self._failing = False
        self._counts = counts
        if due:
            self._counts_due = started + COUNTS_EVERY
        written = self.written
        written.batches += 1
        written.seconds += trio.current_time() - started
        written.events += fresh
        written.repeated += max(len(batch.events) - fresh, 0)
        written.readings += len(batch.readings)
        return True

    async def _wait_batch(self) -> None:
        while self.backlog.is_empty:
            await self._changed.park()
        with trio.move_on_after(BATCH_DELAY):
            while len(self.backlog) < BATCH_SIZE:
                await self._changed.park()


def write_batch(
    db: Database, batch: Batch, *, at: int, counts: Mapping[NodeId, int] = _NO_COUNTS, due: bool = True
) -> tuple[int, Mapping[NodeId, int]]:
    """Write one batch in the caller's transaction; return how many of its events, and of those readings tell, are new.

    ``at`` is helm's clock in microseconds since 1970. ``counts`` are handshakes of nodes from batches before; they are
    written for charts together with this batch's where that is ``due``, or else returned.
    """
    events = list(batch.events)
    if batch.dropped:
        detail = " ".join(f"{kind}={count}" for kind, count in sorted(batch.dropped.items()))
        events.append(NodeEvent(at=at, kind=DROPPED, node_id=HELM, device_id=None, detail=detail))
    fresh = add_events(db, events, received_at=at)
    for reading in batch.readings:
        # What the stream did not tell, for helm was away or events were dropped, the counters do.
        fresh += add_events(db, _handshakes_of(db, reading), received_at=at)
        add_reading(db, reading)
    apply_events(db, fresh)
    handshakes = Counter(event.node_id for event in fresh if event.kind == EventKind.HANDSHAKE.value)
    handshakes.update(counts)
    if not due:
        return len(fresh), handshakes
    for node_id, count in handshakes.items():
        add_counts(db, node_id, {(None, Metric.HANDSHAKES): count}, at=at)
    return len(fresh), {}


def _handshakes_of(db: Database, reading: NodeReading) -> list[NodeEvent]:
    known = handshakes_at(db, reading.node_id) if reading.peers else {}
    return [
        NodeEvent(
            at=peer.last_handshake,
            kind=EventKind.HANDSHAKE.value,
            node_id=reading.node_id,
            device_id=device_id,
            detail="",
            protocol=peer.protocol,
        )
        for device_id, peer in reading.peers.items()
        if peer.last_handshake > known.get(device_id, 0)
    ]


async def _stay_awake(store: Store, clock: Callable[[], int]) -> NoReturn:
    """Note that helm is awake; what it sleeps through becomes a gap in every chart."""
    while True:
        # Who writes the batches says why that failed.
        with contextlib.suppress(BusyError, DatabaseCorruptError):
            await store.record(note_look, HELM, clock())
        await trio.sleep(READ_EVERY)
