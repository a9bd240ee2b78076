"""Laying the cables: namespaces, addresses, routes and helm's firewall, as ip(8) and nft(8) lines."""

from __future__ import annotations

import fcntl
import socket
import struct
from collections.abc import Iterable
from pathlib import Path

import trio

from tests.system.lab.commands import run_ip, run_nft
from tests.system.lab.namespace import Namespace
from tests.system.lab.topology import GATEWAY, HELM, INTERNET, LAN4, LAN6, NAT, PUBLIC, Host, cable

CARRIER_POLL = 0.002
"""Seconds."""
_SIOCGIFFLAGS, _IFF_RUNNING = 0x8913, 0x40  # netdevice(7)

NAMES = (HELM.name, INTERNET, *[host.name for host in PUBLIC])

# IPv4 is masqueraded; IPv6 is routed, as homes have it, so that helm's own address is known to everybody it dials and
# the firewall alone keeps them out. Without neighbour discovery there would be no IPv6 to keep out.
FIREWALL = f"""
table inet nat {{
  chain post {{
    type nat hook postrouting priority srcnat;
    ip saddr {LAN4} oifname "eth0" masquerade
  }}
  chain passing {{
    type filter hook forward priority filter; policy drop;
    ct state established,related accept
    iifname "lan0" oifname "eth0" accept
  }}
  chain arriving {{
    type filter hook input priority filter; policy drop;
    ct state established,related accept
    iifname {{ "lo", "lan0" }} accept
    icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept
  }}
}}
"""
OPEN = 'add chain inet nat passing { policy accept; }; insert rule inet nat passing iifname "eth0" accept'


async def build(lab: str) -> None:
    """Make the namespaces of a lab and join them.

    Raises: CommandError.
    """
    spaces = {name: f"{lab}-{name}" for name in NAMES}
    await run_ip([f"netns add {space}" for space in spaces.values()])
    await run_ip(
        [
            # First, so that no cable has the same index at both ends: on such Linux notices the carrier a second late.
            f"link add br0 netns {spaces[INTERNET]} type bridge mcast_snooping 0",
            *[_cable(spaces, host, INTERNET, cable(host.name)) for host in PUBLIC],
            _cable(spaces, HELM, NAT.name, "lan0"),
        ]
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_ip, _bridge(), spaces[INTERNET])
        nursery.start_soon(_set_up_nat, spaces[NAT.name])
        for host in (HELM, *PUBLIC):
            if host is not NAT:
                nursery.start_soon(run_ip, _host(host), spaces[host.name])
    await wait_carrier(Namespace(spaces[INTERNET]), [cable(host.name) for host in PUBLIC])
    await wait_carrier(Namespace(spaces[NAT.name]), ["lan0"])
    for host in (HELM, *PUBLIC):
        await wait_carrier(Namespace(spaces[host.name]), ["eth0"])


def _cable(spaces: dict[str, str], host: Host, other: str, device: str) -> str:
    end = f"eth0 netns {spaces[host.name]} address {host.mac}"
    return f"link add {end} type veth peer name {device} netns {spaces[other]}"


def _bridge() -> list[str]:
    ports = [cable(host.name) for host in PUBLIC]
    return ["link set lo up", "link set br0 up", *[f"link set {port} master br0 up" for port in ports]]


def _host(host: Host) -> list[str]:
    if host is HELM:
        ways = [f"route add default via {GATEWAY.address4}", f"route add default via {GATEWAY.address6}"]
    else:
        # An attacker on the way can send packets to helm's own addresses; so can everybody here.
        ways = [f"route add {LAN4} via {NAT.address4}", f"route add {LAN6} via {NAT.address6}"]
    return ["link set lo up", *_interface("eth0", host), *ways]


def _interface(device: str, host: Host) -> list[str]:
    # Nobody else can have the addresses, so nobody waits a second until that is proven (RFC 4862, duplicate address
    # detection): not for the link-local one either, from which a router asks for its neighbours.
    return [
        f"link set {device} addrgenmode none",
        f"addr add {host.address4}/{host.network4.prefixlen} dev {device}",
        f"addr add {host.address6}/{host.network6.prefixlen} dev {device} nodad",
        f"addr add fe80::{host.number:x}/64 dev {device} nodad",
        f"link set {device} up",
    ]


async def _set_up_nat(space: str) -> None:
    await run_nft(space, FIREWALL)
    await run_ip(["link set lo up", *_interface("eth0", NAT), *_interface("lan0", GATEWAY)], space)
    await Namespace(space).call(_forward)


def _forward() -> None:
    # What a thread finds below /proc/sys/net is its own namespace's.
    for switch in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
        (Path("/proc/sys/net") / switch).write_text("1")


async def wait_carrier(space: Namespace, devices: Iterable[str]) -> None:
    """Wait until devices have noticed that their cables have two ends, which Linux does in its own time."""
    with await space.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for device in devices:
            request = struct.pack("16s16x", device.encode())
            while True:
                (flags,) = struct.unpack("16xH14x", fcntl.ioctl(sock.fileno(), _SIOCGIFFLAGS, request))
                if flags & _IFF_RUNNING:
                    break
                await trio.sleep(CARRIER_POLL)
