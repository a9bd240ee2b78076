"""The feed is numbered and ordered; a slow subscriber loses the oldest and knows how many."""

from __future__ import annotations

import trio
import trio.testing

from pharos.helm.live import hub as module
from pharos.helm.live.hub import QUEUE_SIZE, RECENT, Hub


def publish(hub: Hub, count: int) -> None:
    for number in range(count):
        hub.publish("sample", at=number, text=str(number))


async def test_every_subscriber_sees_every_event_in_order() -> None:
    hub = Hub()
    async with hub.open_subscriber() as one, hub.open_subscriber() as other:
        publish(hub, 3)
        for subscriber in (one, other):
            events = await subscriber.receive()
            assert [event.sequence for event in events] == [1, 2, 3]
            assert subscriber.lost == 0


async def test_subscriber_sees_nothing_from_before_and_waits_for_what_comes() -> None:
    hub = Hub()
    publish(hub, 2)
    received: list[int] = []
    async with hub.open_subscriber() as subscriber:

        async def receive() -> None:
            received.extend(event.sequence for event in await subscriber.receive())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await trio.testing.wait_all_tasks_blocked()
            assert received == []
            publish(hub, 1)
    assert received == [3]


async def test_events_published_while_a_batch_is_taken_are_in_the_next() -> None:
    hub = Hub()
    async with hub.open_subscriber() as subscriber:
        publish(hub, 1)
        assert len(await subscriber.receive()) == 1
        publish(hub, 2)
        assert [event.sequence for event in await subscriber.receive()] == [2, 3]


async def test_slow_subscriber_loses_the_oldest_and_counts_them() -> None:
    hub = Hub()
    async with hub.open_subscriber() as slow, hub.open_subscriber() as quick:
        publish(hub, QUEUE_SIZE)
        assert len(await quick.receive()) == QUEUE_SIZE
        publish(hub, 5)
        assert (slow.lost, quick.lost) == (5, 0)
        events = await slow.receive()
        assert [events[0].sequence, events[-1].sequence, len(events)] == [6, QUEUE_SIZE + 5, QUEUE_SIZE]


async def test_who_left_costs_nothing() -> None:
    hub = Hub()
    async with hub.open_subscriber() as gone:
        pass
    publish(hub, QUEUE_SIZE + 10)
    assert gone.lost == 0
    assert not hub._subscribers


def test_newest_events_are_kept_oldest_first() -> None:
    hub = Hub()
    publish(hub, RECENT + 7)
    assert [event.sequence for event in hub.recent()] == list(range(8, RECENT + 8))


def test_event_is_a_json_object() -> None:
    hub = Hub()
    hub.publish("device_revoked", at=5, node="n", device="d", text="t")
    (event,) = hub.recent()
    assert event.as_json() == {
        "sequence": 1,
        "at": 5,
        "kind": "device_revoked",
        "node": "n",
        "device": "d",
        "text": "t",
    }
    assert module.LiveEvent(**event.as_json()) == event
