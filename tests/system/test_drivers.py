"""The drivers of engines outside of the agent, with real interfaces, real engines and a client of WireGuard's own.

There is no kernel module here: in its place stands wireguard-go, and in the place of `awg` its sister `wg`. That shows
the driver, the root helper and the tool's syncconf and dump, and nothing of the kernel's obfuscation.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path

import attrs
import pytest
import trio

from pharos.buoy.dataplane.base import AwgEndpoint, AwgPeer, AwgPlan, EngineError
from pharos.buoy.dataplane.kernel import make_kernel_awg
from pharos.buoy.dataplane.links import Link, SetLink
from pharos.buoy.dataplane.outside import OutsideAwg
from pharos.buoy.dataplane.userspace import make_userspace_awg
from pharos.buoy.roothelper.client import SocketRootHelper
from pharos.wire.awg.generate import generate
from pharos.wire.awg.keys import generate_private_key, public_key
from pharos.wire.awg.params import PLAIN, Generation, ObfuscationParameters
from pharos.wire.awg.uapi import DeviceChange, PeerChange, parameter_changes
from pharos.wire.awg.uapiwrite import parse_reply, render_change
from pharos.wire.convert import EventKind
from pharos.wire.ids import DeviceId
from tests.buoy.dataplane.engines import Heard
from tests.system.lab.commands import CommandError
from tests.system.lab.network import Lab, open_lab
from tests.system.lab.processes import Process
from tests.system.lab.traffic import round_trips
from tests.system.test_awg_interop import transfer
from tests.system.tunnels import (
    COMMAND,
    GO,
    INNER,
    OURS,
    SOCKETS,
    End,
    encode,
    set_wg,
    skip_without_tools,
    start_engine,
)

pytestmark = pytest.mark.system

NODE, CLIENT = "buoya", "clienta"
KEY = generate_private_key(os.urandom)
PSK = bytes(range(32))
PORT, SPARE = 443, 8443
KINDS = pytest.mark.parametrize("kind", [GO, OURS])
NOW, BEFORE = (generate(os.urandom, Generation.V3_1) for _ in range(2))


@attrs.frozen(kw_only=True)
class Node:
    """A node of the lab: its engine, which the test plays systemd for, and the driver that tells it."""

    lab: Lab
    engine: Process
    driver: OutsideAwg
    heard: Heard
    interface: str

    @property
    def routed(self) -> list[str]:
        """What was routed last, into the interface that this was done for last."""
        return list(self.heard.links[-1].networks)

    async def told(self, plan: AwgPlan) -> None:
        with trio.fail_after(20):
            while True:
                try:
                    return await self.driver.apply(plan)
                except EngineError:
                    await trio.sleep(0.05)

    async def received(self) -> int:
        """Return what was counted of the one device."""
        return (await self.driver.read_counters())[0].received

    async def wait_received(self, octets: int) -> int:
        with trio.fail_after(20):
            while (received := await self.received()) < octets:  # noqa: ASYNC110 -- nobody tells
                await trio.sleep(0.05)
        return received


def words(kind: str, interface: str) -> list[str]:
    return [*COMMAND, "--foreground", interface] if kind == OURS else ["wireguard-go", "--foreground", interface]


async def start_bare(lab: Lab, kind: str, interface: str) -> Process:
    """Start an engine at the node that has to be told everything."""
    (SOCKETS / f"{interface}.sock").unlink(missing_ok=True)
    return await lab.start(NODE, *words(kind, interface), name=interface, ready=kind == OURS)


def link_setter(lab: Lab) -> SetLink:
    """Do what the root helper does, on interfaces of any name: those of the helper are for one test at a time."""

    async def set_link(link: Link) -> None:
        device = f"dev {link.interface}"
        lines = [f"link set {device} mtu {link.mtu} up"]
        lines += [f"address replace {address} {device}" for address in link.addresses]
        lines += [f"route replace {network} {device} proto static" for network in link.networks]
        try:
            for version in ("-4", "-6"):
                said = await lab.run(NODE, "ip", version, "-json", "route", "show", *device.split(), "proto", "static")
                for route in json.loads(said or "[]"):
                    network = str(ip_network(route["dst"]))
                    lines += [] if network in link.networks else [f"route del {network} {device}"]
            await lab.run(NODE, "ip", "-batch", "-", stdin="\n".join(lines))
        except CommandError as error:
            raise EngineError(str(error)) from error

    return set_link


@asynccontextmanager
async def running_driver(lab: Lab, engine: Process, interfaces: Sequence[str]) -> AsyncIterator[Node]:
    """Run a driver, as an agent does, while the block lasts; its engine goes on."""
    heard, set_it = Heard(), link_setter(lab)

    async def set_link(link: Link) -> None:
        await set_it(link)
        await heard.set_link(link)

    driver = make_userspace_awg(
        on_event=heard.on_event,
        set_link=set_link,
        restart=heard.restart,
        interfaces=interfaces,
        directories=[SOCKETS],
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(driver.run)
        yield Node(lab=lab, engine=engine, driver=driver, heard=heard, interface=interfaces[0])
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def running_engines(lab: Lab, kind: str, *, count: int = 1) -> AsyncIterator[tuple[Process, list[str]]]:
    """Run engines at the node while the block lasts; yield the first, and the names that a driver has for them."""
    interfaces = [f"n{os.getpid()}{letter}" for letter in "abc"]
    engines = [await start_bare(lab, kind, interface) for interface in interfaces[:count]]
    try:
        yield engines[0], interfaces
    finally:
        with trio.CancelScope(shield=True):
            for engine in engines:
                await engine.stop()
            for interface in interfaces:
                (SOCKETS / f"{interface}.sock").unlink(missing_ok=True)


@asynccontextmanager
async def running_node(lab: Lab, kind: str, *, spare: bool = False) -> AsyncIterator[Node]:
    """Run an engine and its driver while the block lasts; ``spare`` has a second one for endpoints before."""
    async with (
        running_engines(lab, kind, count=2 if spare else 1) as (engine, interfaces),
        running_driver(lab, engine, interfaces) as node,
    ):
        yield node


def plan_for(*clients: End, endpoints: tuple[AwgEndpoint, ...] | None = None) -> AwgPlan:
    peers = [
        AwgPeer(
            device_id=DeviceId(client.host),
            public_key=client.public_key,
            preshared_key=PSK,
            addresses=(f"{client.inner(4)}/32", f"{client.inner(6)}/128"),
        )
        for client in clients
    ]
    return AwgPlan(
        private_key=KEY,
        endpoints=endpoints or (AwgEndpoint(port=PORT, parameters=PLAIN),),
        addresses=(INNER[NODE][4], INNER[NODE][6]),
        networks=("10.7.0.0/24", "fd07::/64"),
        peers={peer.device_id: peer for peer in peers},
    )


def stranger(number: int) -> AwgPeer:
    return AwgPeer(
        device_id=DeviceId(f"other-{number}"),
        public_key=public_key(bytes([number + 1]) * 32),
        preshared_key=PSK,
        addresses=(f"10.7.1.{number + 1}/32",),
    )


async def dial(client: End, port: int = PORT, parameters: ObfuscationParameters | None = None) -> None:
    """Have the client speak to a port of the node from now on."""
    address = client.lab.host(NODE).address4
    if parameters is None:
        await set_wg(
            client,
            *("peer", encode(public_key(KEY)), "preshared-key", "/dev/stdin"),
            *("endpoint", f"{address}:{port}", "allowed-ips", "10.7.0.0/24,fd07::/64"),
            stdin=encode(PSK),
        )
        return
    peer = PeerChange(
        public_key=public_key(KEY),
        preshared_key=PSK,
        endpoint=(address, port),
        allowed_ips=(ip_network("10.7.0.0/24"), ip_network("fd07::/64")),
    )
    before = (await client.state()).parameters
    change = DeviceChange(parameters=parameter_changes(before, parameters), peers=(peer,))
    request = render_change(change, Generation.V3_1)
    assert parse_reply(await client.uapi(*request.removesuffix("\n\n").split("\n")))[1] == 0


@asynccontextmanager
async def lab_with_client(folder: Path, kind: str = GO) -> AsyncIterator[tuple[Lab, End]]:
    skip_without_tools()
    with trio.fail_after(150):
        async with open_lab(folder) as lab:
            client = await start_engine(lab, CLIENT, kind)
            try:
                yield lab, client
            finally:
                with trio.CancelScope(shield=True):
                    await client.process.stop()


async def reach_node(client: End, *, count: int = 3, interval: float = 0.05) -> int:
    """Return how many of the echoes to the node's own address in the tunnel were answered."""
    return len(await round_trips(client.lab, CLIENT, INNER[NODE][4], count=count, interval=interval))


def far_end(node: Node, client: End) -> End:
    return attrs.evolve(client, host=NODE, interface=node.interface, private_key=KEY)


@KINDS
async def test_an_engine_that_was_told_a_plan_carries_the_traffic_of_a_client_of_wireguard(
    tmp_path: Path, kind: str
) -> None:
    async with lab_with_client(tmp_path) as (lab, client), running_node(lab, kind) as node:
        await node.told(plan_for(client))
        await dial(client)
        far = far_end(node, client)
        for family in (4, 6):
            assert await client.ping(far, family) == 3
            await transfer(client, far, family=family)
            await transfer(far, client, family=family)
        await node.heard.wait_for(lambda: EventKind.CONNECTED in node.heard.kinds)
        assert node.heard.events[-1][2].startswith(f"{lab.host(CLIENT).address4}:")
        assert await node.wait_received(2_000_000) > 2_000_000
        # A device that was taken away is nobody any more.
        await node.told(plan_for())
        assert node.heard.kinds == [EventKind.HANDSHAKE, EventKind.CONNECTED, EventKind.DISCONNECTED]
        assert await reach_node(client, count=2) == 0


@KINDS
async def test_an_engine_that_was_killed_is_told_again_and_the_tunnel_is_back(tmp_path: Path, kind: str) -> None:
    async with lab_with_client(tmp_path) as (lab, client), running_node(lab, kind) as node:
        await node.told(plan_for(client))
        await dial(client)
        assert await reach_node(client) == 3
        before = await node.wait_received(3 * 84)
        await node.engine.kill()
        await node.engine.start(ready=kind == OURS)
        begun = trio.current_time()
        await node.heard.wait_for(lambda: EventKind.DISCONNECTED in node.heard.kinds)
        await node.heard.wait_for(lambda: node.driver.port == PORT and len(node.heard.links) > 1)
        # Promised is a second from when the engine is there; wireguard-go takes its time until it is.
        assert trio.current_time() - begun < 3 * 2
        # A client of WireGuard notices after 15 seconds, or when its user has it begin anew.
        await set_wg(client, "peer", encode(public_key(KEY)), "remove")
        await dial(client)
        assert await reach_node(client) == 3
        await node.heard.wait_for(lambda: node.heard.kinds.count(EventKind.CONNECTED) == 2)
        assert await node.wait_received(before + 3 * 84) > before


@KINDS
async def test_peers_that_stay_keep_their_session_while_others_come_and_go(tmp_path: Path, kind: str) -> None:
    async with lab_with_client(tmp_path) as (lab, client), running_node(lab, kind) as node:
        plan = plan_for(client)
        await node.told(plan)
        await dial(client)
        assert await reach_node(client) == 3
        shaken = await client.handshakes()
        answered = 0
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def _() -> None:
                nonlocal answered
                answered = await reach_node(client, count=200, interval=0.01)

            number = 0
            while not answered:
                others = {peer.device_id: peer for peer in map(stranger, range(number % 5))}
                await node.told(attrs.evolve(plan, peers={**plan.peers, **others}))
                number += 1
                await trio.sleep(0.05)
        assert answered == 200
        assert number >= 5
        assert await client.handshakes() == shaken


@KINDS
async def test_an_agent_that_begins_anew_costs_its_devices_no_packet(tmp_path: Path, kind: str) -> None:
    async with lab_with_client(tmp_path) as (lab, client), running_engines(lab, kind) as (engine, interfaces):
        async with running_driver(lab, engine, interfaces) as node:
            await node.told(plan_for(client))
            await dial(client)
            assert await reach_node(client) == 3
        shaken = await client.handshakes()
        answered = 0
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def _() -> None:
                nonlocal answered
                answered = await reach_node(client, count=200, interval=0.01)

            for _again in range(3):
                async with running_driver(lab, engine, interfaces) as node:
                    await node.told(plan_for(client))
                    await node.heard.wait_for(lambda: bool(node.heard.events))
                    # The device was there all the time, and its handshake was told of by the first agent.
                    assert node.heard.kinds == [EventKind.CONNECTED]
                    await node.wait_received(3 * 84)
        assert answered == 200
        assert await client.handshakes() == shaken


async def test_new_parameters_beside_the_old_ones_cost_an_old_client_no_packet(tmp_path: Path) -> None:
    old, both, new = (
        tuple(AwgEndpoint(port=port, parameters=each) for port, each in pairs)
        for pairs in ([(PORT, BEFORE)], [(SPARE, NOW), (PORT, BEFORE)], [(SPARE, NOW)])
    )
    async with lab_with_client(tmp_path, OURS) as (lab, client), running_node(lab, OURS) as node:
        await node.told(plan_for(client, endpoints=old))
        await dial(client, PORT, BEFORE)
        assert await reach_node(client) == 3
        shaken = await client.handshakes()
        answered = 0
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def _() -> None:
                nonlocal answered
                answered = await reach_node(client, count=200, interval=0.01)

            for endpoints in (both, old, both):
                await trio.sleep(0.3)
                await node.told(plan_for(client, endpoints=endpoints))
        assert answered == 200
        assert node.driver.unserved == ()
        # The same session goes on by the new ones, once the client knows them.
        await dial(client, SPARE, NOW)
        assert await reach_node(client, count=20, interval=0.01) == 20
        await node.told(plan_for(client, endpoints=new))
        assert await reach_node(client, count=20, interval=0.01) == 20
        assert await client.handshakes() == shaken


async def test_an_old_port_at_engines_of_one_port_is_served_by_a_second_one(tmp_path: Path) -> None:
    both = tuple(AwgEndpoint(port=port, parameters=PLAIN) for port in (PORT, SPARE))
    async with lab_with_client(tmp_path) as (lab, client), running_node(lab, GO, spare=True) as node:
        await node.told(plan_for(client, endpoints=both))
        assert node.driver.unserved == ()
        await dial(client, SPARE)
        # Until the handshake was seen, a second at most, answers take the other interface and are lost.
        with trio.fail_after(10):
            while await reach_node(client) < 3:
                pass
        assert node.routed == [f"{client.inner(4)}/32", f"{client.inner(6)}/128"]
        # Who hears of new parameters begins anew.
        await set_wg(client, "peer", encode(public_key(KEY)), "remove")
        await dial(client, PORT)
        with trio.fail_after(10):
            while await reach_node(client) < 3:
                pass
        assert node.routed == []
        await node.told(plan_for(client, endpoints=both[:1]))
        assert await reach_node(client) == 3


async def test_a_foreign_engine_that_is_told_by_the_root_helper_and_wg_stands_in_for_the_kernel(
    tmp_path: Path,
) -> None:
    interface, heard = "awg7", Heard()
    socket = tmp_path / "helper.sock"
    async with lab_with_client(tmp_path) as (lab, client):
        await start_bare(lab, GO, interface)
        command = "from pharos.buoy.roothelper.process import main; main()"
        await lab.start(
            NODE,
            *(sys.executable, "-c", command, "--socket", str(socket), "--state", str(tmp_path / "helper")),
            name="helper",
            ready=True,
        )
        driver = make_kernel_awg(
            on_event=heard.on_event,
            helper=SocketRootHelper(socket),
            interfaces=[interface, "awg8"],
            create=None,
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(driver.run)
            both = tuple(AwgEndpoint(port=port, parameters=PLAIN) for port in (PORT, SPARE))
            with trio.fail_after(20):
                while True:
                    try:
                        await driver.apply(plan_for(client, endpoints=both))
                        break
                    except EngineError:
                        await trio.sleep(0.05)
            # There is no engine for the second interface.
            assert driver.unserved == both[1:]
            await dial(client)
            far = attrs.evolve(client, host=NODE, interface=interface, private_key=KEY)
            for family in (4, 6):
                assert await client.ping(far, family) == 3
                await transfer(client, far, family=family)
            await heard.wait_for(lambda: EventKind.CONNECTED in heard.kinds)
            shaken = await client.handshakes()
            more = attrs.evolve(plan_for(client), peers={**plan_for(client).peers, DeviceId("other-1"): stranger(1)})
            await driver.apply(more)
            assert await reach_node(client) == 3
            assert await client.handshakes() == shaken
            with trio.fail_after(10):
                while (await driver.read_counters())[0].received < 2_000_000:  # noqa: ASYNC110 -- nobody tells
                    await trio.sleep(0.1)
            await driver.apply(attrs.evolve(more, peers={}))
            assert heard.events[-1][0] is EventKind.DISCONNECTED
            assert await reach_node(client, count=2) == 0
            nursery.cancel_scope.cancel()
    (SOCKETS / f"{interface}.sock").unlink(missing_ok=True)
