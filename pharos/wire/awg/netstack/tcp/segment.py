"""TCP segments, out of IP packets and into them (RFC 9293 §3.1)."""

from __future__ import annotations

from struct import Struct
from typing import Final

import attrs

from pharos.wire.awg.checksum import MODULUS, SWAP, header_sum, swapped_sum
from pharos.wire.awg.netstack.tcp.flow import Flow
from pharos.wire.awg.netstack.tcp.options import (
    TIMESTAMP_LEAD,
    Block,
    SynOptions,
    Timestamp,
    build_blocks,
    build_syn_options,
    build_timestamp,
    parse_options,
)

FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10

PROTOCOL: Final = 6
HEADER_BYTES: Final = 20
_HOP_LIMIT: Final = 64
_FLAGS: Final = 0x3F
"""Without those of ECN, which we do not offer."""
_FIELDS: Final = Struct(">HHIIHH")
_LEAD_AND_TIMESTAMP: Final = Struct(">4sII")
_WITH_TIMESTAMP: Final = 8
"""Header length in words where timestamps are the only option, as in nearly all segments."""
_IP4: Final = Struct(">HHIHH8sIIIHHHH")
_IP6: Final = Struct(">IHH32sIIIHHHH")
_IP4_BYTES: Final = 20
_IP6_BYTES: Final = 40
_IP4_FIRST: Final = 0x4500
_IP4_DONT_FRAGMENT: Final = 0x4000
_IP4_TTL: Final = _HOP_LIMIT << 8 | PROTOCOL
_IP6_FIRST: Final = 6 << 28
_IP6_NEXT: Final = PROTOCOL << 8 | _HOP_LIMIT

NO_SYN_OPTIONS: Final = SynOptions()


@attrs.define(eq=False)
class Segment:
    """One segment; numbers are those of the wire, 32 bits."""

    source_port: int
    destination_port: int
    seq: int
    ack: int
    flags: int
    """FIN, SYN, RST, PSH and ACK."""
    window: int
    """Not scaled."""
    payload: bytes = b""
    timestamp: Timestamp | None = None
    blocks: tuple[Block, ...] = ()
    """Of SACK."""
    syn_options: SynOptions = NO_SYN_OPTIONS

    @property
    def length(self) -> int:
        """How many sequence numbers it takes: octets, SYN and FIN."""
        return len(self.payload) + (self.flags & FIN) + (self.flags >> 1 & 1)


def parse_segment(packet: bytes, start: int) -> Segment | None:
    """Read the segment that begins at ``start`` of a whole IP packet that ends with it; None if it is damaged.

    The checksum is verified, with the addresses of the packet.
    """
    size = len(packet) - start
    if size < HEADER_BYTES:
        return None
    addresses = packet[12:20] if packet[0] >> 4 == 4 else packet[8:40]
    if ((swapped_sum(packet[start:]) << SWAP) + header_sum(addresses) + PROTOCOL + size) % MODULUS:
        return None
    source, destination, seq, ack, length_and_flags, window = _FIELDS.unpack_from(packet, start)
    words = length_and_flags >> 12
    payload = start + words * 4
    if words == _WITH_TIMESTAMP and size >= words * 4:
        lead, value, echo = _LEAD_AND_TIMESTAMP.unpack_from(packet, start + HEADER_BYTES)
        if lead == TIMESTAMP_LEAD:
            flags = length_and_flags & _FLAGS
            return Segment(source, destination, seq, ack, flags, window, packet[payload:], (value, echo))
    if words < HEADER_BYTES // 4 or size < words * 4:
        return None
    options = parse_options(packet[start + HEADER_BYTES : payload])
    return Segment(
        source,
        destination,
        seq,
        ack,
        length_and_flags & _FLAGS,
        window,
        packet[payload:],
        options.timestamp,
        options.blocks,
        options.syn,
    )


class PacketWriter:
    """Makes the packets of one flow: what they have in common is looked at once."""

    __slots__ = ("_addresses", "_ip_sum", "_ports", "_sum", "_version4", "header")

    def __init__(self, flow: Flow) -> None:
        self._addresses = flow.local + flow.remote
        self._ports = flow.local_port << 16 | flow.remote_port
        self._version4 = len(flow.local) == 4
        self._ip_sum = _IP4_FIRST + _IP4_DONT_FRAGMENT + _IP4_TTL + header_sum(self._addresses)
        self._sum = header_sum(self._addresses) + PROTOCOL + self._ports
        self.header = (_IP4_BYTES if self._version4 else _IP6_BYTES) + HEADER_BYTES
        """Bytes in front of options and payload."""

    def write(
        self, seq: int, ack: int, flags: int, window: int, options: bytes, payload: bytes | memoryview = b""
    ) -> bytes:
        """Return a whole IP packet. Numbers are those of the wire; options are a multiple of four bytes.

        What may not be cut needs no identification (RFC 6864 §4.1).
        """
        head = HEADER_BYTES + len(options)
        size = head + len(payload)
        first = head << 10 | flags
        # 2^16 is 1 modulo 65535: a number of 32 bits counts as its two words.
        total = self._sum + size + seq + ack + first + window
        if options:
            total += int.from_bytes(options, "big")
        if payload:
            total += swapped_sum(payload) << SWAP
        check = -total % MODULUS
        if self._version4:
            length = _IP4_BYTES + size
            ip_check = -(self._ip_sum + length) % MODULUS
            header = _IP4.pack(
                _IP4_FIRST, length, _IP4_DONT_FRAGMENT, _IP4_TTL, ip_check, self._addresses,
                self._ports, seq, ack, first, window, check, 0,
            )  # fmt: skip
        else:
            header = _IP6.pack(
                _IP6_FIRST, size, _IP6_NEXT, self._addresses, self._ports, seq, ack, first, window, check, 0
            )
        return b"".join((header, options, payload))


@attrs.define
class Header:
    """What all packets of one moment have in common."""

    writer: PacketWriter
    ack: int
    window: int
    """As on the wire, both."""
    options: bytes
    stamp: int
    """The timestamp in the options, or what it would be."""


def build_packet(flow: Flow, segment: Segment) -> bytes:
    """Return the whole IP packet of a segment; its ports are those of the flow."""
    options = b""
    if segment.syn_options != NO_SYN_OPTIONS:
        options = build_syn_options(segment.syn_options, segment.timestamp)
    elif segment.timestamp is not None:
        options = build_timestamp(segment.timestamp)
    if segment.blocks:
        options += build_blocks(segment.blocks)
    writer = PacketWriter(flow)
    return writer.write(segment.seq, segment.ack, segment.flags, segment.window, options, segment.payload)
