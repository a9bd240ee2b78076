"""Which networks stay closed to users of Xray: whatever is not of the Internet, and what the policy names. Pure."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network
from typing import Final, TypeAlias

Network: TypeAlias = IPv4Network | IPv6Network

# The registry of RFC 6890 and of multicast (RFC 5771): Xray's own list, `geoip:private`, is a file that may be missing.
_NOT_PUBLIC_V4: Final = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",
            "240.0.0.0/4",
        ),
    )
)
_NOT_PUBLIC_V6: Final = tuple(map(IPv6Network, ("2001::/23", "2001:db8::/32", "3fff::/20")))
_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
_NAT64: Final = IPv6Network("64:ff9b::/96")
_SIX_TO_FOUR: Final = IPv6Network("2002::/16")


@functools.cache
def not_public() -> tuple[Network, ...]:
    """Return every network that is not of the Internet, those IPv6 addresses included that lead to such an IPv4 one."""
    v6: list[IPv6Network] = list(_NOT_PUBLIC_V6)
    for network in IPv6Network("::/0").address_exclude(_GLOBAL_UNICAST):
        v6 += network.address_exclude(_NAT64) if _NAT64.subnet_of(network) else (network,)
    for network4 in _NOT_PUBLIC_V4:
        v6 += _embedded(network4)
    return (*_NOT_PUBLIC_V4, *ipaddress.collapse_addresses(v6))


def closed_networks(closed: Iterable[str], own: Iterable[str]) -> tuple[str, ...]:
    """Return all that stays closed, CIDR: beside what is not public, networks of a policy and the node's addresses."""
    extra: set[Network] = set()
    for text in (*closed, *own):
        network = ipaddress.ip_network(text)
        extra.add(network)
        if isinstance(network, IPv4Network):
            extra.update(_embedded(network))
    fixed = not_public()
    more = sorted(map(str, extra.difference(fixed)))
    return (*map(str, fixed), *more)


def _embedded(network: IPv4Network) -> Iterator[IPv6Network]:
    """Yield the networks of NAT64 (RFC 6052 §2.1) and of 6to4 (RFC 3056 §2) that lead to an IPv4 network."""
    first = int(network.network_address)
    yield IPv6Network((int(_NAT64.network_address) | first, 96 + network.prefixlen))
    yield IPv6Network((int(_SIX_TO_FOUR.network_address) | first << 80, 16 + network.prefixlen))
