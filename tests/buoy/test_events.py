"""Events are numbered and come in order; a slow watcher learns that it missed some."""

from __future__ import annotations

import itertools

import trio
import trio.testing

from pharos.buoy.events import BATCH_SIZE, QUEUE_SIZE, EventFeed, Watcher
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
