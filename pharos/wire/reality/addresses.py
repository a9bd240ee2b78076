"""Addresses as VLESS, XUDP and SOCKS write them: a type, an IP address or a domain name, and a port."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Final

import attrs

from pharos.wire.addresses import Address as Address
from pharos.wire.addresses import canonical_host as canonical_host
from pharos.wire.errors import RemoteProtocolError

MAX_DOMAIN: Final = 255
"""Octets: what the octet of its length can say."""
_PORT_OCTETS: Final = 2
_MAX_QUOTED: Final = 40


@attrs.frozen(kw_only=True)
class AddressForm:
    """How a protocol lays an address out: which octet says which type, and whether the port stands before or behind."""

    name: str
    """Of the protocol, for its errors."""
    ipv4: int
    domain: int
    ipv6: int
    port_first: bool

    def render(self, address: Address) -> bytes:
        """Return port, type and host in the order of this form."""
        port = address.port.to_bytes(_PORT_OCTETS, "big")
        try:
            packed = ipaddress.ip_address(address.host).packed
        except ValueError:
            name = address.host.encode("ascii")
            host = bytes((self.domain, len(name))) + name
        else:
            host = bytes((self.ipv4 if len(packed) == 4 else self.ipv6,)) + packed
        return port + host if self.port_first else host + port

    def parse(self, data: bytes | bytearray, start: int = 0) -> tuple[Address, int] | None:
        """Return the address at ``start`` and where it ends; None if it is not whole yet.

        A domain name that spells an IP address comes out as that.

        Raises: RemoteProtocolError — no address begins like that.
        """
        found = self.parse_parts(data, start)
        if found is None:
            return None
        host, port, end = found
        if not port:
            raise RemoteProtocolError(f"{self.name}: an address has no port 0")
        return Address(host, port), end

    def parse_parts(self, data: bytes | bytearray, start: int = 0) -> tuple[str, int, int] | None:
        """Return host and port at ``start``, which may be 0 here, and where they end; None if they are not whole yet.

        Raises: RemoteProtocolError — no address begins like that.
        """
        at = start + _PORT_OCTETS * self.port_first
        if len(data) <= at:
            return None
        kind = data[at]
        lengths: Mapping[int, int] = {self.ipv4: 4, self.ipv6: 16}
        if kind == self.domain:
            if len(data) <= at + 1:
                return None
            begin, length = at + 2, data[at + 1]
        elif kind in lengths:
            begin, length = at + 1, lengths[kind]
        else:
            raise UnknownAddressTypeError(f"{self.name}: {kind} is no type of address")
        end = begin + length
        if len(data) < end + _PORT_OCTETS * (not self.port_first):
            return None
        raw = bytes(data[begin:end])
        port_at = start if self.port_first else end
        port = int.from_bytes(data[port_at : port_at + _PORT_OCTETS], "big")
        host = str(ipaddress.ip_address(raw)) if kind in lengths else canonical_host(raw.decode("latin-1"))
        if host is None:
            raise RemoteProtocolError(f"{self.name}: {raw[:_MAX_QUOTED]!r} is not a domain name")
        return host, port, end if self.port_first else end + _PORT_OCTETS


class UnknownAddressTypeError(RemoteProtocolError):
    """The peer's address is of a type that the protocol does not have; its connection was closed."""


VLESS: Final = AddressForm(name="VLESS", ipv4=1, domain=2, ipv6=3, port_first=True)
"""Of VLESS and of the frames inside it."""
SOCKS: Final = AddressForm(name="SOCKS", ipv4=1, domain=3, ipv6=4, port_first=False)
"""RFC 1928 §5."""
