"""A device reaches helm by whichever relay leads there, and through its own tunnel where all of them are blocked."""

from __future__ import annotations

import functools
import ipaddress
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from pharos.caravel import follow as following_module
from pharos.caravel import reach as reach_module
from pharos.caravel import relays as relays_module
from pharos.caravel.errors import NoAnswerError
from pharos.caravel.follow import follow
from pharos.caravel.profiles.denied import Denied
from pharos.caravel.profiles.store import ProfileStore
from pharos.caravel.reach import Reach
from pharos.caravel.sync import SyncOutcome, sync
from pharos.caravel.tunnel.reality import RealityTunnel
from tests.support.fleet import HOST, Fleet, running_fleet
from tests.support.reality import NAME
from tests.wire.reality.nodes import running_site, site_context

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)


def block(_sock: socket.socket) -> None:
    """Stand in the way of every socket that goes straight to a relay."""
    raise OSError("blocked")


class BlackHole:
    """What stands where a relay stood: it accepts, and says nothing."""

    def __init__(self) -> None:
        self.met = 0

    async def serve(self, port: int, *, task_status: trio.TaskStatus[None]) -> None:
        async def say_nothing(stream: trio.SocketStream) -> None:
            self.met += 1
            while await stream.receive_some():
                pass

        listen = functools.partial(trio.serve_tcp, say_nothing, port, host=HOST)
        async with trio.open_nursery() as nursery:
            await nursery.start(listen)
            task_status.started()


@asynccontextmanager
async def two_relays(folder: Path) -> AsyncIterator[tuple[Fleet, ProfileStore]]:
    """A fleet of two relays and a device that knows both, and came in by the first last."""
    async with running_fleet(folder, buoys=()) as fleet:
        await fleet.add_beacon("second")
        await fleet.wait_settled(peers=0)
        await fleet.enrol()
        store = fleet.device_store("laptop")
        await sync(store)
        listed = (await fleet.ask("GET", "/api/v1/relays"))["items"]
        store.save_relay(next(relay["id"] for relay in listed if relay["name"] == "gate"))
        yield fleet, store


async def id_of(fleet: Fleet, name: str) -> str:
    listed = (await fleet.ask("GET", "/api/v1/relays"))["items"]
    return str(next(relay["id"] for relay in listed if relay["name"] == name))


@pytest.mark.parametrize("what", ["dead", "silent"])
async def test_relay_that_does_not_answer_costs_less_than_a_second(tmp_path: Path, what: str) -> None:
    async with two_relays(tmp_path) as (fleet, store), trio.open_nursery() as nursery:
        hole = BlackHole()
        await fleet.beacons["gate"].stop()
        if what == "silent":
            await nursery.start(hole.serve, fleet.ports["gate"]["ingress_port"])
        began = trio.current_time()
        outcome = await sync(store)
        assert trio.current_time() - began < 1
        assert not outcome.changed
        assert hole.met == (what == "silent")
        # It is the first choice from now on.
        assert store.heard_through() == await id_of(fleet, "second")
        await sync(store)
        assert hole.met == (what == "silent")
        nursery.cancel_scope.cancel()


async def test_silent_relay_costs_ten_seconds_where_relays_are_not_raced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weakened: one relay after another, each for as long as it may take."""
    monkeypatch.setattr(relays_module, "NEXT_AFTER", relays_module.DIAL_TIMEOUT)
    async with two_relays(tmp_path) as (fleet, store), trio.open_nursery() as nursery:
        await fleet.beacons["gate"].stop()
        await nursery.start(BlackHole().serve, fleet.ports["gate"]["ingress_port"])
        with trio.move_on_after(1.5) as patience:
            await sync(store)
        assert patience.cancelled_caught
        nursery.cancel_scope.cancel()


async def test_relay_that_lost_helm_does_not_keep_a_device_from_it(tmp_path: Path) -> None:
    """It answers, admits the device, and can lead nowhere."""
    async with two_relays(tmp_path) as (fleet, store):
        listed = (await fleet.ask("GET", "/api/v1/relays"))["items"]
        gate = next(relay for relay in listed if relay["name"] == "gate")
        await fleet.ask("PATCH", f"/api/v1/relays/{gate['id']}", {"tunnel_port": 9}, version=gate["version"])
        await fleet.wait_status(lambda picture: {relay["link"] == "up" for relay in picture["relays"]} == {True, False})
        began = trio.current_time()
        await sync(store)
        assert trio.current_time() - began < 1


async def test_denied_relay_is_never_dialled(tmp_path: Path) -> None:
    async with two_relays(tmp_path) as (fleet, store), trio.open_nursery() as nursery:
        holes = {name: BlackHole() for name in ("gate", "second")}
        for name, hole in holes.items():
            await fleet.beacons[name].stop()
            await nursery.start(hole.serve, fleet.ports[name]["ingress_port"])
        store.save_denied(Denied(order=(1, 2), relays=frozenset({await id_of(fleet, "gate")})))
        with trio.move_on_after(1):
            await sync(store)
        assert {name: hole.met for name, hole in holes.items()} == {"gate": 0, "second": 1}
        # Shown red: without the list, it is tried as well.
        store.save_denied(Denied())
        with trio.move_on_after(1):
            await sync(store)
        assert holes["gate"].met == 1
        nursery.cancel_scope.cancel()


async def test_relay_that_asked_for_peace_is_left_in_it_and_another_is_not(tmp_path: Path) -> None:
    async with two_relays(tmp_path) as (fleet, store):
        reach = Reach()
        reach.pause(await id_of(fleet, "gate"), 60)
        await sync(store, reach=reach)
        assert store.heard_through() == await id_of(fleet, "second")
        reach.pause(await id_of(fleet, "second"), 30)
        with pytest.raises(NoAnswerError, match="left in peace") as caught:
            await sync(store, reach=reach)
        assert 29 < caught.value.retry_after <= 30
        reach.tell()
        await sync(store, reach=reach)


@asynccontextmanager
async def tunnelled(folder: Path) -> AsyncIterator[tuple[Fleet, ProfileStore, RealityTunnel]]:
    """A device with a tunnel of REALITY up, whose node reaches the relay."""
    context = site_context(folder)
    async with running_site(context) as site, running_fleet(folder, buoys=()) as fleet:
        targets = {"value": [f"127.0.0.1:{site.port} {NAME}"]}
        await fleet.ask("PUT", "/api/v1/settings/reality.targets", targets, version=1)
        await fleet.add_buoy("a", reality_allowed=LOOPBACK)
        await fleet.wait_settled(peers=0)
        await fleet.wait_reality()
        await fleet.enrol()
        await fleet.wait_settled(peers=1)
        async with fleet.client() as client, client.connect_reality() as tunnel:
            await tunnel.wait_up(15)
            yield fleet, client.store, tunnel


async def test_device_syncs_through_its_own_tunnel_where_every_relay_is_blocked(tmp_path: Path) -> None:
    async with tunnelled(tmp_path) as (_, store, tunnel):
        with pytest.raises(NoAnswerError, match="blocked"):
            await sync(store, protect=block)
        before = store.heard_at()
        outcome = await sync(store, tunnel, block)
        assert outcome.revision > 0
        assert before is None or store.heard_at() > before  # type: ignore[operator]


async def test_tunnel_is_not_used_where_a_relay_answers_directly(tmp_path: Path) -> None:
    class Refusing:
        async def open_tcp_stream(self, host: str, port: int) -> trio.abc.HalfCloseableStream:
            pytest.fail("it went through the tunnel")

        async def open_udp(self) -> None:
            pytest.fail("it went through the tunnel")

    async with two_relays(tmp_path) as (_, store):
        await sync(store, Refusing())  # type: ignore[arg-type]


class Follower:
    def __init__(self) -> None:
        self._send, self._outcomes = trio.open_memory_channel[SyncOutcome](100)

    def told(self, outcome: SyncOutcome) -> None:
        self._send.send_nowait(outcome)

    async def next(self) -> SyncOutcome:
        return await self._outcomes.receive()


@asynccontextmanager
async def following(
    store: ProfileStore, reach: Reach, random: Callable[[], float] = lambda: 0.999
) -> AsyncIterator[Follower]:
    follower = Follower()
    async with trio.open_nursery() as nursery:

        async def run() -> None:
            await follow(store, random=random, told=follower.told, reach=reach)

        nursery.start_soon(run)
        yield follower
        nursery.cancel_scope.cancel()


async def test_follower_syncs_as_soon_as_a_tunnel_is_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following_module, "NEWS_JITTER", 0.0)
    # Nothing but the news could have it back within the test's patience.
    monkeypatch.setattr(following_module, "Backoff", functools.partial(following_module.Backoff, first=1e3, cap=1e3))
    async with tunnelled(tmp_path) as (_, store, tunnel):
        reach = Reach(protect=block)
        waiting = trio.Event()
        wait_news = reach_module.Reach.wait_news

        async def tell(self: Reach) -> None:
            waiting.set()
            await wait_news(self)

        monkeypatch.setattr(reach_module.Reach, "wait_news", tell)
        async with following(store, reach) as follower:
            await waiting.wait()
            reach.offer(tunnel)
            with trio.fail_after(10):
                assert (await follower.next()).revision > 0
