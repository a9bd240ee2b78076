"""From the links to the file: at once taken, soon written, never in anybody's way."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from pharos.helm.model.telemetry import Metric, NodeEvent
from pharos.helm.store.database import TELEMETRY, Store, open_store
from pharos.helm.store.handshakes import newest_handshakes
from pharos.helm.store.samples import HELM, counter_totals, list_gaps
from pharos.helm.store.sessions import SessionQuery, search_sessions
from pharos.helm.telemetry import ingest as module
from pharos.helm.telemetry.backlog import Backlog, Batch
from pharos.helm.telemetry.ingest import BATCH_DELAY, BATCH_SIZE, DROPPED, Ingest, write_batch
from pharos.helm.telemetry.readings import GAP_AFTER
from pharos.wire.ids import NodeId
from tests.support.helm import telemetry_in_memory
from tests.support.telemetry import BORN, LAPTOP, ONE, PHONE, SECOND, event, reading


@asynccontextmanager
async def running(
    tmp_path: Path, *, backlog: Backlog | None = None, clock: Callable[[], int] = lambda: BORN
) -> AsyncIterator[tuple[Ingest, Store]]:
    with open_store(tmp_path, create=True, retry_after=0) as store:
        ingest = Ingest(backlog)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: ingest.run(store, clock=clock))
            yield ingest, store
            nursery.cancel_scope.cancel()


async def written(ingest: Ingest, events: int) -> None:
    with trio.fail_after(10):
        while ingest.written.events < events:
            await trio.testing.wait_all_tasks_blocked(0.005)


async def test_what_is_offered_is_written_as_events_sessions_and_counts(tmp_path: Path) -> None:
    async with running(tmp_path) as (ingest, store):
        ingest.offer_events([event(0, detail="198.51.100.4:1"), event(0, "connected"), event(5, "gap", device=None)])
        ingest.offer_reading(reading(10, phone=(7, 9, 0)))
        await written(ingest, 3)
        (session,) = (await store.record(search_sessions, SessionQuery(), now=BORN)).items
        assert (session.device_id, session.endpoint) == (PHONE, "198.51.100.4:1")
        totals = await store.record(counter_totals)
        assert totals[ONE, None, Metric.HANDSHAKES] == 1
        assert totals[ONE, None, Metric.SENT_UNSEEN] == 9
        assert (ingest.written.readings, ingest.written.batches) == (1, 1)


async def test_node_that_sends_again_after_a_reconnect_counts_once(tmp_path: Path) -> None:
    async with running(tmp_path) as (ingest, store):
        events = [event(n) for n in range(5)]
        for _ in range(2):
            ingest.offer_events(events)
            await written(ingest, 5)
        with trio.fail_after(10):
            while ingest.written.repeated < 5:
                await trio.testing.wait_all_tasks_blocked(0.005)
        assert (await store.record(counter_totals))[ONE, None, Metric.HANDSHAKES] == 5
        assert ingest.written.events == 5


class Recording:
    """Stands for the store: keeps the batches and when they came."""

    def __init__(self) -> None:
        self.batches: list[tuple[float, Batch]] = []

    async def record(self, function: Callable[..., object], *args: object, **_: object) -> tuple[int, dict[str, int]]:
        if function is write_batch:
            (batch,) = args
            assert isinstance(batch, Batch)
            self.batches.append((trio.current_time(), batch))
        await trio.lowlevel.checkpoint()
        return 0, {}


async def test_lone_event_waits_a_quarter_of_a_second_and_a_full_batch_does_not(
    autojump_clock: trio.testing.MockClock,
) -> None:
    ingest, store = Ingest(), Recording()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ingest.run, store)  # type: ignore[arg-type]
        started = trio.current_time()
        ingest.offer_events([event(0)])
        await trio.sleep(1)
        ingest.offer_events(event(n) for n in range(BATCH_SIZE + 1))
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    times = [(round(at - started, 3), len(batch.events)) for at, batch in store.batches]
    assert times == [(BATCH_DELAY, 1), (1.0, BATCH_SIZE), (1 + BATCH_DELAY, 1)]


async def test_what_is_left_at_shutdown_is_written(tmp_path: Path) -> None:
    async with running(tmp_path) as (ingest, store):
        ingest.offer_events([event(0)])
    with open_store(tmp_path) as store:
        assert await store.record(newest_handshakes) == {PHONE: (ONE, BORN)}


async def test_handshake_that_only_the_counters_tell_is_one_too() -> None:
    with telemetry_in_memory() as db:
        first = Batch(events=[event(0, detail="a")], readings=[reading(1, phone=(0, 0, 0))], dropped={})
        assert write_batch(db, first, at=BORN)[0] == 1, "both tell of the same handshake"
        later = Batch(events=[], readings=[reading(200, phone=(0, 0, 120), laptop=(0, 0, 100))], dropped={})
        assert write_batch(db, later, at=BORN + 200 * SECOND)[0] == 2
        page = search_sessions(db, SessionQuery(), now=BORN)
        assert [(s.device_id, s.seen_at) for s in page.items] == [
            (LAPTOP, BORN + 100 * SECOND),
            (PHONE, BORN + 120 * SECOND),
        ]
        assert counter_totals(db)[ONE, None, Metric.HANDSHAKES] == 3


async def test_what_was_dropped_is_written_down(tmp_path: Path) -> None:
    async with running(tmp_path, backlog=Backlog(most_others=2)) as (ingest, store):
        ingest.offer_events(event(n, "gap", device=None) for n in range(5))
        await written(ingest, 3)
        rows = await store.record(lambda db: db.execute("SELECT kind, detail FROM events ORDER BY kind").fetchall())
        assert [tuple(row) for row in rows] == [(DROPPED, "gap=3"), ("gap", ""), ("gap", "")]
        assert ingest.backlog.dropped == {"gap": 3}


async def test_file_that_cannot_be_written_costs_no_event_and_no_change_of_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_AFTER", 0.01)
    with open_store(tmp_path, create=True, busy_timeout=0.01) as store:
        ingest = Ingest()
        holder = sqlite3.connect(tmp_path / TELEMETRY, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ingest.run, store)
            ingest.offer_events([event(0)])
            with trio.fail_after(10):
                while not ingest._failing:
                    await trio.testing.wait_all_tasks_blocked(0.005)
                await store.run(lambda db: db.execute("CREATE TABLE proof (id TEXT)"))
            assert ingest.written.events == 0
            holder.execute("ROLLBACK")
            holder.close()
            await written(ingest, 1)
            nursery.cancel_scope.cancel()


async def test_flood_never_waits_for_a_durable_commit(tmp_path: Path) -> None:
    with open_store(tmp_path, create=True) as store:
        ingest, stuck, go_on = Ingest(), trio.Event(), trio.Event()

        def hold(_db: object) -> None:
            trio.from_thread.run_sync(stuck.set)
            trio.from_thread.run(go_on.wait)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.run, hold)
            await stuck.wait()
            nursery.start_soon(ingest.run, store)
            # Of several nodes, for one alone may not have so many that wait.
            ingest.offer_events(event(n, node=NodeId(f"node-{n % 4}")) for n in range(3 * BATCH_SIZE))
            await written(ingest, 3 * BATCH_SIZE)
            assert not go_on.is_set()
            go_on.set()
            nursery.cancel_scope.cancel()


async def test_time_that_helm_slept_is_a_gap(tmp_path: Path) -> None:
    async def look(at: int) -> None:
        async with running(tmp_path, clock=lambda: at) as (_, store):
            with trio.fail_after(10):
                while not await store.record(
                    lambda db: db.execute("SELECT 1 FROM readings WHERE at = ?", (at,)).fetchone()
                ):
                    await trio.testing.wait_all_tasks_blocked(0.005)

    woken = BORN + GAP_AFTER + SECOND
    await look(BORN)
    await look(woken)
    with open_store(tmp_path) as store:
        (gap,) = await store.record(list_gaps, HELM, since=BORN, until=woken)
    assert (gap.began_at, gap.ended_at) == (BORN, woken)


def test_events_of_one_batch_are_new_or_not_each_by_itself() -> None:
    with telemetry_in_memory() as db:

        def write(*events: NodeEvent) -> int:
            return write_batch(db, Batch(events=list(events), readings=[], dropped={}), at=BORN)[0]

        assert [write(event(0), event(1)), write(event(1), event(2)), write(event(2), event(2))] == [2, 1, 0]
