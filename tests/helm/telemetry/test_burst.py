"""A hundred thousand events a second are taken, counted or shed by name, and control goes on meanwhile. (6 s)"""

from __future__ import annotations

from pathlib import Path

import trio

from pharos.helm.model.telemetry import NodeEvent
from pharos.helm.model.users import User
from pharos.helm.store.database import Database, Store, open_store
from pharos.helm.store.ids import fresh_id
from pharos.helm.store.records import add_record, change_record
from pharos.helm.store.users import USERS
from pharos.helm.telemetry.ingest import Ingest
from pharos.wire.ids import DeviceId, NodeId
from tests.support.figures import Fault, record
from tests.support.helm import sample_act

RATE, SECONDS, STEP = 100_000, 3, 0.02
NODES, DEVICES = 50, 5_000
BORN = 1_800_000_000_000_000


def event(number: int) -> NodeEvent:
    """A handshake, each device's at another moment: none of them is needless."""
    return NodeEvent(
        at=BORN + number * 180_000_000,
        kind="handshake",
        node_id=NodeId(f"0198a2b4-0001-7000-8000-{number % NODES:012x}"),
        device_id=DeviceId(f"0198a2b4-0002-7000-8000-{number % DEVICES:012x}"),
        detail="198.51.100.4:40001",
    )


async def offer_burst(ingest: Ingest) -> int:
    """Offer so many events a second, as links do: some at a time, never waiting for the store. Return how many."""
    made = [event(number) for number in range(int(RATE * STEP))]
    begun, offered = trio.current_time(), 0
    while (passed := trio.current_time() - begun) < SECONDS:
        while offered < passed * RATE:
            ingest.offer_events(made)
            offered += len(made)
        await trio.sleep(STEP)
    return offered


async def change_over_and_over(store: Store, taken: list[float], done: trio.Event) -> None:
    """Make one durable change after another, and note how long each took."""
    user = await store.run(lambda db: add_record(db, USERS, User(id=fresh_id(), name="ada"), sample_act()))
    while not done.is_set():

        def change(db: Database, at: User = user) -> User:
            return change_record(db, USERS, at.id, at.version, {"note": f"after {at.version}"}, sample_act())

        begun = trio.current_time()
        user = await store.run(change)
        taken.append(trio.current_time() - begun)
        await trio.sleep(STEP / 2)
    assert user.version == len(taken) + 1, "every change that was acknowledged was made"


async def wait_written(ingest: Ingest) -> None:
    """Wait until nothing waits to be written."""
    with trio.fail_after(60):
        while True:
            if ingest.backlog.is_empty:
                return
            await trio.sleep(STEP)


async def test_control_goes_on_in_a_burst_and_no_event_is_lost_uncounted(tmp_path: Path) -> None:
    with open_store(tmp_path, create=True) as store:
        ingest, taken, done = Ingest(), list[float](), trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ingest.run, store)
            nursery.start_soon(change_over_and_over, store, taken, done)
            offered = await offer_burst(ingest)
            done.set()
            await wait_written(ingest)
            nursery.cancel_scope.cancel()
        shed = sum(ingest.backlog.dropped.values())
        late = sorted(taken)[int(0.99 * (len(taken) - 1))]
        record(Fault.EVENT_BURST, "p99 of a durable change meanwhile", 1000 * late, "ms")
        record(Fault.EVENT_BURST, "events offered a second", offered / SECONDS, "/s")
        record(
            Fault.EVENT_BURST,
            "events that are neither written nor counted as shed",
            offered - ingest.written.events - ingest.written.repeated - shed,
        )
        assert taken
        assert ingest.written.events + ingest.written.repeated + shed == offered
