"""Where devices' addresses inside the tunnel come from."""

from __future__ import annotations

import ipaddress
from typing import Final

import attrs

FIRST_HOST: Final = 2
"""Host 1 is every node's own; devices begin behind it."""


@attrs.frozen(kw_only=True)
class Pool:
    """A pool's record: one IPv4 and one IPv6 network, host numbers in common."""

    id: str
    name: str
    network4: str
    """CIDR notation, private (RFC 1918) or shared (RFC 6598) space."""
    network6: str
    """CIDR notation, a ULA (RFC 4193)."""
    next_host: int = FIRST_HOST
    """The host number that the next device gets; one that was given is never given again."""
    last_host: int
    """The last host number of ``network4``: its broadcast address is left out."""
    preferred: bool = False
    """New devices come here first; the other pools take what does not fit."""
    version: int = 1
    created_at: int = 0
    updated_at: int = 0
    updated_by: str = ""

    def addresses(self, host: int) -> tuple[str, str]:
        """Return IPv4 and IPv6 address number ``host``."""
        return str(ipaddress.ip_network(self.network4)[host]), str(ipaddress.ip_network(self.network6)[host])


def last_host_of(network4: str) -> int:
    """Return the number of a network's last host, the one before its broadcast address."""
    return ipaddress.IPv4Network(network4).num_addresses - 2
