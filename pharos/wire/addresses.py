"""Where a stream or a datagram goes: a host by name or address, and a port."""

from __future__ import annotations

import ipaddress
import re
from typing import Final

import attrs

from pharos.wire.errors import LocalProtocolError

_MAX_QUOTED: Final = 40

# What resolvers are asked for: letters, digits, hyphens, and the underscores of service names. Whoever wants other
# letters writes them as Punycode (RFC 5891); anything else in here could only fool whoever reads a log.
_DOMAIN: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,253}[A-Za-z0-9_.-])?")


@attrs.frozen
class Address:
    """Where a stream or a datagram goes. A host that is an IP address is in its canonical form (RFC 5952).

    Raises: LocalProtocolError — no host, or no port.
    """

    host: str
    """A domain name or an IP address, without brackets."""
    port: int

    def __attrs_post_init__(self) -> None:
        if not 0 < self.port < 65536:
            raise LocalProtocolError(f"{self.port} is not a port")
        if canonical_host(self.host) != self.host:
            raise LocalProtocolError(f"{self.host[:_MAX_QUOTED]!r} is neither a domain name nor a canonical IP address")

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@attrs.frozen
class Datagram:
    """One datagram with the address it goes to, or comes from."""

    address: Address
    data: bytes


def canonical_host(text: str) -> str | None:
    """Return an IP address in its one spelling, or a domain name as it stands; None if it is neither."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return text if _DOMAIN.fullmatch(text) else None
    # A zone means something to one machine only.
    return None if "%" in text else str(address)
