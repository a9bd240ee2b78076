"""Events are numbered and come in order; a slow watcher learns that it missed some."""

from __future__ import annotations

import itertools

import pytest
import trio
import trio.testing

from pharos.buoy import events as events_module
from pharos.buoy.events import BATCH_EVERY, BATCH_SIZE, QUEUE_SIZE, EventFeed, Watcher
from pharos.wire.convert import EventKind, TunnelEvent
from pharos.wire.ids import DeviceId

PHONE = DeviceId("phone")


def publish(feed: EventFeed, count: int) -> None:
    for number in range(count):
        feed.publish(EventKind.HANDSHAKE, at=number, device_id=PHONE, detail="198.51.100.4:40001")


async def drain(watcher: Watcher, count: int) -> list[TunnelEvent]:
    """Take ``count`` events, gap markers not counted but kept."""
    events: list[TunnelEvent] = []
    while sum(event.kind is not EventKind.GAP for event in events) < count:
        events += await watcher.receive_batch()
    return events


async def test_every_watcher_sees_every_event_in_order() -> None:
    feed = EventFeed()
    async with feed.open_watcher() as one, feed.open_watcher() as other:
        publish(feed, 3)
        for watcher in (one, other):
            assert [event.sequence for event in await watcher.receive_batch()] == [1, 2, 3]


async def test_watcher_sees_nothing_from_before_and_waits_for_what_comes() -> None:
    feed = EventFeed()
    publish(feed, 2)
    received: list[int] = []
    async with feed.open_watcher() as watcher:

        async def receive() -> None:
            received.extend(event.sequence for event in await watcher.receive_batch())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await trio.testing.wait_all_tasks_blocked()
            assert received == []
            publish(feed, 1)
    assert received == [3], "a lone event leaves at once"


async def test_burst_leaves_in_batches_of_bounded_size() -> None:
    feed = EventFeed()
    async with feed.open_watcher() as watcher:
        publish(feed, 2 * BATCH_SIZE + 1)
        sizes = [len(await watcher.receive_batch()) for _ in range(3)]
        assert sizes == [BATCH_SIZE, BATCH_SIZE, 1]


async def test_slow_watcher_gets_one_gap_marker_and_then_the_newest_in_order() -> None:
    feed = EventFeed()
    async with feed.open_watcher() as slow, feed.open_watcher() as quick:
        assert slow is not quick
        publish(feed, QUEUE_SIZE)
        assert len(await drain(quick, QUEUE_SIZE)) == QUEUE_SIZE
        publish(feed, 3)
        events = await drain(slow, QUEUE_SIZE // 2 + 3)
        gap, *rest = events
        assert (gap.kind, gap.device_id, gap.detail) == (EventKind.GAP, None, str(QUEUE_SIZE // 2))
        assert all(event.kind is not EventKind.GAP for event in rest)
        sequences = [event.sequence for event in rest]
        assert sequences == list(range(QUEUE_SIZE // 2 + 1, QUEUE_SIZE + 4))
        # What was lost and what came are all that was published.
        assert int(gap.detail) + len(rest) == QUEUE_SIZE + 3
        assert [event.kind for event in await drain(quick, 3)] == [EventKind.HANDSHAKE] * 3


async def test_watcher_never_holds_more_than_its_queue() -> None:
    feed = EventFeed()
    async with feed.open_watcher() as watcher:
        for _ in range(5):
            publish(feed, QUEUE_SIZE)
            assert len(watcher._events) <= QUEUE_SIZE
        gap = (await watcher.receive_batch())[0]
        assert int(gap.detail) + len(watcher._events) + BATCH_SIZE == 5 * QUEUE_SIZE


async def test_who_left_costs_nothing() -> None:
    feed = EventFeed()
    async with feed.open_watcher() as gone:
        pass
    publish(feed, 1)
    assert gone._events == []
    assert not feed._watchers


async def test_numbers_go_on_over_watchers() -> None:
    feed = EventFeed()
    sequences = []
    for _ in range(3):
        async with feed.open_watcher() as watcher:
            publish(feed, 2)
            sequences += [event.sequence for event in await watcher.receive_batch()]
    assert all(later == earlier + 1 for earlier, later in itertools.pairwise(sequences))


async def test_watcher_that_comes_back_gets_what_came_meanwhile_and_nothing_twice() -> None:
    feed = EventFeed()
    async with feed.open_watcher() as watcher:
        publish(feed, 3)
        resume = watcher.resume_of(await watcher.receive_batch())
    publish(feed, 2)
    async with feed.open_watcher(resume=resume) as watcher:
        publish(feed, 1)
        batch = await watcher.receive_batch()
    assert [(event.kind, event.sequence) for event in batch] == [(EventKind.HANDSHAKE, number) for number in (4, 5, 6)]


async def test_what_is_not_remembered_any_more_is_a_gap_of_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events_module, "MEMORY", 10)
    feed = EventFeed()
    async with feed.open_watcher() as watcher:
        publish(feed, 1)
        resume = watcher.resume_of(await watcher.receive_batch())
    publish(feed, 25)
    async with feed.open_watcher(resume=resume) as watcher:
        gap, *rest = await watcher.receive_batch()
    assert (gap.kind, gap.detail) == (EventKind.GAP, "15")
    assert [event.sequence for event in rest] == list(range(17, 27))


@pytest.mark.parametrize("resume", [bytes(16), b"x", bytes(7), b"\xff" * 16])
async def test_what_another_run_of_the_agent_said_is_a_gap_and_all_of_this_one(resume: bytes) -> None:
    feed = EventFeed()
    publish(feed, 2)
    async with feed.open_watcher(resume=resume) as watcher:
        gap, *rest = await watcher.receive_batch()
    assert gap.kind is EventKind.GAP
    assert [event.sequence for event in rest] == [1, 2]


async def test_events_soon_after_a_batch_wait_for_each_other(autojump_clock: trio.testing.MockClock) -> None:
    feed = EventFeed()
    async with feed.open_watcher() as watcher, trio.open_nursery() as nursery:
        publish(feed, 1)
        await watcher.receive_batch()
        first = trio.current_time()

        @nursery.start_soon
        async def _() -> None:
            for _ in range(4):
                await trio.sleep(BATCH_EVERY / 10)
                publish(feed, 1)

        assert len(await watcher.receive_batch()) == 4
        assert trio.current_time() - first == pytest.approx(BATCH_EVERY)
        await trio.sleep(2 * BATCH_EVERY)
        quiet = trio.current_time()
        publish(feed, 1)
        await watcher.receive_batch()
        assert trio.current_time() == quiet


async def test_where_devices_come_from_is_told_to_nobody_where_it_shall_not_be() -> None:
    feed = EventFeed(keep_sources=False)
    async with feed.open_watcher() as watcher:
        for kind, detail in ((EventKind.CONNECTED, "192.0.2.7:1"), (EventKind.DISCONNECTED, "expired")):
            feed.publish(kind, at=1, device_id=DeviceId("d"), detail=detail)
        assert [event.detail for event in await watcher.receive_batch()] == ["", "expired"]
