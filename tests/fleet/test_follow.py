"""A device that stays in touch: a light passage through a real beacon, and a sync whenever helm has news."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio

from pharos.beacon import ingress
from pharos.beacon.sanitize import Refusal
from pharos.caravel import follow as following_module
from pharos.caravel.errors import HelmRefusedError
from pharos.caravel.follow import follow
from pharos.caravel.sync import SyncOutcome
from pharos.helm.profiles.reseal import run_reseal
from pharos.helm.relay.edge import PassageEdge
from pharos.wire.ids import DeviceId
from tests.support.fates import meets
from tests.support.fleet import Fleet, running_fleet


class Follower:
    """A device that follows, and what it heard."""

    def __init__(self) -> None:
        self._send, self._outcomes = trio.open_memory_channel[SyncOutcome](100)

    def told(self, outcome: SyncOutcome) -> None:
        self._send.send_nowait(outcome)

    async def next(self) -> SyncOutcome:
        return await self._outcomes.receive()


@asynccontextmanager
async def following(fleet: Fleet) -> AsyncIterator[Follower]:
    follower = Follower()
    async with trio.open_nursery() as nursery:
        store = fleet.device_store("laptop")

        async def run() -> None:
            await follow(store, random=lambda: 0.01, told=follower.told)

        nursery.start_soon(run)
        yield follower
        nursery.cancel_scope.cancel()


@pytest.fixture
def edges(monkeypatch: pytest.MonkeyPatch) -> list[PassageEdge]:
    """The edges that helms make, the newest last."""
    made: list[PassageEdge] = []
    make: Callable[..., Any] = PassageEdge.__init__

    def remember(edge: PassageEdge, *args: Any) -> None:
        make(edge, *args)
        made.append(edge)

    monkeypatch.setattr(PassageEdge, "__init__", remember)
    return made


async def test_note_makes_a_device_sync_at_once(tmp_path: Path, edges: list[PassageEdge]) -> None:
    async with running_fleet(tmp_path) as fleet:
        enrolled = await fleet.enrol()
        async with following(fleet) as follower:
            first = await follower.next()
            await fleet.add_buoy("b")
            device_id = DeviceId(enrolled.device_id)
            assert edges[-1].notify(device_id, first.epoch, first.revision + 1)
            second = await follower.next()
        assert (second.epoch, second.changed) == (first.epoch, True)
        assert second.revision > first.revision


async def test_device_comes_back_when_helm_does(
    tmp_path: Path, edges: list[PassageEdge], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ingress._RETRY_AFTER, Refusal.HELM_AWAY, (0.1, 0.2))
    async with running_fleet(tmp_path) as fleet:
        await fleet.enrol()
        async with following(fleet) as follower:
            await follower.next()
            await fleet.helm.stop()
            await fleet.helm.start()
            assert not (await follower.next()).changed
            assert len(edges[-1].online) == 1


async def test_device_waits_as_long_as_the_relay_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own back-off would have it back within 10 ms."""
    monkeypatch.setitem(ingress._RETRY_AFTER, Refusal.HELM_AWAY, (7.0, 7.0))
    waited: list[float] = []
    move_on_after = trio.move_on_after

    def patiently(seconds: float) -> trio.CancelScope:
        waited.append(seconds)
        return move_on_after(min(seconds, 0.05))

    async with running_fleet(tmp_path) as fleet:
        await fleet.enrol()
        await fleet.helm.stop()
        there = SimpleNamespace(move_on_after=patiently, current_time=trio.current_time, sleep=trio.sleep)
        monkeypatch.setattr(following_module, "trio", there)
        async with following(fleet):
            await fleet.until(lambda: 7.0 in waited)
            await fleet.helm.start()


async def test_revoked_device_stops_following(tmp_path: Path, edges: list[PassageEdge]) -> None:
    async with running_fleet(tmp_path) as fleet:
        enrolled = await fleet.enrol()
        store = fleet.device_store("laptop")
        synced = trio.Event()
        # Alone or with the loss of its passage, whichever comes first.
        with meets(HelmRefusedError):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lambda: follow(store, random=lambda: 0.01, told=lambda _: synced.set()))
                await synced.wait()
                await fleet.move_device("laptop", "revoke")
                edges[-1].online.cut(DeviceId(enrolled.device_id))


async def test_change_of_the_fleet_reaches_a_device_that_follows_without_its_asking(
    tmp_path: Path, edges: list[PassageEdge]
) -> None:
    async with running_fleet(tmp_path) as fleet, trio.open_nursery() as nursery:
        await fleet.enrol()
        context = edges[-1].context
        nursery.start_soon(run_reseal, context.store, context.authorities, edges[-1])
        async with following(fleet) as follower, fleet.client() as client:
            await follower.next()
            await fleet.add_buoy("b")
            assert (await follower.next()).changed
            assert {node.name for node in client.profile().nodes} == {"a", "b"}
            assert [standing.value for standing in client.standings().values()] == ["known", "new"]
        nursery.cancel_scope.cancel()
