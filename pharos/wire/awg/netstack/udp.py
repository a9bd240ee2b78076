"""UDP datagrams in IP packets, checksums included (RFC 768, RFC 8200 §8.1)."""

from __future__ import annotations

from struct import Struct
from typing import Final

import attrs

from pharos.wire.awg.checksum import MODULUS, complement, word_sum
from pharos.wire.awg.netstack.ip import UDP, IpPacket, pseudo_sum

HEADER_BYTES: Final = 8
MAX_PAYLOAD: Final = 65_507
"""Over IPv4: 65,535 less 20 of IP and 8 of UDP. IPv6 would allow 20 more."""
_HEADER: Final = Struct(">HHHH")


@attrs.frozen
class UdpDatagram:
    """A datagram with the flow that it is of. Addresses are packed."""

    source: bytes
    source_port: int
    destination: bytes
    destination_port: int
    data: bytes


def parse_udp(packet: IpPacket) -> UdpDatagram | None:
    """Read the datagram in a whole packet; None if it is damaged."""
    segment = packet.payload
    if len(segment) < HEADER_BYTES:
        return None
    source_port, destination_port, length, check = _HEADER.unpack_from(segment)
    if not HEADER_BYTES <= length <= len(segment) or not destination_port or not source_port:
        # Without a source port nobody could be answered.
        return None
    segment = segment[:length]
    if check:
        total = word_sum(segment) + pseudo_sum(packet.source, packet.destination, UDP, length)
        if total % MODULUS:
            return None
    elif packet.version == 6:
        # Only IPv4 does without (RFC 8200 §8.1).
        return None
    return UdpDatagram(packet.source, source_port, packet.destination, destination_port, segment[HEADER_BYTES:])


def build_udp(datagram: UdpDatagram) -> bytes:
    """Return header and data: the payload of an IP packet."""
    length = HEADER_BYTES + len(datagram.data)
    ports = datagram.source_port, datagram.destination_port
    total = pseudo_sum(datagram.source, datagram.destination, UDP, length)
    total += word_sum(_HEADER.pack(*ports, length, 0) + datagram.data)
    # 0 would say that there is none.
    return _HEADER.pack(*ports, length, complement(total) or MODULUS) + datagram.data
