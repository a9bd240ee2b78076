"""ICMP echo in whole IP packets, both families (RFC 792 p. 14, RFC 4443 §4). No fragments, no extension headers."""

from collections.abc import Collection
from ipaddress import IPv4Address, IPv6Address, ip_address
from struct import Struct
from typing import Final, TypeAlias

import attrs

from pharos.wire.awg.ippackets import IPV4_HEADER_BYTES, IPV6_HEADER_BYTES

InnerAddress: TypeAlias = IPv4Address | IPv6Address

_ICMP: Final = 1
_ICMPV6: Final = 58
_HOP_LIMIT: Final = 64
_MORE_OR_OFFSET: Final = 0x3FFF  # Flag MF and the fragment offset (RFC 791 p. 13).

_IPV4: Final = Struct(">BBHHHBBH4s4s")
_IPV6: Final = Struct(">IHBB16s16s")
_ECHO: Final = Struct(">BBHHH")
_PSEUDO_V6: Final = Struct(">16s16sI3xB")

# (request, reply) types by protocol.
_TYPES: Final = {_ICMP: (8, 0), _ICMPV6: (128, 129)}


@attrs.frozen(kw_only=True)
class Echo:
    """An echo request or its reply."""

    source: InnerAddress
    destination: InnerAddress
    identifier: int
    """16 bits; names the one who asks."""
    sequence: int
    """16 bits."""
    payload: bytes = b""
    reply: bool = False


def build_echo(echo: Echo) -> bytes:
    """Make the IP packet; both addresses must be of one family."""
    protocol = _ICMP if echo.source.version == 4 else _ICMPV6
    kind = _TYPES[protocol][echo.reply]
    body = _ECHO.pack(kind, 0, 0, echo.identifier, echo.sequence) + echo.payload
    source, destination = echo.source.packed, echo.destination.packed
    if protocol == _ICMP:
        message = _with_checksum(body, 2, b"")
        header = _IPV4.pack(0x45, 0, IPV4_HEADER_BYTES + len(message), 0, 0, _HOP_LIMIT, _ICMP, 0, source, destination)
        return _with_checksum(header, 10, b"") + message
    message = _with_checksum(body, 2, _PSEUDO_V6.pack(source, destination, len(body), _ICMPV6))
    return _IPV6.pack(6 << 28, len(message), _ICMPV6, _HOP_LIMIT, source, destination) + message


def parse_echo(packet: bytes) -> Echo | None:
    """Read an echo request or reply; None if the packet is anything else, damaged or a fragment."""
    version = packet[0] >> 4 if packet else 0
    if version == 4 and len(packet) >= IPV4_HEADER_BYTES:
        return _parse_v4(packet)
    if version == 6 and len(packet) >= IPV6_HEADER_BYTES:
        return _parse_v6(packet)
    return None


def answer_echo(packet: bytes, addresses: Collection[InnerAddress]) -> bytes | None:
    """Make the reply to an echo request for one of ``addresses``; None for everything else."""
    echo = parse_echo(packet)
    if echo is None or echo.reply or echo.destination not in addresses:
        return None
    return build_echo(attrs.evolve(echo, source=echo.destination, destination=echo.source, reply=True))


def _parse_v4(packet: bytes) -> Echo | None:
    first, _, length, _, fragment, _, protocol, _, source, destination = _IPV4.unpack_from(packet)
    header_bytes = (first & 0xF) * 4
    if (
        protocol != _ICMP
        or fragment & _MORE_OR_OFFSET
        or not IPV4_HEADER_BYTES <= header_bytes <= length <= len(packet)
    ):
        return None
    if checksum(packet[:header_bytes]):
        return None
    return _parse_message(packet[header_bytes:length], _ICMP, b"", source, destination)


def _parse_v6(packet: bytes) -> Echo | None:
    _, length, protocol, _, source, destination = _IPV6.unpack_from(packet)
    if protocol != _ICMPV6 or IPV6_HEADER_BYTES + length > len(packet):
        return None
    message = packet[IPV6_HEADER_BYTES : IPV6_HEADER_BYTES + length]
    pseudo = _PSEUDO_V6.pack(source, destination, length, _ICMPV6)
    return _parse_message(message, _ICMPV6, pseudo, source, destination)


def _parse_message(message: bytes, protocol: int, pseudo: bytes, source: bytes, destination: bytes) -> Echo | None:
    if len(message) < _ECHO.size or checksum(pseudo + message):
        return None
    kind, code, _, identifier, sequence = _ECHO.unpack_from(message)
    if code or kind not in _TYPES[protocol]:
        return None
    return Echo(
        source=ip_address(source),
        destination=ip_address(destination),
        identifier=identifier,
        sequence=sequence,
        payload=message[_ECHO.size :],
        reply=kind == _TYPES[protocol][1],
    )


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071); 0 over data that holds its own."""
    if len(data) % 2:
        data += b"\0"
    total = int.from_bytes(data, "big")
    # 2^16 is 1 modulo 65535, so the remainder of the whole is the one's complement sum of its words; only the
    # sum of nothing but zeros is +0, and every other that comes to zero is -0, whose complement is 0.
    return 0xFFFF - (total % 0xFFFF or (0xFFFF if total else 0))


def _with_checksum(data: bytes, offset: int, pseudo: bytes) -> bytes:
    return data[:offset] + checksum(pseudo + data).to_bytes(2, "big") + data[offset + 2 :]
