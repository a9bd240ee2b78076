"""Real engines on loopback: a node dies, UDP is blocked, and the connection goes on by another way."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio

from pharos.caravel.events import Connected, Event, Failed, Lost
from pharos.caravel.tunnel.amneziaplan import AmneziaPlan, EchoRoute, WayIn
from pharos.caravel.tunnel.candidates import Choices, InnerSettings, Outside, candidate_of
from pharos.caravel.tunnel.connection import ConnectionPlan, open_connection
from pharos.caravel.tunnel.inner import open_inner
from pharos.caravel.tunnel.options import ConnectOptions
from pharos.caravel.tunnel.parts import Candidate
from pharos.caravel.tunnel.reality import RealityTunnel, Way
from pharos.caravel.tunnel.realityplan import RealityPlan
from pharos.caravel.tunnel.session import Tunnel, open_session
from pharos.demo.processes import free_port
from pharos.wire.awg.config import PeerConfig
from pharos.wire.awg.device import Device
from pharos.wire.awg.memory import memory_link
from pharos.wire.awg.netstack.stack import open_netstack
from pharos.wire.awg.tunnel import open_tunnel
from pharos.wire.noise.keys import KeyPair
from pharos.wire.profile import AMNEZIAWG, VLESS_REALITY
from pharos.wire.reality.front import TUNNEL_ERRORS
from pharos.wire.reality.options import Endpoint
from pharos.wire.reality.vless import Flow
from tests.support.ending import ending
from tests.support.legs import until
from tests.support.reality import settings
from tests.support.strategies import parameters_of
from tests.wire.reality.fronts import HOST, running_target
from tests.wire.reality.nodes import IDS, VISION, running_node, running_site, site_context

INNER, OWN = "10.86.0.1", "10.86.0.2"
DEVICE = KeyPair.generate()
SLACK = 3
"""For a machine that does much else at the same time."""
OPTIONS = ConnectOptions(portal_checks=())
PORT = 7


@attrs.frozen
class Node:
    """An AmneziaWG node of the test's own, with a TCP/IP inside."""

    name: str
    keys: KeyPair = attrs.field(factory=KeyPair.generate)
    port: int = attrs.field(factory=lambda: free_port(socket.SOCK_DGRAM))

    @property
    def candidate(self) -> Candidate:
        way = WayIn(host=HOST, port=self.port, parameters=parameters_of(1), preshared_key=b"p" * 32)
        plan = AmneziaPlan(
            name=f"node {self.name}",
            private_key=DEVICE.private_bytes(),
            public_key=self.keys.public,
            ways=(way,),
            echo=EchoRoute(source=ipaddress.ip_address(OWN), destination=ipaddress.ip_address(INNER)),
        )
        return candidate_of(self.name, self.name, AMNEZIAWG, plan, Outside())

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        engine = Device(
            private_key=self.keys.private_bytes(),
            random=os.urandom,
            wall_clock=time.time_ns,
            parameters=parameters_of(1),
        )
        allowed = (ipaddress.ip_network(f"{OWN}/32"),)
        engine.set_peer(
            PeerConfig(public_key=DEVICE.public, preshared_key=b"p" * 32, allowed_ips=allowed), trio.current_time()
        )
        near, far = memory_link()
        async with (
            open_netstack(near, addresses=[ipaddress.ip_interface(f"{INNER}/32")]) as netstack,
            open_tunnel(engine, far, host=HOST, port=self.port),
            trio.open_nursery() as nursery,
        ):
            await nursery.start(netstack.serve_tcp, PORT, self._greet)
            yield
            nursery.cancel_scope.cancel()
        near.close()

    async def _greet(self, stream: trio.abc.HalfCloseableStream) -> None:
        async for data in stream:
            await stream.send_all(self.name.encode() + b":" + data)


@attrs.define
class ListedSource:
    ways: Sequence[Candidate]
    is_named: bool = False

    def settings(self) -> InnerSettings:
        return InnerSettings(addresses=(ipaddress.ip_interface(f"{OWN}/32"),))

    def choices(self, wanted: str | None = None) -> Choices:
        return Choices(known=tuple(self.ways))

    def accept(self, names: Sequence[str]) -> None:
        raise AssertionError("nobody is new")


def reality_to(port: int) -> Candidate:
    way = Way(endpoint=Endpoint(host=HOST, port=port, settings=settings()), flow=Flow.VISION)
    plan = RealityPlan(name="node a", identity=b"a", access=("only",), ways=(way,), user_ids=(IDS[VISION],))
    return candidate_of("a", "a", VLESS_REALITY, plan, Outside())


@asynccontextmanager
async def connected(*ways: Candidate, inner: str = "netstack") -> AsyncIterator[Tunnel]:
    plan = ConnectionPlan(source=ListedSource(ways), inner=inner, options=OPTIONS)
    async with open_connection(plan) as tunnel:
        yield tunnel


async def ask(tunnel: Tunnel, said: bytes, *, host: str = INNER, port: int = PORT) -> bytes:
    async with await tunnel.open_tcp_stream(host, port) as stream:
        await stream.send_all(said)
        return await stream.receive_some()


async def chatter(tunnel: Tunnel, heard: dict[str, float]) -> None:
    """Be somebody who uses the connection, and note when each node was heard last."""
    while True:
        with trio.move_on_after(0.3), contextlib.suppress(*TUNNEL_ERRORS):
            answer = await ask(tunnel, b"?")
            heard[answer.decode().partition(":")[0]] = trio.current_time()
        await trio.sleep(0.05)


@pytest.mark.parametrize("inner", ["netstack", "fast"])
async def test_node_that_dies_under_traffic_is_replaced(inner: str) -> None:
    a, b = Node("a"), Node("b")
    heard: dict[str, float] = {}
    events: list[Event] = []
    with trio.fail_after(60):
        async with ending(a.running()) as end, b.running(), connected(a.candidate, b.candidate, inner=inner) as tunnel:
            assert (await tunnel.wait_up(15)).name == "a"
            async with trio.open_nursery() as nursery:
                watch = tunnel.watch()
                nursery.start_soon(chatter, tunnel, heard)
                await until(lambda: "a" in heard)
                await end()
                died = trio.current_time()
                await until(lambda: "b" in heard)
                assert heard["b"] - died <= 5 * SLACK
                watch.close()
                nursery.cancel_scope.cancel()
            events += [event async for event in watch]
    assert [type(event) for event in events if isinstance(event, Lost | Connected)] == [Lost, Connected]


async def test_udp_that_is_blocked_means_reality_within_three_seconds(tmp_path: Path) -> None:
    context: ssl.SSLContext = site_context(tmp_path)
    nobody = Node("a")
    with trio.fail_after(60):
        async with running_site(context) as site, running_target() as target, running_node(site.port) as node:
            async with connected(nobody.candidate, reality_to(node.port)) as tunnel:
                begun = trio.current_time()
                assert (await tunnel.wait_up(15)).protocol == VLESS_REALITY
                assert trio.current_time() - begun <= 3 * SLACK
                assert await ask(tunnel, b"hello", host=HOST, port=target.port) == b"hello"
                assert tunnel.status().received >= 5
                assert (await tunnel.ping(1)).received == 1


async def test_reality_whose_node_dies_is_left_for_amneziawg(tmp_path: Path) -> None:
    context: ssl.SSLContext = site_context(tmp_path)
    a = Node("b")
    heard: dict[str, float] = {}
    with trio.fail_after(90):
        async with running_site(context) as site:
            port = free_port(socket.SOCK_STREAM)
            async with ending(running_node(site.port, listen=((HOST, port),))) as end_reality:
                async with connected(a.candidate, reality_to(port)) as tunnel:
                    assert (await tunnel.wait_up(15)).protocol == VLESS_REALITY
                    async with a.running(), trio.open_nursery() as nursery:
                        await end_reality()
                        died = trio.current_time()
                        nursery.start_soon(chatter, tunnel, heard)
                        await until(lambda: "b" in heard)
                        assert heard["b"] - died <= 5 * SLACK
                        assert tunnel.status().protocol == AMNEZIAWG
                        nursery.cancel_scope.cancel()


async def test_packets_of_the_inner_side_become_streams_of_reality(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What hangs on the inner side, as a host's own packets do, goes by REALITY too."""
    dial = RealityTunnel.open_tcp_stream

    async def open_there(tunnel: RealityTunnel, host: str, port: int) -> trio.abc.HalfCloseableStream:
        # No packet goes to an address of loopback, which is where the target is.
        assert host == "198.51.100.1"
        return await dial(tunnel, HOST, port)

    monkeypatch.setattr(RealityTunnel, "open_tcp_stream", open_there)
    context: ssl.SSLContext = site_context(tmp_path)
    own = [ipaddress.ip_interface(f"{OWN}/32")]
    with trio.fail_after(60):
        async with running_site(context) as site, running_target() as target, running_node(site.port) as node:
            async with open_inner("netstack", addresses=own) as inner:
                assert inner.streams is not None
                async with open_session(ListedSource([reality_to(node.port)]), inner, options=OPTIONS) as tunnel:
                    await tunnel.wait_up(15)
                    async with await inner.streams.open_tcp_stream("198.51.100.1", target.port) as stream:
                        await stream.send_all(b"packets")
                        assert await stream.receive_some() == b"packets"
                    assert tunnel.status().received >= len(b"packets")


async def test_all_nodes_dead_and_back_again() -> None:
    a = Node("a")
    with trio.fail_after(60):
        async with ending(a.running()) as end, connected(a.candidate) as tunnel:
            await tunnel.wait_up(15)
            watch = tunnel.watch()
            await end()
            assert (await tunnel.ping(1)).received == 0
            await until(lambda: not tunnel.is_up)
            async with a.running():
                await tunnel.wait_up(30)
                assert await ask(tunnel, b"again") == b"a:again"
            watch.close()
            assert [event for event in [event async for event in watch] if isinstance(event, Lost | Failed)]
