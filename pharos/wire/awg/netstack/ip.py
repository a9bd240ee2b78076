"""IP packets taken apart and made, both versions (RFC 791, RFC 8200): options and extension headers are skipped."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from struct import Struct
from typing import Final, TypeAlias

import attrs

from pharos.wire.awg.checksum import complement, header_sum
from pharos.wire.awg.ippackets import IPV4_HEADER_BYTES, IPV6_HEADER_BYTES

IpAddress: TypeAlias = IPv4Address | IPv6Address

HOP_LIMIT: Final = 64
"""Of what we send (RFC 1700)."""
IPV4_LEAST_MTU: Final = 576
"""What every host takes (RFC 791 p. 25); a path that claims to take less is not believed."""
IPV6_LEAST_MTU: Final = 1280
"""RFC 8200 §5."""

HOP_BY_HOP, TCP, UDP, ROUTING, FRAGMENT = 0, 6, 17, 43, 44
ICMP, ICMPV6, NO_NEXT_HEADER, DESTINATION_OPTIONS = 1, 58, 59, 60

_MAX_EXTENSIONS: Final = 8
"""Headers skipped in one packet: each of the four once is what RFC 8200 §4.1 knows, destination options twice."""
_IPV4: Final = Struct(">BBHHHBBH4s4s")
_IPV6: Final = Struct(">IHBB16s16s")
_FRAGMENT: Final = Struct(">BBHI")
_DONT_FRAGMENT: Final = 0x4000
_MORE_OR_OFFSET: Final = 0x3FFF
_MORE4: Final = 0x2000
_OFFSET4: Final = 0x1FFF
_VERSION6: Final = 6 << 28
FRAGMENT_HEADER_BYTES: Final = _FRAGMENT.size


@attrs.frozen
class Fragment:
    """Where a packet's payload belongs in a larger one."""

    identification: int
    offset: int
    """Bytes."""
    more: bool
    """Whether there is more behind it."""


@attrs.define(eq=False)
class IpPacket:
    """A packet that was taken apart."""

    data: bytes
    """The whole of it, without what stood behind its own length."""
    version: int
    source: bytes
    destination: bytes
    """Packed, both."""
    protocol: int
    """Of the payload: what stands behind all headers that were skipped."""
    hop_limit: int
    start: int
    """Where the payload begins."""
    fragment: Fragment | None = None
    """None where the packet is whole."""

    @property
    def payload(self) -> bytes:
        return self.data[self.start :]


def parse_ip(data: bytes) -> IpPacket | None:
    """Take a packet apart; None if it is damaged, or none, or wants what only a router of old would do."""
    version = data[0] >> 4 if data else 0
    if version == 4 and len(data) >= IPV4_HEADER_BYTES:
        return _parse_v4(data)
    if version == 6 and len(data) >= IPV6_HEADER_BYTES:
        return _parse_v6(data)
    return None


def _parse_v4(data: bytes) -> IpPacket | None:
    first, _, length, identification, fragment, hops, protocol, _, source, destination = _IPV4.unpack_from(data)
    start = (first & 0xF) * 4
    if not IPV4_HEADER_BYTES <= start <= length <= len(data) or header_sum(data[:start]):
        return None
    part = None
    if fragment & _MORE_OR_OFFSET:
        part = Fragment(identification, (fragment & _OFFSET4) * 8, bool(fragment & _MORE4))
    return IpPacket(data[:length], 4, source, destination, protocol, hops, start, part)


def _parse_v6(data: bytes) -> IpPacket | None:
    _, length, protocol, hops, source, destination = _IPV6.unpack_from(data)
    start, end = IPV6_HEADER_BYTES, IPV6_HEADER_BYTES + length
    if end > len(data):
        return None
    part = None
    for _ in range(_MAX_EXTENSIONS):
        if protocol not in (HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION_OPTIONS):
            return IpPacket(data[:end], 6, source, destination, protocol, hops, start, part)
        if start + 8 > end:
            return None
        if protocol == FRAGMENT:
            protocol, _, place, identification = _FRAGMENT.unpack_from(data, start)
            start += FRAGMENT_HEADER_BYTES
            if place & ~6:
                # What is behind the header may be the middle of anything.
                part = Fragment(identification, place & ~7, bool(place & 1))
                return IpPacket(data[:end], 6, source, destination, protocol, hops, start, part)
            # An atomic fragment is a whole packet (RFC 6946).
            continue
        if protocol == ROUTING and data[start + 3]:
            # It is still on its way to others (RFC 5095: nobody should want that of us).
            return None
        protocol, start = data[start], start + (data[start + 1] + 1) * 8
        if start > end:
            return None
    return None


def ipv4_header(
    source: bytes,
    destination: bytes,
    protocol: int,
    length: int,
    *,
    identification: int = 0,
    fragment: int = _DONT_FRAGMENT,
) -> bytes:
    """Make a header for ``length`` bytes of payload; ``fragment`` is the whole field with flags and offset.

    What may not be cut needs no identification (RFC 6864 §4.1).
    """
    total = IPV4_HEADER_BYTES + length
    fields = (0x45, 0, total, identification, fragment, HOP_LIMIT, protocol)
    check = complement(header_sum(_IPV4.pack(*fields, 0, source, destination)))
    return _IPV4.pack(*fields, check, source, destination)


def ipv6_header(source: bytes, destination: bytes, protocol: int, length: int) -> bytes:
    """Make a header for ``length`` bytes of payload."""
    return _IPV6.pack(_VERSION6, length, protocol, HOP_LIMIT, source, destination)


def build_ip(source: bytes, destination: bytes, protocol: int, payload: bytes) -> bytes:
    """Make a whole packet, whatever its size."""
    make = ipv4_header if len(source) == 4 else ipv6_header
    return make(source, destination, protocol, len(payload)) + payload


def build_fragments(
    source: bytes, destination: bytes, protocol: int, payload: bytes, *, mtu: int, identification: int
) -> list[bytes]:
    """Make the packets that carry a payload over a path that takes ``mtu`` bytes: one, or the fragments of it."""
    header = IPV4_HEADER_BYTES if len(source) == 4 else IPV6_HEADER_BYTES
    if header + len(payload) <= mtu:
        return [build_ip(source, destination, protocol, payload)]
    if len(source) == 16:
        header += FRAGMENT_HEADER_BYTES
    step = (mtu - header) // 8 * 8
    packets = []
    for offset in range(0, len(payload), step):
        part = payload[offset : offset + step]
        more = offset + step < len(payload)
        if len(source) == 4:
            place = offset // 8 | (_MORE4 if more else 0)
            number = identification & 0xFFFF
            head = ipv4_header(source, destination, protocol, len(part), identification=number, fragment=place)
        else:
            head = ipv6_header(source, destination, FRAGMENT, FRAGMENT_HEADER_BYTES + len(part))
            head += _FRAGMENT.pack(protocol, 0, offset | more, identification & 0xFFFFFFFF)
        packets.append(head + part)
    return packets


def pseudo_sum(source: bytes, destination: bytes, protocol: int, length: int) -> int:
    """Return the sum over the pseudo header that TCP, UDP and ICMPv6 add to their own (RFC 9293 §3.1, RFC 8200 §8.1).

    It is up to a multiple of 65535.
    """
    return int.from_bytes(source + destination, "big") + protocol + length
