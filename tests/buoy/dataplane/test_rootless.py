"""The rootless exit: what a device sends comes out of this process's own sockets, and where it may go."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address, ip_interface, ip_network

import attrs
import pytest
import trio
import trio.testing

from pharos.buoy.dataplane.base import AwgPlan
from pharos.buoy.dataplane.embedded import EmbeddedAwg, open_embedded_awg
from pharos.buoy.dataplane.rootless import ExitRules
from pharos.buoy.dataplane.turning import one_hop_on
from pharos.wire.addresses import Address, Datagram
from pharos.wire.awg.checksum import complement, header_sum
from pharos.wire.awg.config import PeerConfig
from pharos.wire.awg.device import Device
from pharos.wire.awg.keys import public_key
from pharos.wire.awg.memory import memory_link
from pharos.wire.awg.netstack.ip import ipv4_header, ipv6_header
from pharos.wire.awg.netstack.stack import Netstack, open_netstack
from pharos.wire.awg.tunnel import open_tunnel
from pharos.wire.desired import Policy
from pharos.wire.reality.routing import Routes
from pharos.wire.tasks import open_background
from tests.buoy.dataplane.plans import DEVICE_KEYS, NODE_KEY, device, plain_plan
from tests.wire.reality.fronts import HOST, receive_all, running_target, running_udp_echo

LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1"))
NODE, NODE6 = "10.86.0.1", "fd86::1"
EVERYTHING = (ip_network("0.0.0.0/0"), ip_network("::/0"))
OWN = (NODE, NODE6)


def rules(*allowed: str, **policy: object) -> ExitRules:
    made = Policy(**policy)  # type: ignore[arg-type]
    return ExitRules.of(made, own=OWN, allowed=[ip_network(network) for network in allowed])


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111"])
def test_the_internet_is_open_unless_the_policy_closes_it(address: str) -> None:
    asked = ip_address(address)
    assert rules().target(asked, 443) == asked
    assert rules(internet=False).target(asked, 443) is None
    assert rules(closed=(str(ip_network(address)),)).target(asked, 443) is None


@pytest.mark.parametrize(
    "address", ["10.86.0.2", "192.168.1.1", "169.254.169.254", "100.64.0.1", "fd86::2", "fe80::1", "::ffff:10.0.0.1"]
)
def test_what_is_private_is_closed_unless_the_operator_opens_it(address: str) -> None:
    asked = ip_address(address)
    assert rules().target(asked, 80) is None
    assert rules(str(asked)).target(asked, 80) == asked
    assert rules(str(asked), closed=(str(ip_network(asked)),)).target(asked, 80) is None


@pytest.mark.parametrize(("own", "loopback"), [(NODE, "127.0.0.1"), (NODE6, "::1")])
def test_the_node_own_addresses_are_its_loopback_where_that_is_open(own: str, loopback: str) -> None:
    assert rules().target(ip_address(own), 80) is None
    assert rules(own).target(ip_address(own), 80) is None
    assert rules(loopback).target(ip_address(own), 80) == ip_address(loopback)


def test_the_node_answers_for_the_machine_where_no_resolvers_are_named() -> None:
    asks = ["127.0.0.53", "2001:db8::53"]
    own = ExitRules.of(Policy(), own=OWN, allowed=(), machine_resolvers=asks)
    assert own.target(ip_address(NODE), 53) == ip_address(asks[0])
    assert own.target(ip_address(NODE6), 53) == ip_address(asks[1])
    # No other port of loopback, nor anybody's but the node's own.
    assert own.target(ip_address(NODE), 80) is None
    assert own.target(ip_address("10.86.0.9"), 53) is None
    named = ExitRules.of(Policy(resolvers=("10.9.9.9",)), own=OWN, allowed=(), machine_resolvers=asks)
    assert named.target(ip_address(NODE), 53) == ip_address("10.9.9.9")


def test_questions_for_names_go_to_the_resolvers_of_the_policy() -> None:
    named = rules(resolvers=("10.9.9.9", NODE))
    assert named.target(ip_address("10.9.9.9"), 53) == ip_address("10.9.9.9")
    assert named.target(ip_address("8.8.8.8"), 53) == ip_address("10.9.9.9")
    assert named.target(ip_address("2001:4860:4860::8888"), 53) is None
    assert named.target(ip_address("8.8.8.8"), 853) is None
    assert named.target(ip_address("10.9.9.9"), 853) == ip_address("10.9.9.9")
    assert named.target(ip_address(NODE), 53) == ip_address("127.0.0.1")
    # For names alone.
    assert named.target(ip_address("10.9.9.9"), 80) is None
    assert named.target(ip_address(NODE), 80) is None
    assert rules().target(ip_address("8.8.8.8"), 53) == ip_address("8.8.8.8")


@asynccontextmanager
async def device_stack(driver: EmbeddedAwg, number: int) -> AsyncIterator[Netstack]:
    """Have the TCP/IP of a device that the driver's plan knows."""
    engine = Device(private_key=DEVICE_KEYS[number], random=os.urandom, wall_clock=time.time_ns)
    peer = PeerConfig(
        public_key=public_key(NODE_KEY),
        preshared_key=bytes([number + 1]) * 32,
        endpoint=(HOST, driver.port),
        allowed_ips=EVERYTHING,
    )
    engine.set_peer(peer, trio.current_time())
    near, far = memory_link()
    own = [ip_interface(network) for network in device(number).addresses]
    async with open_tunnel(engine, far, host=HOST) as tunnel, open_netstack(near, addresses=own) as stack:
        await tunnel.wait_handshake(peer.public_key)
        yield stack


@asynccontextmanager
async def connected(
    policy: Policy | None = None, *, rootless_exit: bool = True
) -> AsyncIterator[tuple[Netstack, EmbeddedAwg, AwgPlan]]:
    """Have a device's stack behind an embedded engine whose exit may reach loopback."""
    with open_embedded_awg(
        host=HOST, port=0, on_event=lambda *_, **__: None, rootless_exit=rootless_exit, allowed=LOOPBACK
    ) as driver:
        plan = attrs.evolve(plain_plan(driver.port, device(0), device(1)), policy=policy or Policy())
        async with open_background(driver.run):
            await driver.apply(plan)
            async with device_stack(driver, 0) as stack:
                with trio.fail_after(20):
                    yield stack, driver, plan


async def test_a_stream_comes_out_of_this_process() -> None:
    async with running_target() as target, connected() as (stack, _, _):
        async with await stack.open_tcp_stream(NODE, target.port) as stream:
            await stream.send_all(b"through the exit")
            await stream.send_eof()
            assert await receive_all(stream) == b"through the exit"


async def test_datagrams_come_back_from_whom_they_were_sent_to() -> None:
    async with running_udp_echo() as echo, connected() as (stack, _, _), await stack.open_udp() as sock:
        await sock.send_datagram(Datagram(Address(NODE, echo.port), b"ping"))
        assert await sock.receive_datagram() == Datagram(Address(NODE, echo.port), b"Eping")


async def test_the_node_answers_pings_at_its_own_addresses_as_before() -> None:
    async with connected() as (stack, _, _):
        for address in OWN:
            assert (await stack.ping(address, count=2)).received == 2


async def test_what_is_not_open_is_refused_at_once() -> None:
    async with running_target() as target, connected(Policy(closed=("127.0.0.0/8",))) as (stack, driver, plan):
        for place in ((NODE, target.port), ("10.86.0.3", 80), ("192.168.77.1", 22)):
            with pytest.raises(ConnectionRefusedError):
                await stack.open_tcp_stream(*place)
        # Until helm orders something else.
        await driver.apply(attrs.evolve(plan, policy=Policy()))
        await (await stack.open_tcp_stream(NODE, target.port)).aclose()


async def test_what_is_closed_while_it_is_open_ends() -> None:
    closed = Policy(closed=("127.0.0.0/8",))
    async with running_target() as target, running_udp_echo() as echo, connected() as (stack, driver, plan):
        async with await stack.open_tcp_stream(NODE, target.port) as stream, await stack.open_udp() as sock:
            await stream.send_all(b"before")
            assert await stream.receive_some() == b"before"
            await sock.send_datagram(Datagram(Address(NODE, echo.port), b"before"))
            assert (await sock.receive_datagram()).data == b"Ebefore"
            # The same plan again changes nothing.
            await driver.apply(plan)
            await stream.send_all(b"still")
            assert await stream.receive_some() == b"still"
            await driver.apply(attrs.evolve(plan, policy=closed))
            with pytest.raises(trio.BrokenResourceError):
                await stream.receive_some()
            await sock.send_datagram(Datagram(Address(NODE, echo.port), b"lost"))
            # A ping takes the same way behind it.
            assert (await stack.ping(NODE, count=1)).received == 1
            await trio.testing.wait_all_tasks_blocked()
            await driver.apply(plan)
            await sock.send_datagram(Datagram(Address(NODE, echo.port), b"after"))
            assert (await sock.receive_datagram()).data == b"Eafter"


async def test_without_the_exit_a_device_reaches_the_node_alone() -> None:
    async with running_target() as target, connected(rootless_exit=False) as (stack, _, _):
        assert (await stack.ping(NODE, count=1)).received == 1
        # It answers nothing, so that this can only be waited for.
        with trio.move_on_after(0.5) as waited:
            await stack.open_tcp_stream(NODE, target.port)
        assert waited.cancelled_caught


async def test_a_build_that_judged_nobody_would_let_all_of_it_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Routes, "permit", lambda *_: True)
    async with running_target() as target, connected(Policy(closed=("127.0.0.0/8",))) as (stack, _, _):
        await (await stack.open_tcp_stream(NODE, target.port)).aclose()


@pytest.mark.parametrize("address", ["10.86.0.3", "fd86::3"])
async def test_devices_reach_each_other_where_the_policy_says_so(address: str) -> None:
    together = Policy(peer_to_peer=True)
    async with connected(together) as (stack, driver, plan), device_stack(driver, 1) as other:
        assert (await stack.ping(address, count=2)).received == 2
        async with trio.open_nursery() as nursery:
            port = await nursery.start(other.serve_tcp, 0, lambda stream: stream.send_all(b"from the other"))
            async with await stack.open_tcp_stream(address, port) as stream:
                assert await receive_all(stream) == b"from the other"
            nursery.cancel_scope.cancel()
        for policy in (Policy(), Policy(peer_to_peer=True, closed=(str(ip_network(address)),))):
            await driver.apply(attrs.evolve(plan, policy=policy))
            with pytest.raises(ConnectionRefusedError):
                await stack.open_tcp_stream(address, port)
        # The node itself is no device.
        assert not ExitRules.of(together, own=OWN, allowed=(), devices=plan.networks).is_device(ip_address(NODE).packed)


@pytest.mark.parametrize("header", [ipv4_header, ipv6_header])
def test_a_packet_that_turns_round_has_one_hop_less(header: Callable[..., bytes]) -> None:
    size = 4 if header is ipv4_header else 16
    packet = header(bytes([10] * size), bytes([11] * size), 17, 8) + bytes(8)
    for left in range(63, 0, -1):
        hopped = one_hop_on(packet)
        assert hopped is not None
        packet = hopped
        assert packet[8 if size == 4 else 7] == left
        # Of a whole header the sum is nothing.
        assert size == 16 or complement(header_sum(packet[:20])) == 0
    assert one_hop_on(packet) is None
