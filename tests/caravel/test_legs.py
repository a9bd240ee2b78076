"""A leg of AmneziaWG carries when told to, goes on from other ports and by other parameters, and knows its end."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address, ip_interface, ip_network

import attrs
import pytest
import trio
import trio.testing

from pharos.caravel.tunnel import amnezialeg, seeking
from pharos.caravel.tunnel.amnezialeg import AmneziaLeg, open_amnezia_leg
from pharos.caravel.tunnel.amneziaplan import AmneziaPlan, EchoRoute, WayIn
from pharos.caravel.tunnel.candidates import Outside, candidate_of
from pharos.caravel.tunnel.health import GONE_AFTER, LOOK_EVERY
from pharos.caravel.tunnel.parts import Inner
from pharos.demo.processes import free_port
from pharos.wire.awg.config import PeerConfig
from pharos.wire.awg.device import Device
from pharos.wire.awg.echo import EchoEnd
from pharos.wire.awg.inner import InnerEnd
from pharos.wire.awg.memory import memory_link
from pharos.wire.awg.netstack.stack import Netstack, open_netstack
from pharos.wire.awg.tunnel import FurtherPort, Tunnel, open_tunnel
from pharos.wire.noise.keys import KeyPair
from pharos.wire.profile import AMNEZIAWG
from tests.support.ending import ending
from tests.support.strategies import parameters_of

LOOPBACK = "127.0.0.1"
INNER, OWN = "10.86.0.1", "10.86.0.2"
NODE, DEVICE = KeyPair.generate(), KeyPair.generate()
PSK = b"p" * 32


def way(port: int, *, seed: int = 1, psk: bytes = PSK) -> WayIn:
    return WayIn(host=LOOPBACK, port=port, parameters=parameters_of(seed), preshared_key=psk)


def plan(*ways: WayIn) -> AmneziaPlan:
    return AmneziaPlan(
        name="node a",
        private_key=DEVICE.private_bytes(),
        public_key=NODE.public,
        ways=ways,
        echo=EchoRoute(source=ip_address(OWN), destination=ip_address(INNER)),
    )


@asynccontextmanager
async def serving(
    port: int, *, inner: InnerEnd | None = None, seed: int = 1, further: Sequence[FurtherPort] = (), psk: bytes = PSK
) -> AsyncIterator[Tunnel]:
    """The node."""
    engine = Device(
        private_key=NODE.private_bytes(), random=os.urandom, wall_clock=time.time_ns, parameters=parameters_of(seed)
    )
    peer = PeerConfig(public_key=DEVICE.public, preshared_key=psk, allowed_ips=(ip_network(f"{OWN}/32"),))
    engine.set_peer(peer, trio.current_time())
    end = inner or EchoEnd([ip_address(INNER)])
    async with open_tunnel(engine, end, host=LOOPBACK, port=port, further=further) as tunnel:
        yield tunnel


@asynccontextmanager
async def leg_to(plan: AmneziaPlan) -> AsyncIterator[AmneziaLeg]:
    near, far = memory_link()
    async with open_amnezia_leg(plan, Inner(far=far, streams=None)) as leg:
        yield leg
    near.close()


@asynccontextmanager
async def two_stacks() -> AsyncIterator[tuple[Netstack, InnerEnd, Netstack, InnerEnd]]:
    """A TCP/IP at the device and one at the node, each with the end that an engine takes."""
    near, far = memory_link()
    node_near, node_far = memory_link()
    async with (
        open_netstack(near, addresses=[ip_interface(f"{OWN}/32")]) as own,
        open_netstack(node_near, addresses=[ip_interface(f"{INNER}/32")]) as nodes,
    ):
        yield own, far, nodes, node_far
    for end in (near, node_near):
        end.close()


async def test_leg_proves_the_node_before_it_carries() -> None:
    port = free_port(socket.SOCK_DGRAM)
    near, far = memory_link()
    with trio.fail_after(20):
        async with serving(port), open_amnezia_leg(plan(way(port)), Inner(far=far, streams=None)) as leg:
            assert await leg.wait_up(10) > 0
            assert leg.protocol == AMNEZIAWG
            assert (await leg.ping(3)).received == 3
            near.send_packets_nowait([b"E" + bytes(39)])
            # What is ours waits until it is asked for.
            before = leg.traffic()
            await leg.carry()
            assert leg.traffic().sent >= before.sent
            assert leg.place().endpoint == (LOOPBACK, port)
            assert leg.place().handshake_age is not None
    near.close()


async def carry_numbers(own: Netstack, nodes: Netstack, seconds: float, meanwhile: object) -> int:
    """Send numbers through a stream all the while, and return how many came back in their order."""
    count = 0

    async def echo(stream: trio.abc.HalfCloseableStream) -> None:
        async for data in stream:
            await stream.send_all(data)

    async with trio.open_nursery() as nursery:
        await nursery.start(nodes.serve_tcp, 7, echo)
        stream = await own.open_tcp_stream(INNER, 7)
        done = trio.Event()

        async def act() -> None:
            await meanwhile()  # type: ignore[operator]
            await trio.sleep(seconds)
            done.set()

        nursery.start_soon(act)
        while not done.is_set():
            said = count.to_bytes(4, "big") * 64
            await stream.send_all(said)
            heard = b""
            while len(heard) < len(said):
                data = await stream.receive_some()
                assert data, "the stream has ended"
                heard += data
            assert heard == said
            count += 1
        nursery.cancel_scope.cancel()
    return count


@pytest.mark.parametrize("change", ["port", "parameters"])
async def test_rotation_loses_nothing_of_a_stream(change: str) -> None:
    """The node serves both for a while, as nodes do; the profile that comes has the next one alone."""
    old, new = free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_DGRAM)
    seed = 1 if change == "port" else 2
    further = [FurtherPort(port=new, parameters=parameters_of(seed))]
    with trio.fail_after(30):
        async with two_stacks() as (own, far, nodes, node_far), serving(old, inner=node_far, further=further):
            async with open_amnezia_leg(plan(way(old)), Inner(far=far, streams=own)) as leg:
                await leg.wait_up(10)
                await leg.carry()
                handshake = leg.status().last_handshake_ns

                async def rotate() -> None:
                    rotated = plan(way(new, seed=seed))
                    assert await leg.adopt(candidate_of("a", "a", AMNEZIAWG, rotated, Outside()))

                assert await carry_numbers(own, nodes, 0.5, rotate) > 20
                status = leg.status()
                assert status.endpoint == (LOOPBACK, new)
                assert status.last_handshake_ns == handshake, "the session itself went on"


async def test_rotation_that_the_node_knows_nothing_of_yet_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amnezialeg, "MOVE_PATIENCE", 0.3)
    port, unserved = free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_DGRAM)
    with trio.fail_after(20):
        async with serving(port), leg_to(plan(way(port))) as leg:
            await leg.wait_up(10)
            assert await leg.adopt(candidate_of("a", "a", AMNEZIAWG, plan(way(unserved)), Outside()))
            assert (await leg.ping(3)).received == 3
            assert leg.place().endpoint == (LOOPBACK, port)


async def test_next_generation_of_the_secret_takes_one_handshake() -> None:
    port = free_port(socket.SOCK_DGRAM)
    with trio.fail_after(20):
        async with ending(serving(port)) as end, leg_to(plan(way(port), way(port, psk=b"q" * 32))) as leg:
            await leg.wait_up(10)
            await end()
            async with serving(port, psk=b"q" * 32):
                newer = plan(way(port, psk=b"q" * 32), way(port, psk=b"r" * 32))
                begun = trio.current_time()
                assert await leg.adopt(candidate_of("a", "a", AMNEZIAWG, newer, Outside()))
                await leg.wait_up(5)
                assert (await leg.ping(1)).received == 1
                assert trio.current_time() - begun < 3


async def test_other_key_is_another_node() -> None:
    port = free_port(socket.SOCK_DGRAM)
    with trio.fail_after(20):
        async with leg_to(plan(way(port))) as leg:
            other = attrs.evolve(plan(way(port)), public_key=KeyPair.generate().public)
            assert not await leg.adopt(candidate_of("a", "a", AMNEZIAWG, other, Outside()))


async def test_another_socket_goes_on_with_the_session() -> None:
    port = free_port(socket.SOCK_DGRAM)
    protected: list[int] = []
    with trio.fail_after(20):
        near, far = memory_link()
        opened = open_amnezia_leg(
            plan(way(port)),
            Inner(far=far, streams=None),
            protect=lambda sock: protected.append(sock.getsockname()[1]),
        )
        async with serving(port) as node, opened as leg:
            await leg.wait_up(10)
            handshake = leg.status().last_handshake_ns
            await leg.rebind()
            assert (await leg.ping(3)).received == 3
            assert node.status(DEVICE.public).endpoint == (LOOPBACK, protected[1])
            assert leg.status().session_age is not None
            assert handshake is not None
        near.close()
    assert len(set(protected)) == 2, "each socket is protected before it is used"


async def test_dead_node_is_noticed_under_traffic_and_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seeking, "FIRST_LOOK", 0.5)
    port = free_port(socket.SOCK_DGRAM)
    with trio.fail_after(40):
        async with ending(serving(port)) as end, leg_to(plan(way(port))) as leg:
            await leg.wait_up(10)
            await leg.carry()
            await end()
            begun = trio.current_time()
            leg._engine.send_packets([amnezialeg._echo(leg._plan.echo)])  # type: ignore[arg-type]
            assert "does not answer" in await leg.wait_lost()
            took = trio.current_time() - begun
            assert took <= 3 * (GONE_AFTER + 2 * LOOK_EVERY)
            # The node has been started anew, and knows no session.
            async with serving(port):
                await leg.wait_found()
                assert (await leg.ping(1)).received == 1


async def test_what_comes_through_a_leg_that_was_retired_is_delivered_still() -> None:
    port = free_port(socket.SOCK_DGRAM)
    node_near, node_far = memory_link()
    near, far = memory_link()
    with trio.fail_after(20):
        opened = open_amnezia_leg(plan(way(port)), Inner(far=far, streams=None))
        async with serving(port, inner=node_far), opened as leg:
            await leg.wait_up(10)
            await leg.carry()
            await leg.retire()
            packet = amnezialeg._echo(EchoRoute(source=ip_address(INNER), destination=ip_address(OWN)))
            node_near.send_packets_nowait([packet])
            assert list(await near.receive_packets()) == [packet]
            # And nothing more is taken: it waits for the next one.
            near.send_packets_nowait([packet])
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert list(await far.receive_packets()) == [packet]
    near.close()
    node_near.close()
