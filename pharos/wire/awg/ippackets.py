"""The few fields of inner IP packets that routing needs (RFC 791 §3.1, RFC 8200 §3)."""

from collections.abc import Sequence
from typing import Final

from pharos.wire.awg.batches import Packet, PacketRows
from pharos.wire.awg.strides import WORTHWHILE, strided

IPV4_HEADER_BYTES: Final = 20
IPV6_HEADER_BYTES: Final = 40


def source(packet: bytes) -> bytes:
    """The packed source address of a packet that ``trim`` or ``destination`` has accepted."""
    return packet[12:16] if packet[0] >> 4 == 4 else packet[8:24]


def destination(packet: Packet) -> bytes | None:
    """The packed destination address, or None if this is no IP packet."""
    size = len(packet)
    if size >= IPV4_HEADER_BYTES and packet[0] >> 4 == 4:
        return bytes(packet[16:20])
    if size >= IPV6_HEADER_BYTES and packet[0] >> 4 == 6:
        return bytes(packet[24:40])
    return None


def destinations(rows: PacketRows) -> Sequence[bytes | None]:
    """Likewise for each of several packets, all at once where they are of one family."""
    data, first, stride, count = rows.buffer.data, rows.first, rows.stride, len(rows)
    if count >= WORTHWHILE:
        least = min(rows.sizes)
        for version, header, layout in ((4, IPV4_HEADER_BYTES, ">B15x4s"), (6, IPV6_HEADER_BYTES, ">B23x16s")):
            if data[first] >> 4 == version and least >= header:
                fields = strided(layout, stride, count).unpack_from(data, first)
                if all(octet >> 4 == version for octet in set(fields[0::2])):
                    return fields[1::2]
    return [destination(packet) for packet in rows.views()]


def trim(plaintext: bytes) -> bytes | None:
    """Cut the padding off by the packet's own length field; None if this is no whole IP packet."""
    size = len(plaintext)
    if size >= IPV4_HEADER_BYTES and plaintext[0] >> 4 == 4:
        length = plaintext[2] << 8 | plaintext[3]
        least = IPV4_HEADER_BYTES
    elif size >= IPV6_HEADER_BYTES and plaintext[0] >> 4 == 6:
        length = IPV6_HEADER_BYTES + (plaintext[4] << 8 | plaintext[5])
        least = IPV6_HEADER_BYTES
    else:
        return None
    if not least <= length <= size:
        return None
    return plaintext if length == size else plaintext[:length]
