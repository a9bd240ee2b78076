"""Who stands where in the lab: hosts, their addresses, and the two ends of each cable.

Every address is one that documentation may use (RFC 5737, RFC 3849) or private, and exists in the lab's own network
namespaces only.
"""

from __future__ import annotations

import ipaddress
from typing import Final

import attrs

LAN4: Final = ipaddress.ip_network("192.168.50.0/24")
LAN6: Final = ipaddress.ip_network("2001:db8:0:2::/64")
NET4: Final = ipaddress.ip_network("203.0.113.0/24")
NET6: Final = ipaddress.ip_network("2001:db8:0:1::/64")

INTERNET: Final = "inet"
"""The namespace that holds the bridge between all hosts with a public address."""


@attrs.frozen(kw_only=True)
class Host:
    """One namespace with an address on ``eth0``."""

    name: str
    number: int
    """Last part of its addresses and of its MAC."""
    network4: ipaddress.IPv4Network = NET4
    network6: ipaddress.IPv6Network = NET6

    @property
    def address4(self) -> str:
        return str(self.network4[self.number])

    @property
    def address6(self) -> str:
        return str(self.network6[self.number])

    @property
    def mac(self) -> str:
        """Of ``eth0``; locally administered (IEEE 802, the bit 0x02)."""
        return f"02:00:00:00:00:{self.number:02x}"

    def address(self, family: int) -> str:
        """Return its address of IP version 4 or 6."""
        return self.address4 if family == 4 else self.address6


HELM: Final = Host(name="helm", number=2, network4=LAN4, network6=LAN6)
NAT: Final = Host(name="nat", number=3)
"""helm's way out. Its own public addresses are on ``eth0``; ``lan0`` is helm's gateway."""
GATEWAY: Final = Host(name="gateway", number=1, network4=LAN4, network6=LAN6)
PUBLIC: Final = (
    NAT,
    Host(name="buoya", number=10),
    Host(name="buoyb", number=11),
    Host(name="beacon", number=20),
    Host(name="clienta", number=30),
    Host(name="clientb", number=31),
)
HOSTS: Final = {host.name: host for host in (HELM, *PUBLIC)}


def uplink(host: str) -> Host:
    """Return who holds the cable by which a host reaches the internet: itself, but for helm."""
    return NAT if host == HELM.name else HOSTS[host]


def cable(host: str) -> str:
    """Return the internet's end of a host's cable."""
    return f"p-{uplink(host).name}"
