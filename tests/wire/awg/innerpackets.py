"""Inner packets of TCP and UDP, made and taken apart the plain way, to check the quick way by."""

from __future__ import annotations

import struct
from ipaddress import ip_address

import attrs

from pharos.wire.awg.batches import PacketRows, SlicedBuffer
from pharos.wire.awg.icmp import checksum
from pharos.wire.awg.vnet import NEEDS_CHECKSUM, TCP4, TCP6, UDP, VNET_HEADER

ACK, PSH, FIN, SYN = 0x10, 0x08, 0x01, 0x02


@attrs.frozen(kw_only=True)
class Segment:
    """A packet of TCP or UDP, and what of it varies."""

    version: int = 4
    tcp: bool = True
    payload: bytes = b""
    sequence: int = 1000
    flags: int = ACK
    options: bytes = bytes(12)
    identification: int = 7
    fragment: int = 0x4000
    source_port: int = 40000
    window: int = 500

    @property
    def addresses(self) -> bytes:
        names = ("10.7.0.2", "10.7.0.1") if self.version == 4 else ("fd00::2", "fd00::1")
        return b"".join(ip_address(name).packed for name in names)

    @property
    def start(self) -> int:
        return 20 if self.version == 4 else 40

    @property
    def head(self) -> int:
        return self.start + (20 + len(self.options) if self.tcp else 8)

    def build(self, *, partial: bool = False) -> bytearray:
        """Return the packet, with a whole checksum or, ``partial``, the pseudo header's sum in its place."""
        protocol = 6 if self.tcp else 17
        length = self.head - self.start + len(self.payload)
        if self.tcp:
            words = (20 + len(self.options)) // 4
            header = struct.pack(
                ">HHIIBBHHH", self.source_port, 5001, self.sequence, 99, words << 4, self.flags, self.window, 0, 0
            )
            header += self.options
            field = 16
        else:
            header, field = struct.pack(">HHHH", self.source_port, 5001, length & 0xFFFF, 0), 6
        pseudo = self.addresses + struct.pack(">II", length, protocol)
        value = 0xFFFF - checksum(pseudo) if partial else checksum(pseudo + header + self.payload)
        if not self.tcp:
            value = value or 0xFFFF
        body = header[:field] + struct.pack(">H", value) + header[field + 2 :] + self.payload
        if self.version == 4:
            first = struct.pack(
                ">BBHHHBBH", 0x45, 0, (20 + length) & 0xFFFF, self.identification, self.fragment, 64, protocol, 0
            )
            own = checksum(first + self.addresses)
            return bytearray(first[:10] + struct.pack(">H", own) + self.addresses + body)
        return bytearray(struct.pack(">IHBB", 6 << 28, length & 0xFFFF, protocol, 64) + self.addresses + body)

    def uncut(self, size: int) -> bytes:
        """Return the packet as Linux hands it over, to be cut into payloads of ``size`` bytes."""
        kind = (TCP4 if self.version == 4 else TCP6) if self.tcp else UDP
        field = 16 if self.tcp else 6
        header = VNET_HEADER.pack(NEEDS_CHECKSUM, kind, self.head, size, self.start, field)
        return header + bytes(self.build(partial=True))

    def pieces(self, size: int) -> list[Segment]:
        """Return what it is to become."""
        parts = [self.payload[at : at + size] for at in range(0, len(self.payload), size)]
        return [
            attrs.evolve(
                self,
                payload=part,
                sequence=(self.sequence + number * size) % 2**32,
                identification=(self.identification + number) % 2**16,
                flags=self.flags if number == len(parts) - 1 else self.flags & ~(PSH | FIN),
            )
            for number, part in enumerate(parts)
        ]


def in_rows(packets) -> PacketRows:
    """Put packets at equal distances, as a TUN interface's reads do."""
    stride = max(map(len, packets)) + 11
    buffer = SlicedBuffer(stride * len(packets))
    for number, packet in enumerate(packets):
        buffer.view[number * stride + 10 : number * stride + 10 + len(packet)] = packet
    return PacketRows(buffer, 10, stride, [len(packet) for packet in packets])
