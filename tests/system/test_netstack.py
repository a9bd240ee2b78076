"""A stack of our own at one end of an AmneziaWG tunnel, Linux's at the other: each takes the other for its like."""

from __future__ import annotations

import hashlib
import os
import random
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import ip_interface, ip_network
from pathlib import Path

import attrs
import pytest
import trio

from pharos.wire.addresses import Address, Datagram
from pharos.wire.awg.config import PeerConfig
from pharos.wire.awg.device import Device
from pharos.wire.awg.endpoint import Address as Endpoint
from pharos.wire.awg.generate import generate
from pharos.wire.awg.inner import InnerEnd, PacketDevice
from pharos.wire.awg.keys import generate_private_key, public_key
from pharos.wire.awg.memory import memory_link
from pharos.wire.awg.netstack.forward import run_forwarder
from pharos.wire.awg.netstack.stack import Netstack, open_netstack
from pharos.wire.awg.params import Generation
from pharos.wire.awg.pump import Pump
from pharos.wire.awg.tun import open_tun
from pharos.wire.awg.udp import UdpPort, bind_udp
from pharos.wire.openers import DatagramRefusedError
from tests.system.lab.network import Lab, open_lab

pytestmark = pytest.mark.system

CLIENT, NODE, BEYOND = "clienta", "buoya", "buoyb"
INNER = {CLIENT: {4: "10.7.0.2", 6: "fd07::2"}, NODE: {4: "10.7.0.1", 6: "fd07::1"}}
PARAMETERS = generate(random.Random(7).randbytes, Generation.V3_1)
MTU = 1400
PORT = 51820
SIZE = 8_000_000
FAMILIES = pytest.mark.parametrize("family", [4, 6])


@attrs.frozen
class Joined:
    lab: Lab
    stack: Netstack


async def start_engine(
    nursery: trio.Nursery, stack: AsyncExitStack, lab: Lab, host: str, inner: InnerEnd | PacketDevice
) -> None:
    """Run an engine at a host of the lab; the client's knows where the node's is."""
    keys = {name: generate_private_key(random.Random(name).randbytes) for name in INNER}
    other = NODE if host == CLIENT else CLIENT
    endpoint: Endpoint | None = (lab.host(NODE).address(4), PORT) if host == CLIENT else None
    device = Device(private_key=keys[host], random=os.urandom, wall_clock=time.time_ns, parameters=PARAMETERS, mtu=MTU)
    networks = (
        tuple(map(ip_network, INNER[other].values())) if host == NODE else (ip_network("0.0.0.0/0"), ip_network("::/0"))
    )
    device.set_peer(
        PeerConfig(public_key=public_key(keys[other]), allowed_ips=networks, endpoint=endpoint), trio.current_time()
    )
    sock = stack.enter_context(await lab.namespace(host).call(bind_udp, "0.0.0.0", PORT))
    await nursery.start(Pump(device, [UdpPort(sock)], inner).run)


@asynccontextmanager
async def joined(folder: Path) -> AsyncIterator[Joined]:
    """Join a stack of ours to Linux's in a namespace; it forwards to what is beyond, which knows the way back."""
    near, far = memory_link()
    with trio.fail_after(120):
        async with open_lab(folder) as lab, AsyncExitStack() as stack, trio.open_nursery() as nursery:
            opening = open_tun("wg0", mtu=MTU)
            tun = await lab.namespace(NODE).call(opening.__enter__)
            stack.callback(opening.__exit__, None, None, None)
            for family, address in INNER[NODE].items():
                words = ["ip", "addr", "add", f"{address}/{24 if family == 4 else 64}", "dev", "wg0"]
                await lab.run(NODE, *words, *(["nodad"] if family == 6 else []))
            await lab.run(NODE, "ip", "link", "set", "wg0", "up")
            await lab.run(NODE, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
            for family, network in ((4, "10.7.0.0/24"), (6, "fd07::/64")):
                via = lab.host(NODE).address(family)
                await lab.run(BEYOND, "ip", f"-{family}", "route", "add", network, "via", via)
            await start_engine(nursery, stack, lab, NODE, tun)
            await start_engine(nursery, stack, lab, CLIENT, far)
            addresses = [ip_interface(f"{INNER[CLIENT][4]}/24"), ip_interface(f"{INNER[CLIENT][6]}/64")]
            async with open_netstack(near, addresses=addresses, mtu=MTU) as netstack:
                yield Joined(lab, netstack)
            nursery.cancel_scope.cancel()


@FAMILIES
async def test_a_page_is_fetched_from_a_server_of_linux(tmp_path: Path, family: int) -> None:
    (tmp_path / "page").write_text("hello from Linux")
    async with joined(tmp_path) as here:
        host = INNER[NODE][family]
        serving = ["-m", "http.server", "--bind", host, "--directory", str(tmp_path), "80"]
        await here.lab.start(NODE, "python3", *serving, name="http")
        with trio.fail_after(20):
            while True:
                try:
                    stream = await here.stack.open_tcp_stream(host, 80)
                    break
                except ConnectionRefusedError:
                    # The server has only just been started.
                    await trio.sleep(0.05)
        async with stream:
            await stream.send_all(b"GET /page HTTP/1.0\r\n\r\n")
            page = b"".join([part async for part in stream])
    assert page.startswith(b"HTTP/1.0 200 OK")
    assert page.endswith(b"hello from Linux")


@FAMILIES
async def test_much_arrives_whole_both_ways_at_once(tmp_path: Path, family: int) -> None:
    data = os.urandom(SIZE)
    digest = hashlib.sha256(data).digest()
    async with joined(tmp_path) as here:
        host = INNER[NODE][family]
        async with await here.lab.namespace(NODE).listen(host) as listener, trio.open_nursery() as nursery:
            stream = await here.stack.open_tcp_stream(host, listener.socket.getsockname()[1])
            other = await listener.accept()

            async def send(source: trio.abc.HalfCloseableStream) -> None:
                await source.send_all(data)
                await source.send_eof()

            async def receive(target: trio.abc.HalfCloseableStream) -> None:
                came = hashlib.sha256()
                async for part in target:
                    came.update(part)
                assert came.digest() == digest

            async with stream, other:
                async with trio.open_nursery() as both:
                    for end in (stream, other):
                        both.start_soon(send, end)
                        both.start_soon(receive, end)
            nursery.cancel_scope.cancel()


@FAMILIES
async def test_linux_dials_a_port_that_the_stack_serves(tmp_path: Path, family: int) -> None:
    async with joined(tmp_path) as here, trio.open_nursery() as nursery:

        async def echo(stream: trio.abc.HalfCloseableStream) -> None:
            async for part in stream:
                await stream.send_all(part)

        port = await nursery.start(here.stack.serve_tcp, 0, echo)
        # The node knows no endpoint of the client's before it was heard.
        await here.stack.ping(INNER[NODE][family], count=1)
        async with await here.lab.namespace(NODE).connect(INNER[CLIENT][family], port) as stream:
            await stream.send_all(b"from Linux")
            await stream.send_eof()
            assert b"".join([part async for part in stream]) == b"from Linux"
        nursery.cancel_scope.cancel()


@FAMILIES
async def test_refusals_and_pings_pass_both_ways(tmp_path: Path, family: int) -> None:
    async with joined(tmp_path) as here:
        host = INNER[NODE][family]
        with pytest.raises(ConnectionRefusedError):
            await here.stack.open_tcp_stream(host, 9)
        async with await here.stack.open_udp(refusals=True) as sock:
            await sock.send_datagram(Datagram(Address(host, 9), b"x"))
            with pytest.raises(DatagramRefusedError):
                await sock.receive_datagram()
        assert (await here.stack.ping(host, count=3, size=3000)).received == 3
        # Exactly what the tunnel takes, not to be cut; and what Linux cuts.
        whole = MTU - (28 if family == 4 else 48)
        for words in (["-M", "do", "-s", str(whole)], ["-s", "4000"]):
            ping = ["ping", "-n", "-c", "3", "-i", "0.05", "-W", "5", *words, INNER[CLIENT][family]]
            assert " 0% packet loss" in await here.lab.run(NODE, *ping)


@FAMILIES
async def test_a_path_that_takes_less_is_found(tmp_path: Path, family: int) -> None:
    """A router in the way says so: what is under way is sent again, smaller."""
    data = os.urandom(1_000_000)
    async with joined(tmp_path) as here:
        target = here.lab.host(BEYOND).address(family)
        length = 32 if family == 4 else 128
        route = ["ip", f"-{family}", "route", "add", f"{target}/{length}", "dev", "eth0", "mtu", "lock", "1280"]
        await here.lab.run(NODE, *route)
        async with await here.lab.namespace(BEYOND).listen(target) as listener:
            stream = await here.stack.open_tcp_stream(target, listener.socket.getsockname()[1])
            async with await listener.accept() as other, trio.open_nursery() as nursery:

                @nursery.start_soon
                async def _() -> None:
                    await stream.send_all(data)
                    await stream.aclose()

                assert b"".join([part async for part in other]) == data
        async with await here.stack.open_udp() as sock:
            receiver = await here.lab.namespace(BEYOND).socket(
                trio.socket.AF_INET if family == 4 else trio.socket.AF_INET6, trio.socket.SOCK_DGRAM
            )
            with receiver:
                await receiver.bind((target, 0))
                await sock.send_datagram(Datagram(Address(target, receiver.getsockname()[1]), bytes(1340)))
                assert len(await receiver.recv(2048)) == 1340


@FAMILIES
async def test_what_comes_out_of_a_tun_is_forwarded_to_a_server(tmp_path: Path, family: int) -> None:
    """A program of Linux reaches by the forwarder what it has no way to, and learns what cannot be reached."""
    data = os.urandom(SIZE)
    target = "192.0.2.80" if family == 4 else "2001:db8:80::1"
    with trio.fail_after(120):
        async with open_lab(tmp_path) as lab, AsyncExitStack() as stack, trio.open_nursery() as nursery:
            opening = open_tun("wg0", mtu=MTU)
            tun = await lab.namespace(NODE).call(opening.__enter__)
            stack.callback(opening.__exit__, None, None, None)
            at_once = ["nodad"] if family == 6 else []
            await lab.run(
                NODE, "ip", "addr", "add", f"{INNER[NODE][family]}/{24 if family == 4 else 64}", "dev", "wg0", *at_once
            )
            await lab.run(NODE, "ip", "link", "set", "wg0", "up")
            await lab.run(NODE, "ip", f"-{family}", "route", "add", target, "dev", "wg0")
            [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")

            async def open_tcp(host: str, port: int) -> trio.SocketStream:
                assert host == target
                if port == 9:
                    raise ConnectionRefusedError
                return await trio.open_tcp_stream("127.0.0.1", port)

            await nursery.start(
                lambda task_status: run_forwarder(
                    tun, open_tcp=open_tcp, open_udp=here_is_none, mtu=MTU, task_status=task_status
                )
            )
            with pytest.raises(ConnectionRefusedError):
                await lab.namespace(NODE).connect(target, 9)
            async with listener:
                port = listener.socket.getsockname()[1]
                async with await lab.namespace(NODE).connect(target, port) as stream, await listener.accept() as other:
                    async with trio.open_nursery() as both:

                        async def send(source: trio.SocketStream) -> None:
                            await source.send_all(data)
                            await source.send_eof()

                        async def receive(source: trio.SocketStream) -> None:
                            assert b"".join([part async for part in source]) == data

                        for end in (stream, other):
                            both.start_soon(send, end)
                            both.start_soon(receive, end)
            nursery.cancel_scope.cancel()


async def here_is_none() -> None:
    raise OSError("there are no datagrams here")
