"""The driver of the kernel's engine says typed acts and no more than it has to. In the kernel's place stand engines of
ours, told by what the root helper would be asked: the real tool is in `tests/system/test_drivers.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Network, IPv6Network, ip_address

import attrs
import pytest
import trio

from pharos.buoy.dataplane import outside
from pharos.buoy.dataplane.awgchange import change_for
from pharos.buoy.dataplane.base import AwgEndpoint, AwgPeer, AwgPlan, EngineError
from pharos.buoy.dataplane.kernel import make_kernel_awg
from pharos.buoy.dataplane.outside import OutsideAwg
from pharos.buoy.roothelper.acts import (
    Act,
    Answer,
    AwgDump,
    Done,
    DumpAwg,
    LinkKind,
    PeerDump,
    RemoveLink,
    SetLink,
    SocketAddress,
    SyncAwg,
)
from pharos.wire.awg.echo import EchoEnd
from pharos.wire.awg.engine import Engine, open_engine
from pharos.wire.awg.uapi import DeviceChange, PeerChange
from pharos.wire.convert import EventKind
from pharos.wire.ids import DeviceId
from tests.buoy.dataplane.engines import NODE, Heard, free_ports, running_device, served_ports, wait_until
from tests.buoy.dataplane.plans import BEFORE, NOW, device, plan_of


@attrs.define
class Kernel:
    """Does the acts of an interface as the root helper does, with an engine of ours for each interface."""

    nursery: trio.Nursery
    engines: dict[str, Engine] = attrs.field(factory=dict)
    links: dict[str, SetLink] = attrs.field(factory=dict)
    acts: list[Act] = attrs.field(factory=list)
    away: bool = False
    _scopes: dict[str, trio.CancelScope] = attrs.field(factory=dict)

    async def perform(self, act: Act) -> Answer:
        if self.away:
            raise EngineError("the root helper is not there")
        await trio.lowlevel.checkpoint()
        if not isinstance(act, DumpAwg):
            self.acts.append(act)
        match act:
            case SetLink():
                name = act.interface.value
                if name not in self.engines:
                    assert act.create is LinkKind.AMNEZIAWG
                    await self.nursery.start(self._run, name)
                self.links[name] = act
            case RemoveLink():
                self.remove(act.interface.value)
            case SyncAwg():
                self._sync(self._engine(act.interface.value), act)
            case DumpAwg():
                return self._dump(self._engine(act.interface.value))
            case _:
                raise AssertionError(act)
        return Done()

    def remove(self, name: str) -> None:
        if name in self.engines:
            del self.engines[name]
            self._scopes.pop(name).cancel()

    @property
    def counted(self) -> Counter[str]:
        return Counter(type(act).__name__ for act in self.acts)

    async def _run(self, name: str, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with open_engine(EchoEnd([NODE])) as engine, trio.CancelScope() as scope:
            self.engines[name], self._scopes[name] = engine, scope
            task_status.started()
            await engine.run()

    def _engine(self, name: str) -> Engine:
        if name not in self.engines:
            raise EngineError(f"there is no interface {name}")
        return self.engines[name]

    def _sync(self, engine: Engine, act: SyncAwg) -> None:
        peers = [
            AwgPeer(
                device_id=DeviceId(peer.public_key.hex()[:16]),
                public_key=peer.public_key,
                preshared_key=peer.preshared_key,
                addresses=tuple(map(str, peer.networks)),
            )
            for peer in act.peers
        ]
        plan = AwgPlan(
            private_key=act.private_key,
            endpoints=(AwgEndpoint(port=act.port, parameters=act.parameters),),
            peers={peer.device_id: peer for peer in peers},
        )
        assert engine.apply(change_for(plan, engine.state())) == 0

    def _dump(self, engine: Engine) -> AwgDump:
        state = engine.state()
        return AwgDump(
            port=state.listen_port,
            peers=tuple(
                PeerDump(
                    public_key=peer.public_key,
                    endpoint=None
                    if peer.endpoint is None
                    else SocketAddress(ip_address(peer.endpoint[0]), peer.endpoint[1]),
                    last_handshake=peer.last_handshake_ns // 1_000_000_000,
                    received=peer.received_bytes,
                    sent=peer.sent_bytes,
                )
                for peer in state.peers
            ),
        )


@asynccontextmanager
async def running_kernel(heard: Heard) -> AsyncIterator[tuple[Kernel, OutsideAwg]]:
    async with trio.open_nursery() as nursery:
        kernel = Kernel(nursery)
        driver = make_kernel_awg(on_event=heard.on_event, helper=kernel)
        await nursery.start(driver.run)
        yield kernel, driver
        nursery.cancel_scope.cancel()


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outside, "LOOK_EVERY", 0.02)


async def test_an_interface_is_made_and_told_once() -> None:
    (port,) = free_ports(1)
    plan = plan_of(device(0, rate_limit=8000), device(1), endpoints=(AwgEndpoint(port=port, parameters=NOW),))
    async with running_kernel(Heard()) as (kernel, driver):
        assert (driver.name, driver.limits_rates, driver.port) == ("kernel", False, 0)
        await driver.apply(plan)
        assert driver.port == port
        assert served_ports(kernel.engines["awg0"]) == {port: NOW}
        link = kernel.links["awg0"]
        assert [str(address) for address in link.addresses] == ["10.86.0.1/32", "fd86::1/128"]
        assert link.networks == (IPv4Network("10.86.0.0/16"), IPv6Network("fd86::/48"))
        await driver.apply(plan_of(*plan.peers.values(), endpoints=plan.endpoints))
        assert kernel.counted == {"SetLink": 1, "SyncAwg": 1}
        await driver.apply(plan_of(device(1), endpoints=plan.endpoints))
        assert kernel.counted == {"SetLink": 1, "SyncAwg": 2}
        await driver.apply(attrs.evolve(plan, endpoints=()))
        assert kernel.engines == {}
        assert driver.port == 0


async def test_devices_are_seen_in_the_dump_and_keep_their_session_over_a_change() -> None:
    heard, (port,) = Heard(), free_ports(1)
    endpoints = (AwgEndpoint(port=port, parameters=NOW),)
    async with running_kernel(heard) as (_, driver), running_device() as client:
        await driver.apply(plan_of(device(0), endpoints=endpoints))
        client.dial(port, NOW)
        assert await client.echoes() == 3
        await heard.wait_for(lambda: EventKind.CONNECTED in heard.kinds)
        shaken = client.last_handshake
        await driver.apply(plan_of(device(0), device(1), endpoints=endpoints))
        assert await client.echoes() == 3
        assert client.last_handshake == shaken
        await driver.apply(plan_of(device(1), endpoints=endpoints))
        assert heard.kinds == [EventKind.HANDSHAKE, EventKind.CONNECTED, EventKind.DISCONNECTED]


async def test_an_interface_that_was_removed_is_made_again_and_counters_go_on() -> None:
    heard, (port,) = Heard(), free_ports(1)
    plan = plan_of(device(0), endpoints=(AwgEndpoint(port=port, parameters=NOW),))
    async with running_kernel(heard) as (kernel, driver):
        await driver.apply(plan)
        async with running_device() as client:
            client.dial(port, NOW)
            assert await client.echoes(10) == 10
            await heard.wait_for(lambda: EventKind.CONNECTED in heard.kinds)
            with trio.fail_after(5):
                while (before := (await driver.read_counters())[0]).received < 840:  # noqa: ASYNC110 -- nobody tells
                    await trio.sleep(0.02)
        await driver.restart()
        await wait_until(lambda: "awg0" in kernel.engines and bool(kernel.engines["awg0"].state().peers))
        await heard.wait_for(lambda: EventKind.DISCONNECTED in heard.kinds)
        assert kernel.counted["SetLink"] == 2
        (after,) = await driver.read_counters()
        assert after.received >= before.received


async def test_what_somebody_else_told_it_is_put_right() -> None:
    (port,) = free_ports(1)
    plan = plan_of(device(0), endpoints=(AwgEndpoint(port=port, parameters=NOW),))
    async with running_kernel(Heard()) as (kernel, driver):
        await driver.apply(plan)
        engine = kernel.engines["awg0"]
        assert engine.apply(DeviceChange(peers=(PeerChange(public_key=device(2).public_key),))) == 0
        await wait_until(lambda: len(engine.state().peers) == 1)


async def test_old_parameters_get_an_interface_of_their_own() -> None:
    heard, (first, spare) = Heard(), free_ports(2)
    endpoints = (AwgEndpoint(port=first, parameters=NOW), AwgEndpoint(port=spare, parameters=BEFORE))
    async with running_kernel(heard) as (kernel, driver), running_device() as client:
        await driver.apply(plan_of(device(0), endpoints=endpoints))
        assert driver.unserved == ()
        assert served_ports(kernel.engines["awg1"]) == {spare: BEFORE}
        client.dial(spare, BEFORE)
        assert await client.echoes() == 3
        await wait_until(lambda: kernel.links["awg1"].networks != ())
        assert kernel.links["awg1"].addresses == ()
        assert [str(network) for network in kernel.links["awg1"].networks] == ["10.86.0.2/32", "fd86::2/128"]
        await driver.apply(plan_of(device(0), endpoints=endpoints[:1]))
        assert set(kernel.engines) == {"awg0"}


async def test_without_the_root_helper_nothing_is_told_until_it_is_back() -> None:
    (port,) = free_ports(1)
    plan = plan_of(device(0), endpoints=(AwgEndpoint(port=port, parameters=NOW),))
    async with running_kernel(Heard()) as (kernel, driver):
        kernel.away = True
        with pytest.raises(EngineError, match="root helper"):
            await driver.apply(plan)
        kernel.away = False
        await wait_until(lambda: "awg0" in kernel.engines and served_ports(kernel.engines["awg0"]) == {port: NOW})
