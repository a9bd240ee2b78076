"""Whole tunnels over real UDP on loopback."""

import os
import socket
import time
from contextlib import asynccontextmanager
from ipaddress import ip_address, ip_network

import pytest
import trio
import trio.testing

from pharos.wire.awg.config import PeerConfig
from pharos.wire.awg.device import Device
from pharos.wire.awg.echo import EchoEnd
from pharos.wire.awg.endpoint import format_address
from pharos.wire.awg.events import HandshakeCompleted, HandshakeGaveUp, SessionEnded
from pharos.wire.awg.generate import generate
from pharos.wire.awg.keys import generate_private_key, public_key
from pharos.wire.awg.memory import memory_link
from pharos.wire.awg.params import PLAIN
from pharos.wire.awg.ping import ping
from pharos.wire.awg.pool import Way
from pharos.wire.awg.pump import run_device
from pharos.wire.awg.tunnel import FurtherPort, open_client_tunnel, open_tunnel
from pharos.wire.awg.udp import bind_udp, local_address
from pharos.wire.errors import LocalProtocolError, ParameterError

NODE, DEVICE = ip_address("10.7.0.1"), ip_address("10.7.0.2")
NODE6, DEVICE6 = ip_address("fd00::1"), ip_address("fd00::2")
EVERYTHING = (ip_network("0.0.0.0/0"), ip_network("::/0"))
PSK = bytes(range(32))


@asynccontextmanager
async def running_node(*, parameters=PLAIN, host="127.0.0.1", on_event=None):
    device = Device(
        private_key=generate_private_key(os.urandom),
        random=os.urandom,
        wall_clock=time.time_ns,
        parameters=parameters,
    )
    async with open_tunnel(device, EchoEnd([NODE, NODE6]), host=host, on_event=on_event) as tunnel:
        yield tunnel


def admit(node, private_key, *, preshared_key=PSK, number=2):
    config = PeerConfig(
        public_key=public_key(private_key),
        preshared_key=preshared_key,
        allowed_ips=(ip_network(f"10.7.0.{number}"), ip_network(f"fd00::{number}")),
    )
    node.set_peer(config)
    return config.public_key


def peer_of(node, **changes):
    return PeerConfig(
        **{
            "public_key": node.public_key,
            "preshared_key": PSK,
            "allowed_ips": EVERYTHING,
            "endpoint": node.address,
        }
        | changes
    )


@pytest.mark.parametrize("parameters", [PLAIN, generate(os.urandom)], ids=["plain", "obfuscated"])
async def test_twenty_of_twenty_echoes_through_two_pumps(parameters):
    key, events = generate_private_key(os.urandom), []
    async with running_node(parameters=parameters, on_event=events.append) as node:
        peer = admit(node, key)
        async with open_client_tunnel(private_key=key, peer=peer_of(node), parameters=parameters) as tunnel:
            with trio.fail_after(5):
                handshake = await tunnel.wait_handshake()
            assert abs(handshake.last_handshake_ns - time.time_ns()) < 5 * 10**9
            report = await ping(tunnel, source=DEVICE, destination=NODE, count=20, interval=0.005)
            assert report.received == 20
            report = await ping(tunnel, source=DEVICE6, destination=NODE6, count=20, interval=0.005)
            assert report.received == 20
            status = tunnel.status()
            assert status.received_bytes > 40 * 100
            assert node.status(peer).received_bytes == status.sent_bytes
    assert [(event.peer, event.initiator) for event in events if isinstance(event, HandshakeCompleted)] == [
        (peer, False)
    ]


@pytest.mark.parametrize("outer", ["::1", "127.0.0.1"])
async def test_a_node_on_the_ipv6_wildcard_serves_both_families(outer):
    key = generate_private_key(os.urandom)
    async with running_node(host="::") as node:
        peer = admit(node, key)
        endpoint = (outer, node.address[1])
        async with open_client_tunnel(private_key=key, peer=peer_of(node, endpoint=endpoint)) as tunnel:
            report = await ping(tunnel, source=DEVICE, destination=NODE, count=3, interval=0.001)
            assert report.received == 3
            assert format_address(node.status(peer).endpoint).startswith(format_address((outer, 0))[:-1])


async def test_many_devices_come_and_go_on_one_live_node():
    keys = {number: generate_private_key(os.urandom) for number in range(2, 12)}
    received = {}

    async def use(number):
        async with open_client_tunnel(private_key=keys[number], peer=peer_of(node)) as tunnel:
            source = ip_address(f"10.7.0.{number}")
            report = await ping(tunnel, source=source, destination=NODE, count=5, interval=0.001)
            received[number] = report.received

    async with running_node() as node:
        async with trio.open_nursery() as nursery:
            for number, key in keys.items():
                admit(node, key, number=number)
                nursery.start_soon(use, number)
        assert received == dict.fromkeys(keys, 5)
        assert len(node.statuses()) == 10


async def test_a_removed_device_is_cut_off_at_once():
    key, events = generate_private_key(os.urandom), []
    async with running_node(on_event=events.append) as node:
        peer = admit(node, key)
        async with open_client_tunnel(private_key=key, peer=peer_of(node)) as tunnel:
            assert (await ping(tunnel, source=DEVICE, destination=NODE, count=3)).received == 3
            node.remove_peer(peer)
            report = await ping(tunnel, source=DEVICE, destination=NODE, count=5, interval=0.001, patience=0.2)
            assert report.received == 0
            with pytest.raises(LocalProtocolError):
                node.status(peer)
    assert events[-1] == SessionEnded(peer=peer)


async def test_waiting_for_a_handshake_ends_when_the_peer_is_removed():
    key = generate_private_key(os.urandom)
    async with running_node() as node:
        peer = admit(node, key)
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def _():
                with pytest.raises(LocalProtocolError):
                    await node.wait_handshake(peer)

            await trio.testing.wait_all_tasks_blocked()
            node.remove_peer(peer)


async def test_the_node_can_wait_for_a_device_too():
    key = generate_private_key(os.urandom)
    async with running_node() as node:
        peer = admit(node, key)
        async with open_client_tunnel(private_key=key, peer=peer_of(node)):
            with trio.fail_after(5):
                status = await node.wait_handshake(peer)
            assert status.endpoint[0] == "127.0.0.1"


async def test_a_wrong_preshared_key_is_tried_in_vain(autojump_clock):
    # Virtual time; loopback delivers while the clock stands still.
    key, events = generate_private_key(os.urandom), []
    async with running_node() as node:
        admit(node, key, preshared_key=bytes(32))
        async with open_client_tunnel(private_key=key, peer=peer_of(node), on_event=events.append) as tunnel:
            with trio.move_on_after(1200) as scope:
                await tunnel.wait_handshake()
            assert scope.cancelled_caught
            assert tunnel.status().last_handshake_ns is None
    # Each time it gave up the waiting began anew.
    assert set(events) == {HandshakeGaveUp(peer=node.public_key, attempts=18)}
    assert 12 <= len(events) <= 13


async def test_a_tunnel_moves_to_another_endpoint_with_its_session(autojump_clock):
    # Virtual time, for the second handshake waits 5 s; loopback delivers while the clock stands still.
    key = generate_private_key(os.urandom)
    async with running_node() as node:
        admit(node, key)
        with bind_udp("127.0.0.1", 0) as deaf:
            async with open_client_tunnel(private_key=key, peer=peer_of(node, endpoint=local_address(deaf))) as tunnel:
                tunnel.set_endpoint(node.address)
                with pytest.raises(ParameterError):
                    tunnel.set_endpoint(("node.example", 1))
                tunnel.initiate_handshake()
                with trio.fail_after(10):
                    await tunnel.wait_handshake()
                tunnel.set_endpoint(local_address(deaf))
                tunnel.set_endpoint(node.address)
                report = await ping(tunnel, source=DEVICE, destination=NODE, count=3, interval=0.001)
                assert report.received == 3


async def test_a_silent_peer_is_sought_on_its_other_ways(autojump_clock):
    # Virtual time, for silence takes 15 s; loopback delivers while the clock stands still.
    key = generate_private_key(os.urandom)
    async with running_node() as node:
        admit(node, key)
        with bind_udp("127.0.0.1", 0) as deaf, bind_udp("127.0.0.1", 0) as mute:
            ports = [local_address(mute)[1], node.address[1]]
            ways = [Way(host="127.0.0.1", first_port=port, last_port=port) for port in ports]
            endpoint = local_address(deaf)
            async with open_client_tunnel(private_key=key, peer=peer_of(node, endpoint=endpoint), ways=ways) as tunnel:
                with trio.fail_after(60):
                    await tunnel.wait_handshake()
                assert tunnel.status().endpoint == node.address
                # It stays where it is heard, however long nothing is said.
                await trio.sleep(100)
                assert tunnel.status().endpoint == node.address


async def test_a_range_of_ports_and_a_second_dialect_lead_to_one_node(autojump_clock):
    # Virtual time, for a handshake on the heels of another is begun again after 5 s.
    key, dialect = generate_private_key(os.urandom), generate(os.urandom)
    device = Device(private_key=generate_private_key(os.urandom), random=os.urandom, wall_clock=time.time_ns)
    further = [FurtherPort(), FurtherPort(), FurtherPort(parameters=dialect)]
    async with open_tunnel(device, EchoEnd([NODE]), host="127.0.0.1", further=further) as node:
        peer = admit(node, key)
        for parameters in (PLAIN, generate(os.urandom)):
            node.set_parameters(parameters)
            spoken = [parameters, parameters, parameters, dialect]
            for address, each in zip([node.address, *node.further_addresses], spoken, strict=True):
                known = peer_of(node, endpoint=address)
                async with open_client_tunnel(private_key=key, peer=known, parameters=each) as tunnel:
                    await tunnel.wait_handshake()
                    report = await ping(tunnel, source=DEVICE, destination=NODE, count=3, interval=0.001)
                    assert report.received == 3
                    assert tunnel.status().endpoint == address
                    assert node.status(peer).endpoint == ("127.0.0.1", tunnel.address[1])


async def test_junk_does_not_stop_the_pump():
    key = generate_private_key(os.urandom)
    async with running_node() as node:
        admit(node, key)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            for size in (0, 1, 31, 32, 64, 92, 148, 1500, 20_000):
                stranger.sendto(os.urandom(size), node.address)
                stranger.sendto(b"\4\0\0\0" + os.urandom(size), node.address)
        async with open_client_tunnel(private_key=key, peer=peer_of(node)) as tunnel:
            assert (await ping(tunnel, source=DEVICE, destination=NODE, count=3)).received == 3


async def test_datagrams_the_kernel_refuses_are_loss_and_not_the_end():
    key = generate_private_key(os.urandom)
    device = Device(private_key=key, random=os.urandom, wall_clock=time.time_ns)
    _, far = memory_link()
    unreachable = ("::1", 9)  # From a socket of IPv4.
    async with open_tunnel(device, far, host="127.0.0.1") as tunnel:
        peer = PeerConfig(public_key=public_key(bytes(range(32))), endpoint=unreachable)
        tunnel.set_peer(peer)
        tunnel.initiate_handshake(peer.public_key)
        await trio.testing.wait_all_tasks_blocked()
        assert tunnel._pump.lost == 1


class StutteringSocket(socket.socket):
    """Its buffer seems full before every datagram."""

    full = False

    def sendto(self, *args):
        self.full = not self.full
        if self.full:
            raise BlockingIOError
        return super().sendto(*args)


async def test_a_full_socket_is_waited_for_and_nothing_is_lost():
    keys = [generate_private_key(os.urandom) for _ in range(2)]
    sockets = [StutteringSocket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
    near, far = memory_link()
    devices = [Device(private_key=key, random=os.urandom, wall_clock=time.time_ns) for key in keys]
    with sockets[0], sockets[1]:
        for sock in sockets:
            sock.settimeout(0.0)
            sock.bind(("127.0.0.1", 0))
        for device, other, sock in zip(devices, devices[::-1], sockets[::-1], strict=True):
            config = PeerConfig(public_key=other.public_key, allowed_ips=EVERYTHING, endpoint=local_address(sock))
            device.set_peer(config, trio.current_time())
        async with trio.open_nursery() as nursery:
            await nursery.start(run_device, devices[0], sockets[0], far)
            await nursery.start(run_device, devices[1], sockets[1], EchoEnd([NODE]))
            report = await ping(near, source=DEVICE, destination=NODE, count=100, interval=0.0)
            nursery.cancel_scope.cancel()
    assert report.received == 100


@pytest.mark.parametrize(
    ("key", "endpoint", "rule"),
    [
        (public_key(bytes(range(32))), None, "endpoint = None"),
        (bytes(32), ("127.0.0.1", 9), "small order"),
        (public_key(bytes(32)), ("127.0.0.1", 9), "this device's own"),
    ],
)
async def test_a_client_tunnel_refuses_a_peer_that_cannot_work(key, endpoint, rule):
    peer = PeerConfig(public_key=key, endpoint=endpoint)
    with pytest.raises(ParameterError, match=rule):
        async with open_client_tunnel(private_key=bytes(32), peer=peer):
            pass


async def test_a_closed_client_tunnel_ends_its_receiver():
    key = generate_private_key(os.urandom)
    async with running_node() as node:
        async with open_client_tunnel(private_key=key, peer=peer_of(node)) as tunnel:
            pass
        with pytest.raises(trio.EndOfChannel):
            await tunnel.receive_packets()


async def test_run_device_starts_at_once_and_leaves_the_socket_open():
    device = Device(private_key=bytes(range(32)), random=os.urandom, wall_clock=time.time_ns)
    _, far = memory_link()
    with bind_udp("127.0.0.1", 0) as sock:
        async with trio.open_nursery() as nursery:
            await nursery.start(run_device, device, sock, far)
            nursery.cancel_scope.cancel()
        assert sock.fileno() != -1


async def test_a_taken_port_is_reported():
    async with running_node() as node:
        device = Device(private_key=bytes(range(32)), random=os.urandom, wall_clock=time.time_ns)
        with pytest.raises(OSError, match="in use"):
            async with open_tunnel(device, memory_link()[0], host="127.0.0.1", port=node.address[1]):
                pass
