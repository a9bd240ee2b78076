"""Outer addresses of peers."""

import ipaddress
from typing import TypeAlias

from pharos.wire.errors import ParameterError

Address: TypeAlias = tuple[str, int]
"""Numeric host (an IPv6 one may carry ``%scope``) and UDP port."""


def check_address(address: Address) -> Address:
    """Return ``address`` if a datagram can be sent to it without asking a resolver, which would block the pump.

    Raises: ParameterError — the host is a name, or the port is out of range.
    """
    host, port = address
    try:
        ipaddress.ip_address(host)
    except ValueError:
        raise ParameterError(f"endpoint = {host}: must be a numeric IP address") from None
    if not 0 < port < 65536:
        raise ParameterError(f"endpoint port = {port}: must be from 1 to 65535")
    return address


def format_address(address: Address) -> str:
    """``198.51.100.7:51820`` or ``[2001:db8::7]:51820``; an IPv4 address mapped into IPv6 is shown as IPv4."""
    host, port = address
    parsed = _parse(host)
    return f"[{parsed}]:{port}" if isinstance(parsed, ipaddress.IPv6Address) else f"{parsed}:{port}"


def network_of(address: Address) -> bytes:
    """What one sender surely holds whole, packed: an IPv4 address or an IPv6 /64."""
    parsed = _parse(address[0])
    return parsed.packed[:8] if isinstance(parsed, ipaddress.IPv6Address) else parsed.packed


def _parse(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    parsed = ipaddress.ip_address(host)
    if isinstance(parsed, ipaddress.IPv6Address):
        return parsed.ipv4_mapped or parsed
    return parsed
