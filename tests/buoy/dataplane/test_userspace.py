"""The driver of an engine behind its UAPI socket: told once, told again, asked, and heard."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio

from pharos.buoy.dataplane import outside
from pharos.buoy.dataplane.base import AwgEndpoint, AwgPlan, EngineError, PeerCounters
from pharos.buoy.dataplane.outside import OutsideAwg, interfaces_from
from pharos.buoy.dataplane.userspace import make_userspace_awg, restart_by_helper
from pharos.buoy.roothelper.acts import Act, Answer, Done, Unit, UnitAct, UnitVerb
from pharos.wire.awg.params import PLAIN, ObfuscationParameters
from pharos.wire.awg.uapi import DeviceChange, PeerChange
from pharos.wire.awg.udp import bind_udp
from pharos.wire.convert import EventKind
from pharos.wire.ids import DeviceId
from tests.buoy.dataplane.engines import (
    Heard,
    free_ports,
    is_served,
    running_device,
    served_engine,
    served_ports,
    wait_until,
)
from tests.buoy.dataplane.plans import BEFORE, NOW, device, plan_of

FOREIGN = pytest.mark.parametrize("foreign", [False, True], ids=["ours", "foreign"])
HANDSHAKE, CONNECTED, DISCONNECTED = EventKind.HANDSHAKE, EventKind.CONNECTED, EventKind.DISCONNECTED


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outside, "LOOK_EVERY", 0.02)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "amneziawg"


@asynccontextmanager
async def running_driver(folder: Path, heard: Heard, *, wait: bool = True) -> AsyncIterator[OutsideAwg]:
    driver = make_userspace_awg(
        on_event=heard.on_event, set_link=heard.set_link, restart=heard.restart, directories=[folder]
    )
    async with trio.open_nursery() as nursery:
        if wait:
            with trio.fail_after(10):
                await nursery.start(driver.run)
        else:
            nursery.start_soon(driver.run)
        yield driver
        nursery.cancel_scope.cancel()


async def told(driver: OutsideAwg, plan: AwgPlan) -> None:
    """Have a driver tell a plan as its manager does: again while the engine is away or cannot yet."""
    with trio.fail_after(10):
        while True:
            try:
                return await driver.apply(plan)
            except EngineError:
                await trio.sleep(0.02)


async def counted(driver: OutsideAwg, *, more_than: int) -> PeerCounters:
    """Wait until so much was counted of the one peer."""
    with trio.fail_after(10):
        while (counters := (await driver.read_counters())[0]).received <= more_than:  # noqa: ASYNC110 -- nobody tells
            await trio.sleep(0.02)
    return counters


def one_endpoint(port: int, parameters: ObfuscationParameters = NOW) -> tuple[AwgEndpoint, ...]:
    return (AwgEndpoint(port=port, parameters=parameters),)


@FOREIGN
async def test_an_engine_is_told_its_plan_and_its_link(folder: Path, foreign: bool) -> None:
    heard, (port,) = Heard(), free_ports(1)
    async with served_engine(folder, foreign=foreign) as engine, running_driver(folder, heard) as driver:
        assert driver.port == 0
        plan = plan_of(device(0, rate_limit=8000), device(1), endpoints=one_endpoint(port))
        await driver.apply(plan)
        assert is_served(engine, plan)
        assert driver.port == port
        assert driver.limits_rates is not foreign
        rates = {peer.send_rate for peer in engine.state().peers}
        assert rates == ({0} if foreign else {0, 1000})
        (link,) = heard.links
        assert (link.interface, link.addresses, link.networks) == ("awg0", plan.addresses, plan.networks)
        assert link.mtu == 1420 - NOW.s4
        assert {counters.device_id for counters in await driver.read_counters()} == {"d0", "d1"}
        # What is so already is not said again.
        await driver.apply(plan)
        assert len(heard.links) == 1
        await driver.apply(attrs.evolve(plan, endpoints=()))
        assert engine.state().peers == ()
        assert driver.port == 0
        assert await driver.read_counters() == []
        await driver.restart()
        assert heard.restarts == 1


@FOREIGN
async def test_peers_that_stay_keep_their_session_and_their_handshake(folder: Path, foreign: bool) -> None:
    heard, (port,) = Heard(), free_ports(1)
    async with (
        served_engine(folder, foreign=foreign),
        running_driver(folder, heard) as driver,
        running_device() as client,
    ):
        plan = plan_of(device(0), endpoints=one_endpoint(port))
        await driver.apply(plan)
        client.dial(port, NOW)
        assert await client.echoes() == 3
        shaken = client.last_handshake
        await driver.apply(plan_of(device(0), device(1), endpoints=one_endpoint(port)))
        await driver.apply(plan_of(device(0, rate_limit=80_000_000), endpoints=one_endpoint(port)))
        assert await client.echoes() == 3
        assert client.last_handshake == shaken


@FOREIGN
async def test_the_agent_hears_of_a_device_that_comes_and_is_taken_away(folder: Path, foreign: bool) -> None:
    heard, (port,) = Heard(), free_ports(1)
    async with (
        served_engine(folder, foreign=foreign) as engine,
        running_driver(folder, heard) as driver,
        running_device() as client,
    ):
        plan = plan_of(device(0), endpoints=one_endpoint(port))
        await driver.apply(plan)
        client.dial(port, NOW)
        assert await client.echoes() == 3
        await heard.wait_for(lambda: CONNECTED in heard.kinds)
        assert heard.kinds == [HANDSHAKE, CONNECTED]
        assert all(detail.startswith("127.0.0.1:") for _, _, detail in heard.events)
        counters = await counted(driver, more_than=3 * 84)
        assert counters.last_handshake == engine.state().peers[0].last_handshake_ns // 1000
        await driver.apply(attrs.evolve(plan, peers={}), reasons={DeviceId("d0"): "expired"})
        assert heard.events[-1] == (DISCONNECTED, "d0", "expired")


@FOREIGN
async def test_an_engine_that_came_back_empty_is_told_again_and_counters_go_on(folder: Path, foreign: bool) -> None:
    heard, (port,) = Heard(), free_ports(1)
    plan = plan_of(device(0), endpoints=one_endpoint(port))
    async with running_driver(folder, heard, wait=False) as driver:
        async with served_engine(folder, foreign=foreign), running_device() as client:
            await told(driver, plan)
            client.dial(port, NOW)
            assert await client.echoes(20) == 20
            await heard.wait_for(lambda: CONNECTED in heard.kinds)
            before = await counted(driver, more_than=1000)
        await wait_until(lambda: driver.port == 0)
        assert await driver.read_counters() == [before]
        begun = trio.current_time()
        async with served_engine(folder, foreign=foreign) as engine, running_device() as again:
            await wait_until(lambda: is_served(engine, plan))
            # The back-off ends at a second.
            assert trio.current_time() - begun < 3
            await heard.wait_for(lambda: DISCONNECTED in heard.kinds)
            assert heard.events[-1] == (DISCONNECTED, "d0", "silent")
            await heard.wait_for(lambda: len(heard.links) == 2)
            again.dial(port, NOW)
            assert await again.echoes() == 3
            await heard.wait_for(lambda: heard.kinds.count(CONNECTED) == 2)
            after = await counted(driver, more_than=before.received)
            assert after.last_handshake > before.last_handshake


@FOREIGN
async def test_an_agent_that_begins_anew_finds_its_devices_connected(folder: Path, foreign: bool) -> None:
    first, second, (port,) = Heard(), Heard(), free_ports(1)
    plan = plan_of(device(0), endpoints=one_endpoint(port))
    async with served_engine(folder, foreign=foreign), running_device() as client:
        async with running_driver(folder, first) as driver:
            await driver.apply(plan)
            client.dial(port, NOW)
            assert await client.echoes() == 3
            await first.wait_for(lambda: CONNECTED in first.kinds)
        shaken = client.last_handshake
        async with running_driver(folder, second) as driver:
            await driver.apply(plan)
            await second.wait_for(lambda: bool(second.events))
            assert second.kinds == [CONNECTED]
            assert (await counted(driver, more_than=3 * 84)).last_handshake > 0
            assert await client.echoes() == 3
            assert client.last_handshake == shaken


async def test_an_engine_begins_anew_by_its_unit() -> None:
    acts: list[Act] = []

    class Helper:
        async def perform(self, act: Act) -> Answer:
            acts.append(act)
            return Done()

    await restart_by_helper(Helper(), Unit.AWG3)()
    assert acts == [UnitAct(Unit.AWG3, UnitVerb.RESTART)]


def test_spare_interfaces_follow_the_first() -> None:
    assert interfaces_from() == ("awg0", "awg1", "awg2")
    assert interfaces_from("awg8") == ("awg8", "awg9", "awg0")


async def test_an_engine_that_is_away_is_told_when_it_comes(folder: Path) -> None:
    heard, (port,) = Heard(), free_ports(1)
    plan = plan_of(device(0), endpoints=one_endpoint(port))
    async with running_driver(folder, heard, wait=False) as driver:
        with pytest.raises(EngineError, match="away"):
            await driver.apply(plan)
        async with served_engine(folder) as engine:
            await wait_until(lambda: is_served(engine, plan))


async def test_no_engine_at_all_is_an_error_after_a_while(folder: Path, autojump_clock: trio.testing.MockClock) -> None:
    heard = Heard()
    driver = make_userspace_awg(
        on_event=heard.on_event, set_link=heard.set_link, restart=heard.restart, directories=[folder]
    )
    with pytest.raises(EngineError, match=r"no engine answers at .*awg0\.sock"):
        await driver.run()
    assert outside.PATIENCE <= trio.current_time() <= outside.PATIENCE + outside.RETRY_MOST


async def test_a_plan_that_is_refused_is_told_until_it_is_taken(folder: Path) -> None:
    heard, (port,) = Heard(), free_ports(1)
    plan = plan_of(device(0), endpoints=one_endpoint(port))
    async with served_engine(folder) as engine, running_driver(folder, heard) as driver:
        with bind_udp("::", port), pytest.raises(EngineError, match=os.strerror(errno.EADDRINUSE)):
            await driver.apply(plan)
        await wait_until(lambda: is_served(engine, plan))


async def test_a_foreign_engine_of_plain_wireguard_is_not_told_what_it_does_not_know(tmp_path: Path) -> None:
    heard, (port,) = Heard(), free_ports(1)
    folder = tmp_path / "wireguard"
    async with served_engine(folder, foreign=True) as engine, running_driver(folder, heard) as driver:
        with pytest.raises(EngineError, match="needs AmneziaWG"):
            await driver.apply(plan_of(device(0), endpoints=one_endpoint(port)))
        assert engine.state().peers == ()
        await told(driver, plain := plan_of(device(0), endpoints=one_endpoint(port, PLAIN)))
        assert is_served(engine, plain)


@FOREIGN
async def test_what_somebody_else_told_an_engine_is_put_right(
    folder: Path, foreign: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outside, "LOOK_SELDOM", 0.05)
    heard, (port,) = Heard(), free_ports(1)
    plan = plan_of(device(0), endpoints=one_endpoint(port))
    async with served_engine(folder, foreign=foreign) as engine, running_driver(folder, heard) as driver:
        await driver.apply(plan)
        meddled = DeviceChange(replace_peers=True, peers=(PeerChange(public_key=device(2).public_key),))
        assert engine.apply(meddled) == 0
        await wait_until(lambda: is_served(engine, plan))
        meddled = DeviceChange(peers=(PeerChange(public_key=device(0).public_key, preshared_key=bytes(32)),))
        assert engine.apply(meddled) == 0
        await wait_until(lambda: engine.state().peers[0].preshared_key == device(0).preshared_key)


async def test_old_parameters_go_on_beside_the_new_ones_at_our_engine(folder: Path) -> None:
    heard, (old, new) = Heard(), free_ports(2)
    async with (
        served_engine(folder) as engine,
        running_driver(folder, heard) as driver,
        running_device() as client,
        running_device(1) as modern,
    ):
        peers = (device(0), device(1))
        await driver.apply(plan_of(*peers, endpoints=one_endpoint(old, BEFORE)))
        client.dial(old, BEFORE)
        assert await client.echoes() == 3
        shaken = client.last_handshake
        both = plan_of(*peers, endpoints=one_endpoint(new, NOW) + one_endpoint(old, BEFORE))
        await driver.apply(both)
        assert driver.unserved == ()
        assert served_ports(engine) == {old: BEFORE, new: NOW}
        modern.dial(new, NOW)
        assert await modern.echoes(50) == 50
        assert await client.echoes(50) == 50
        assert client.last_handshake == shaken


async def test_a_device_follows_old_parameters_to_another_port_in_its_session(folder: Path) -> None:
    heard, (first, spare) = Heard(), free_ports(2)
    async with (
        served_engine(folder),
        running_driver(folder, heard) as driver,
        running_device() as client,
    ):
        await driver.apply(plan_of(device(0), endpoints=one_endpoint(first, BEFORE)))
        client.dial(first, BEFORE)
        assert await client.echoes() == 3
        shaken = client.last_handshake
        await driver.apply(plan_of(device(0), endpoints=one_endpoint(first, NOW) + one_endpoint(spare, BEFORE)))
        client.dial(spare, BEFORE)
        assert await client.echoes() == 3
        assert client.last_handshake == shaken
        client.dial(first, NOW)
        await driver.apply(plan_of(device(0), endpoints=one_endpoint(first, NOW)))
        assert await client.echoes() == 3
        assert client.last_handshake == shaken


async def test_old_parameters_take_an_engine_of_their_own_where_one_serves_one_port(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    heard, (first, spare) = Heard(), free_ports(2)
    reissued = plan_of(device(0), endpoints=one_endpoint(first, NOW) + one_endpoint(spare, BEFORE))
    async with served_engine(folder, foreign=True) as engine, running_driver(folder, heard) as driver:
        await driver.apply(reissued)
        assert driver.unserved == reissued.endpoints[1:]
        assert f"no engine for the parameters before these, on port {spare}" in caplog.text
        async with served_engine(folder, "awg1", foreign=True) as second, running_device() as client:
            await wait_until(lambda: driver.unserved == ())
            assert served_ports(engine) == {first: NOW}
            assert served_ports(second) == {spare: BEFORE}
            client.dial(spare, BEFORE)
            assert await client.echoes() == 3
            # What goes to the device has to take the interface on which it was heard.
            await heard.wait_for(lambda: heard.links[-1].networks != ())
            routes = [link for link in heard.links if link.interface == "awg1"][-1]
            assert routes.networks == ("10.86.0.2/32", "fd86::2/128")
            assert routes.addresses == ()
            # The time has come when everybody has heard of the new ones.
            await driver.apply(attrs.evolve(reissued, endpoints=reissued.endpoints[:1]))
            assert second.state().peers == ()


async def test_an_engine_takes_the_port_that_a_spare_one_had(folder: Path) -> None:
    heard, (first, spare) = Heard(), free_ports(2)
    async with (
        served_engine(folder, foreign=True) as engine,
        served_engine(folder, "awg1", foreign=True) as second,
        running_driver(folder, heard) as driver,
    ):
        await driver.apply(plan_of(device(0), endpoints=one_endpoint(first, NOW) + one_endpoint(spare, BEFORE)))
        assert served_ports(second) == {spare: BEFORE}
        swapped = plan_of(device(0), endpoints=one_endpoint(spare, NOW) + one_endpoint(first, BEFORE))
        # An engine closes a port that it has left in its own time: whoever wants it until then is told again.
        await told(driver, swapped)
        await wait_until(lambda: driver.unserved == ())
        assert served_ports(engine) == {spare: NOW}
        assert served_ports(second) == {first: BEFORE}
