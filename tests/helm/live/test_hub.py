"""The hub hands the same to everybody, in order; events alone go out together, deltas at once."""

from __future__ import annotations

import json

import trio
import trio.testing

from pharos.helm.live.hub import GATHER, MOST_EVENTS, RECENT, Hub
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


async def test_of_a_flood_pages_hear_the_newest_and_how_many_there_were_beside_them() -> None:
    hub = Hub()
    async with hub.open_subscriber() as subscriber:
        for number in range(MOST_EVENTS + 7):
            hub.publish("handshake", at=number, text=str(number))
        hub.hand_out(())
        message = await subscriber.receive()
        assert isinstance(message, str)
        more, *rest = json.loads(message)["events"]
        assert (more["kind"], more["text"]) == ("more", "7 further events")
        assert [event["text"] for event in rest] == [str(number) for number in range(7, MOST_EVENTS + 7)]
        sequences = [event["sequence"] for event in (more, *rest)]
        assert sequences == sorted(set(sequences))


async def test_figures_wake_only_those_who_want_them() -> None:
    hub = Hub()
    figures = {"nodes": {}, "fleet": {"down": 1}}
    async with hub.open_subscriber() as other, hub.open_subscriber(figures=True) as page:
        hub.push(figures=None, counts=None)
        hub.push(figures=figures, counts=None)
        assert await message(page) == {"sequence": 0, "figures": figures}
        assert not other._batches


async def test_somebody_listens_from_when_one_wants_figures() -> None:
    hub, listened = Hub(), trio.Event()

    async def wait() -> None:
        await hub.wait_listened()
        listened.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        async with hub.open_subscriber():
            await trio.testing.wait_all_tasks_blocked()
            assert not listened.is_set()
            async with hub.open_subscriber(figures=True):
                await trio.testing.wait_all_tasks_blocked()
                assert listened.is_set()


def test_event_of_a_device_has_its_name_as_far_as_it_is_known() -> None:
    hub = Hub()
    hub.names = {"d": "phone"}
    for device in ("d", "stranger", None):
        hub.publish("handshake", at=1, device=device)
    assert [event.as_json()["name"] for event in hub.recent()] == ["phone", None, None]
