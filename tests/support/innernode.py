"""A node with a host behind it, in memory: what the inside of a connection is tried against."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_interface, ip_network

import attrs
import dns.message
import dns.rdatatype
import dns.rrset
import trio

from pharos.caravel.tunnel.parts import Inner
from pharos.wire.addresses import Datagram
from pharos.wire.awg.config import PeerConfig
from pharos.wire.awg.device import Device
from pharos.wire.awg.keys import generate_private_key, public_key
from pharos.wire.awg.memory import memory_link
from pharos.wire.awg.netstack.stack import Netstack, open_netstack
from pharos.wire.awg.tunnel import Tunnel, open_tunnel

NODE, DEVICE = ip_interface("10.7.0.1/24"), ip_interface("10.7.0.2/24")
NODE6, DEVICE6 = ip_interface("fd00::1/64"), ip_interface("fd00::2/64")
DEVICE_ADDRESSES = (DEVICE, DEVICE6)
RESOLVER = NODE.ip
NAME = "pharos.example"
EVERYTHING = (ip_network("0.0.0.0/0"), ip_network("::/0"))


@attrs.frozen(kw_only=True)
class InnerNode:
    """The host, and how its node is reached."""

    host: Netstack
    tunnel: Tunnel
    asked: list[str]
    """The names that its resolver was asked for."""

    def admit(self) -> bytes:
        """Let a device in, and no other from then on; return its private key."""
        key = generate_private_key(os.urandom)
        self.tunnel.set_peer(
            PeerConfig(public_key=public_key(key), allowed_ips=tuple(ip_network(a.ip) for a in DEVICE_ADDRESSES))
        )
        return key

    @asynccontextmanager
    async def leg(self, inner: Inner) -> AsyncIterator[Tunnel]:
        """Carry an inside's packets to the node while the block lasts."""
        key = self.admit()
        device = Device(private_key=key, random=os.urandom, wall_clock=time.time_ns)
        device.set_peer(
            PeerConfig(public_key=self.tunnel.public_key, endpoint=self.tunnel.address, allowed_ips=EVERYTHING),
            trio.current_time(),
        )
        async with open_tunnel(device, inner.far, host="127.0.0.1") as leg:
            await leg.wait_handshake(self.tunnel.public_key)
            yield leg


@asynccontextmanager
async def running_inner_node() -> AsyncIterator[InnerNode]:
    """Run a node over loopback whose host serves TCP echoes at port 7, UDP echoes at 7 and names at 53."""
    near, far = memory_link()
    device = Device(private_key=generate_private_key(os.urandom), random=os.urandom, wall_clock=time.time_ns)
    asked: list[str] = []
    async with (
        open_tunnel(device, far, host="127.0.0.1") as tunnel,
        open_netstack(near, addresses=(NODE, NODE6)) as host,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(host.serve_tcp, 7, _echo)
        nursery.start_soon(_answer, host, 7, lambda data: data)
        nursery.start_soon(_answer, host, 53, functools.partial(_resolve, asked))
        yield InnerNode(host=host, tunnel=tunnel, asked=asked)
        nursery.cancel_scope.cancel()


async def _echo(stream: trio.abc.HalfCloseableStream) -> None:
    while data := await stream.receive_some(65536):
        await stream.send_all(data)


async def _answer(host: Netstack, port: int, answer: Callable[[bytes], bytes]) -> None:
    async with await host.bind_udp(port) as sock:
        while True:
            datagram = await sock.receive_datagram()
            await sock.send_datagram(Datagram(datagram.address, answer(datagram.data)))


def _resolve(asked: list[str], query: bytes) -> bytes:
    question = dns.message.from_wire(query)
    reply = dns.message.make_response(question)
    kind = question.question[0].rdtype
    asked.append(question.question[0].name.to_text(omit_final_dot=True))
    if kind == dns.rdatatype.A and asked[-1] == NAME:
        reply.answer.append(dns.rrset.from_text(question.question[0].name, 60, "IN", "A", str(NODE.ip)))
    return reply.to_wire()
