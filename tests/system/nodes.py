"""Nodes of a lab that are part of the test: an engine and a TUN each, and something behind it to reach."""

from __future__ import annotations

import ipaddress
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs

from pharos.wire.awg.config import PeerConfig
from pharos.wire.awg.device import Device
from pharos.wire.awg.keys import generate_private_key, public_key
from pharos.wire.awg.pump import Pump
from pharos.wire.awg.tun import open_tun
from pharos.wire.awg.udp import ANY_IPV6, UdpPort, bind_udp
from pharos.wire.tasks import open_background
from tests.system.lab.network import Lab

PORT = 51820
MTU = 1420
DEVICE = ("10.7.0.2/24", "fd07::2/64")
"""Of a client, at every node."""
OWN = {4: "10.7.0.1", 6: "fd07::1"}
"""Of every node."""
BEYOND = {4: "198.51.100.7", 6: "2001:db8:7::7"}
"""Somewhere in the internet; at every node, so that one sees what came out of which tunnel."""
EVERYWHERE = tuple(map(ipaddress.ip_network, ("0.0.0.0/0", "::/0")))


@attrs.frozen(kw_only=True)
class Node:
    """An engine that runs at a host."""

    host: str
    private_key: bytes

    @property
    def public_key(self) -> bytes:
        return public_key(self.private_key)


@asynccontextmanager
async def running_node(lab: Lab, host: str, device_key: bytes) -> AsyncIterator[Node]:
    """Run a node with one client, while the block lasts."""
    node = Node(host=host, private_key=generate_private_key(os.urandom))
    space = lab.namespace(host)
    opening = open_tun("node0", mtu=MTU, is_local=lambda destination: True)
    tun = await space.call(opening.__enter__)
    try:
        for family, length in ((4, 24), (6, 64)):
            at_once = ["nodad"] if family == 6 else []
            await lab.run(host, "ip", "addr", "add", f"{OWN[family]}/{length}", "dev", "node0", *at_once)
            await lab.run(host, "ip", "addr", "add", f"{BEYOND[family]}/{32 if family == 4 else 128}", "dev", "lo")
        await lab.run(host, "ip", "link", "set", "node0", "up")
        device = Device(private_key=node.private_key, random=os.urandom, wall_clock=time.time_ns, mtu=MTU)
        allowed = tuple(ipaddress.ip_network(ipaddress.ip_interface(one).ip) for one in DEVICE)
        device.set_peer(PeerConfig(public_key=public_key(device_key), allowed_ips=allowed), 0.0)
        with await space.call(bind_udp, ANY_IPV6, PORT) as sock:
            async with open_background(Pump(device, [UdpPort(sock)], tun).run):
                yield node
    finally:
        opening.__exit__(None, None, None)
