"""The hub hands the same to everybody, in order; events alone go out together, deltas at once."""

from __future__ import annotations

import trio
import trio.testing

from pharos.helm.live.hub import GATHER, RECENT, Hub
from tests.support.live import delta, message, sequences


def publish(hub: Hub, count: int) -> None:
    for number in range(count):
        hub.publish("sample", at=number, text=str(number))


async def test_every_subscriber_sees_every_delta_in_order() -> None:
    hub = Hub()
    async with hub.open_subscriber() as one, hub.open_subscriber(frozenset({"user"})) as other:
        hub.hand_out([delta(1), delta(2)])
        for subscriber in (one, other):
            assert sequences(await message(subscriber)) == [1, 2]
        hub.hand_out([delta(3)])
        assert sequences(await message(one)) == [3]


async def test_subscriber_sees_nothing_from_before() -> None:
    hub = Hub()
    hub.hand_out([delta(1)])
    async with hub.open_subscriber() as subscriber:
        hub.hand_out([delta(2)])
        assert sequences(await message(subscriber)) == [2]


async def test_events_of_the_next_moment_are_one_message(autojump_clock: trio.testing.MockClock) -> None:
    hub = Hub()
    got: list[tuple[float, list[str]]] = []
    began = trio.current_time()

    async def listen() -> None:
        async with hub.open_subscriber() as subscriber:
            while True:
                texts = [event["text"] for event in (await message(subscriber))["events"]]
                got.append((trio.current_time() - began, texts))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hub.run_events)
        nursery.start_soon(listen)
        await trio.testing.wait_all_tasks_blocked()
        publish(hub, 2)
        await trio.testing.wait_all_tasks_blocked()
        publish(hub, 3)
        await trio.sleep(GATHER / 2)
        publish(hub, 1)
        await trio.sleep(GATHER)
        nursery.cancel_scope.cancel()
    assert got == [(0, ["0", "1"]), (GATHER, ["0", "1", "2", "0"])]


async def test_delta_takes_waiting_events_along() -> None:
    hub = Hub()
    async with hub.open_subscriber() as subscriber:
        publish(hub, 2)
        hub.hand_out([delta(1)])
        got = await message(subscriber)
        assert (sequences(got), len(got["events"])) == ([1], 2)


async def test_who_left_costs_nothing() -> None:
    hub = Hub()
    async with hub.open_subscriber() as gone:
        pass
    hub.hand_out([delta(1)])
    assert not gone._batches
    assert not hub._subscribers


def test_newest_events_are_kept_oldest_first_and_remembered_ones_go_to_nobody() -> None:
    hub = Hub()
    publish(hub, RECENT)
    before = hub.position
    hub.remember("user_added", at=1)
    assert [event.sequence for event in hub.recent()] == list(range(2, RECENT + 2))
    assert hub.position > before
    assert len(hub._waiting) == RECENT
