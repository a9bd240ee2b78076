"""Errors that ICMP tells of: read to the flow they are about, and made (RFC 792, RFC 4443, RFC 1191, RFC 8201)."""

from __future__ import annotations

import enum
import errno
from struct import Struct
from typing import Final

import attrs

from pharos.wire.awg.checksum import complement, word_sum
from pharos.wire.awg.ippackets import IPV4_HEADER_BYTES, IPV6_HEADER_BYTES
from pharos.wire.awg.netstack.ip import (
    ICMP,
    ICMPV6,
    IPV4_LEAST_MTU,
    IPV6_LEAST_MTU,
    TCP,
    UDP,
    IpPacket,
    build_ip,
    pseudo_sum,
)

_HEADER: Final = Struct(">BBHI")
_PORTS: Final = Struct(">HHI")
_MAX_QUOTED4: Final = 548
"""Bytes of the packet in question: with 28 of headers they make the 576 that RFC 1812 §4.3.2.3 allows."""
_MAX_QUOTED6: Final = 1232
"""With 48 of headers they make the least MTU (RFC 4443 §3.1)."""
_PLATEAUS: Final = (32000, 17914, 8166, 4352, 2002, 1492, 1006, 508)
"""RFC 1191 §7: for routers that do not say what would fit."""


class Problem(enum.Enum):
    """Why a packet did not arrive."""

    NETWORK_UNREACHABLE = enum.auto()
    HOST_UNREACHABLE = enum.auto()
    PROTOCOL_UNREACHABLE = enum.auto()
    PORT_UNREACHABLE = enum.auto()
    PROHIBITED = enum.auto()
    TOO_BIG = enum.auto()
    TIME_EXCEEDED = enum.auto()


# What both versions call each, as type and code; the first of several is the one we send.
_CODES: Final = {
    4: {
        (3, 0): Problem.NETWORK_UNREACHABLE,
        (3, 1): Problem.HOST_UNREACHABLE,
        (3, 2): Problem.PROTOCOL_UNREACHABLE,
        (3, 3): Problem.PORT_UNREACHABLE,
        (3, 13): Problem.PROHIBITED,
        (3, 4): Problem.TOO_BIG,
        (11, 0): Problem.TIME_EXCEEDED,
        (3, 5): Problem.HOST_UNREACHABLE,
        (3, 6): Problem.NETWORK_UNREACHABLE,
        (3, 7): Problem.HOST_UNREACHABLE,
        (3, 9): Problem.PROHIBITED,
        (3, 10): Problem.PROHIBITED,
        (3, 11): Problem.NETWORK_UNREACHABLE,
        (3, 12): Problem.HOST_UNREACHABLE,
    },
    6: {
        (1, 0): Problem.NETWORK_UNREACHABLE,
        (1, 3): Problem.HOST_UNREACHABLE,
        (4, 1): Problem.PROTOCOL_UNREACHABLE,
        (1, 4): Problem.PORT_UNREACHABLE,
        (1, 1): Problem.PROHIBITED,
        (2, 0): Problem.TOO_BIG,
        (3, 0): Problem.TIME_EXCEEDED,
        (1, 2): Problem.HOST_UNREACHABLE,
        (1, 5): Problem.PROHIBITED,
        (1, 6): Problem.PROHIBITED,
    },
}
_SENT: Final = {
    version: {problem: code for code, problem in reversed(codes.items())} for version, codes in _CODES.items()
}


_NUMBERS: Final = {
    Problem.NETWORK_UNREACHABLE: (errno.ENETUNREACH, "there is no way to that network"),
    Problem.HOST_UNREACHABLE: (errno.EHOSTUNREACH, "there is no way to that host"),
    Problem.PROTOCOL_UNREACHABLE: (errno.ENOPROTOOPT, "the host does not speak that protocol"),
    Problem.PORT_UNREACHABLE: (errno.ECONNREFUSED, "nobody listens there"),
    Problem.PROHIBITED: (errno.EACCES, "a firewall on the way forbids it"),
    Problem.TIME_EXCEEDED: (errno.EHOSTUNREACH, "the way does not end: packets go round in circles"),
    Problem.TOO_BIG: (errno.EMSGSIZE, "the packet was too big for the way"),
}


@attrs.frozen(kw_only=True)
class IcmpError:
    """What became of a packet that we sent."""

    problem: Problem
    mtu: int = 0
    """Bytes that would have fitted, with TOO_BIG."""
    protocol: int
    """Of the packet in question; `TCP` or `UDP`."""
    source: bytes
    destination: bytes
    """Packed, both of the packet in question: the source is ours."""
    source_port: int
    destination_port: int
    sequence: int
    """TCP's; without meaning for UDP."""


def parse_icmp_error(packet: IpPacket) -> IcmpError | None:
    """Read one from a packet of ICMP's; None if it is damaged or anything else."""
    message = packet.payload
    if len(message) < _HEADER.size or not _is_intact(packet, message):
        return None
    kind, code, _, value = _HEADER.unpack_from(message)
    problem = _CODES[packet.version].get((kind, 0 if packet.version == 6 and kind == 2 else code))
    if problem is None:
        return None
    quoted = message[_HEADER.size :]
    found = _quoted_flow(quoted, packet.version)
    if found is None:
        return None
    protocol, source, destination, at = found
    source_port, destination_port, sequence = _PORTS.unpack_from(quoted, at)
    mtu = 0
    if problem is Problem.TOO_BIG:
        mtu = value & 0xFFFF if packet.version == 4 else value
        if packet.version == 4:
            mtu = max(mtu or _plateau(int.from_bytes(quoted[2:4], "big")), IPV4_LEAST_MTU)
        mtu = max(mtu, IPV6_LEAST_MTU) if packet.version == 6 else mtu
    return IcmpError(
        problem=problem,
        mtu=mtu,
        protocol=protocol,
        source=source,
        destination=destination,
        source_port=source_port,
        destination_port=destination_port,
        sequence=sequence,
    )


def build_icmp_error(problem: Problem, about: bytes, source: bytes, *, mtu: int = 0) -> bytes:
    """Make the packet that tells the sender of the packet ``about``, from our packed address ``source``."""
    version = 4 if len(source) == 4 else 6
    destination = about[12:16] if version == 4 else about[8:24]
    kind, code = _SENT[version][problem]
    quoted = about[: _MAX_QUOTED4 if version == 4 else _MAX_QUOTED6]
    protocol = ICMP if version == 4 else ICMPV6
    body = _HEADER.pack(kind, code, 0, mtu) + quoted
    pseudo = 0 if version == 4 else pseudo_sum(source, destination, protocol, len(body))
    check = complement(word_sum(body) + pseudo)
    return build_ip(source, destination, protocol, body[:2] + check.to_bytes(2, "big") + body[4:])


def deserves_answer(packet: IpPacket) -> bool:
    """Whether an error about a packet may be sent at all: never about an error, or to or from more than one host.

    (RFC 1122 §3.2.2, RFC 4443 §2.4)
    """
    if packet.fragment is not None and packet.fragment.offset:
        return False
    if not (is_unicast(packet.source) and is_unicast(packet.destination)):
        return False
    if packet.protocol == ICMP:
        return packet.payload[:1] == b"\x08"
    return packet.protocol != ICMPV6 or packet.payload[:1] >= b"\x80"


def is_unicast(address: bytes) -> bool:
    """Whether a packed address stands for one host: neither all, nor none, nor a group."""
    if len(address) == 4:
        return 0 < address[0] < 224
    return address[0] != 0xFF and any(address)


def _is_intact(packet: IpPacket, message: bytes) -> bool:
    pseudo = 0
    if packet.version == 6:
        pseudo = pseudo_sum(packet.source, packet.destination, ICMPV6, len(message))
    return (word_sum(message) + pseudo) % 0xFFFF == 0


def _plateau(length: int) -> int:
    return next((plateau for plateau in _PLATEAUS if plateau < length), IPV4_LEAST_MTU)


def _quoted_flow(quoted: bytes, version: int) -> tuple[int, bytes, bytes, int] | None:
    """Return protocol, both addresses and where the ports stand in the first bytes of a packet of ours.

    What we send has no extension headers but a fragment's, and of fragments only the first has ports.
    """
    if version == 4:
        if len(quoted) < IPV4_HEADER_BYTES or quoted[0] >> 4 != 4 or int.from_bytes(quoted[6:8], "big") & 0x1FFF:
            return None
        protocol, at = quoted[9], (quoted[0] & 0xF) * 4
        source, destination = quoted[12:16], quoted[16:20]
    else:
        if len(quoted) < IPV6_HEADER_BYTES or quoted[0] >> 4 != 6:
            return None
        protocol, at = quoted[6], IPV6_HEADER_BYTES
        source, destination = quoted[8:24], quoted[24:40]
        if protocol == 44 and len(quoted) >= at + 8 and not int.from_bytes(quoted[at + 2 : at + 4], "big") & ~7:
            protocol, at = quoted[at], at + 8
    if protocol not in (TCP, UDP) or at < IPV4_HEADER_BYTES or len(quoted) < at + _PORTS.size:
        return None
    return protocol, source, destination, at


def error_of(problem: Problem) -> OSError:
    """Return the error that a socket would raise (RFC 1122 §4.2.3.9, ip(7)); Python chooses the subclass."""
    return OSError(*_NUMBERS[problem])
