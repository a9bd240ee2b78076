"""Packets that leave a machine beside its tunnel, counted on its cable; and programs that never stop trying."""

from __future__ import annotations

import collections
import functools
import ipaddress
import socket
import struct
import sys
import time
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress

import attrs
import trio

from pharos.wire.daemon import Notifier
from tests.system.lab.network import Lab

ETH_ALL = 3
OUTGOING = 4  # linux/if_packet.h
SNAP = 256
ROOM = 64 * 1024 * 1024
_SO_RCVBUFFORCE = 33
_SOL_PACKET, _PACKET_STATISTICS = 263, 6
_ARP, _IPV4, _IPV6 = 0x0806, 0x0800, 0x86DD
_TCP, _UDP, _ICMPV6, _HOP_BY_HOP = 6, 17, 58, 0
_NEIGHBOURS = frozenset({130, 131, 132, 133, 134, 135, 136, 143})
"""Of ICMPv6: MLD's and neighbour discovery's (RFC 4861, RFC 3810)."""

Place = tuple[str, int]


@attrs.define
class Leaks:
    """What was seen; whole when the block has ended."""

    found: collections.Counter[str] = attrs.field(factory=collections.Counter)
    """What went beside the tunnel, in words."""
    carried: int = 0
    """Datagrams to nodes."""
    link: int = 0
    """ARP, neighbour discovery, DHCP: without these there is no link."""

    @property
    def count(self) -> int:
        return self.found.total()


def judge(frame: bytes, nodes: Collection[Place], streams: Collection[Place] = ()) -> str | None:
    """Return ``""`` for a datagram to one of these nodes, None for what a link lives of, and else what it is.

    ``streams`` are places to which TCP may go, which counts as what goes to nodes.
    """
    (kind,) = struct.unpack_from("!H", frame, 12)
    body = frame[14:]
    if kind == _ARP:
        return None
    if kind == _IPV4:
        header = (body[0] & 15) * 4
        protocol, target = body[9], str(ipaddress.IPv4Address(body[16:20]))
        rest = body[header:]
        if protocol == _UDP and rest[:4] == struct.pack("!HH", 68, 67):
            return None
    elif kind == _IPV6:
        protocol, target, rest = body[6], str(ipaddress.IPv6Address(body[24:40])), body[40:]
        if protocol == _HOP_BY_HOP:
            protocol, rest = rest[0], rest[(rest[1] + 1) * 8 :]
        if protocol == _ICMPV6 and rest[0] in _NEIGHBOURS:
            return None
        if protocol == _UDP and rest[:4] == struct.pack("!HH", 546, 547):
            return None
    else:
        return f"ethernet {kind:#06x}"
    port = struct.unpack_from("!H", rest, 2)[0] if protocol in (_TCP, _UDP) else 0
    if (target, port) in (nodes if protocol == _UDP else streams if protocol == _TCP else ()):
        return ""
    return f"protocol {protocol} to {target} port {port}"


@asynccontextmanager
async def count_leaks(
    lab: Lab, host: str, *, nodes: Collection[Place], streams: Collection[Place] = (), device: str = "eth0"
) -> AsyncIterator[Leaks]:
    """Look at every packet that leaves a host by its cable while the block lasts; none is missed.

    ``nodes``: addresses and UDP ports where datagrams of tunnels may go; ``streams``: places of REALITY and of relays.
    """
    leaks = Leaks()

    def take(frame: bytes, kind: int) -> None:
        if kind == OUTGOING:
            what = judge(frame, nodes, streams)
            if what is None:
                leaks.link += 1
            elif not what:
                leaks.carried += 1
            else:
                leaks.found[what] += 1

    def drain() -> None:
        while True:
            try:
                frame, source = raw.recvfrom(SNAP)
            except BlockingIOError:
                return
            take(frame, source[2])

    async def read() -> None:
        while True:
            await trio.lowlevel.wait_readable(raw)
            drain()

    raw = await lab.namespace(host).call(socket.socket, socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_ALL))
    with raw:
        raw.settimeout(0.0)
        raw.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, ROOM)
        raw.bind((device, ETH_ALL))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            yield leaks
            nursery.cancel_scope.cancel()
        drain()
        _, lost = struct.unpack("II", raw.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))
        assert lost == 0, f"{lost} packets were not looked at"


@asynccontextmanager
async def restless(lab: Lab, host: str, *targets: str) -> AsyncIterator[None]:
    """Have programs of a host send to these addresses all the time, by every means, while the block lasts."""
    process = await lab.start(
        host, sys.executable, "-m", "tests.system.leaks", *targets, name=f"{host}-restless", ready=True
    )
    try:
        yield
        process.check()
    finally:
        with trio.CancelScope(shield=True):
            await process.kill()


def _try(act: functools.partial[object]) -> None:
    # That it is refused is what is hoped for.
    with suppress(OSError):
        act()


def _send_all_ways(target: str, cable: str) -> None:
    """Send a packet of each kind: plain, from the cable's own address, bound to the cable, for names, echoes."""
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    own = {socket.AF_INET: cable.split(",")[0], socket.AF_INET6: cable.split(",")[1]}[family]
    for port in (53, 443, 853, 4500):
        for source, bound in (("", False), (own, False), ("", True)):
            with socket.socket(family, socket.SOCK_DGRAM) as sock:
                if source:
                    _try(functools.partial(sock.bind, (source, 0)))
                if bound:
                    _try(functools.partial(sock.setsockopt, socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0"))
                _try(functools.partial(sock.sendto, b"leak?", (target, port)))
    for port in (53, 80, 443):
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.settimeout(0.0)
            _try(functools.partial(sock.connect, (target, port)))
    kind = socket.IPPROTO_ICMPV6 if family == socket.AF_INET6 else socket.IPPROTO_ICMP
    with socket.socket(family, socket.SOCK_RAW, kind) as sock:
        echo = bytes([128 if family == socket.AF_INET6 else 8, 0, 0, 0, 0, 1, 0, 1])
        _try(functools.partial(sock.sendto, echo, (target, 0)))


def main(cable: str, *targets: str) -> None:
    """Send until killed; say READY=1 first."""
    Notifier.from_environment().send("READY=1")
    while True:
        for target in targets:
            _send_all_ways(target, cable)
        time.sleep(0.002)


if __name__ == "__main__":
    main(*sys.argv[1:])
