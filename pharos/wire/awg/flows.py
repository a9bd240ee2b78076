"""One flow out of a batch: its packets, and the large one that stands for them."""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterable, Sequence
from itertools import repeat
from struct import Struct
from typing import Final, TypeAlias

from pharos.wire.awg import ipfields as ip
from pharos.wire.awg.batches import PacketRows
from pharos.wire.awg.checksum import MODULUS, SWAP, complement, header_sum, swapped_sum
from pharos.wire.awg.ippackets import IPV4_HEADER_BYTES
from pharos.wire.awg.strides import WORTHWHILE, strided
from pharos.wire.awg.vnet import NEEDS_CHECKSUM, NOTHING_TO_DO, TCP4, TCP6, UDP, VNET_HEADER

MAX_JOINED_BYTES: Final = 65_535
"""What the length field of an IP header can say."""
MAX_JOINED_PACKETS: Final = 64
"""UDP_MAX_SEGMENTS of every kernel that can cut UDP; for TCP it is as good a bound."""

Frame: TypeAlias = list[bytes | memoryview]
"""What one write to the interface takes, in pieces: vnet header, first packet, further payloads."""

LENGTH_AND_CHECKSUM: Final = Struct(">HH")
_U16: Final = Struct(">H")
_NEVER: Final = -1
# Where `_layout` has the sequence number.
_SEQUENCE_PLACE: Final = 3


class Flow:
    """A packet and those that continue it: equal headers but for lengths, checksums and what counts up."""

    __slots__ = (
        "_count_up",
        "_expected",
        "_head",
        "_mask",
        "_packets",
        "_payloads",
        "_push",
        "_pushed",
        "_start",
        "_step",
        "_tcp",
        "_total",
        "_verify",
        "_version4",
    )

    def __init__(self, packet: memoryview, start: int, head: int, *, verify: bool) -> None:
        self._packets = [packet]
        self._payloads: list[memoryview] = []
        self._start = start
        self._head = head
        self._step = len(packet) - head
        self._total = len(packet)
        self._version4 = start == IPV4_HEADER_BYTES
        self._tcp = head - start >= ip.TCP_LEAST
        self._mask = _mask(start, head)
        number = int.from_bytes(packet[:head], "big") & self._mask
        self._push = self._count_up = 0
        self._pushed = False
        if self._tcp:
            self._push = ip.PSH << 8 * (head - start - ip.TCP_FLAGS - 1)
            # Past 2^32 it runs into the ports, which ends the flow; the next packet begins another.
            self._count_up = self._step << 8 * (head - start - ip.TCP_SEQUENCE - 4)
        self._expected = number + self._count_up
        self._verify = verify

    def take_run(self, packets: Sequence[memoryview], first: int, rows: PacketRows | None) -> int:
        """Take packets from the ``first`` on for as long as each just comes next, and return how many.

        What ends it is for ``take`` to look at.
        """
        if not self._tcp or self._expected == _NEVER:
            return 0
        head, step = self._head, self._step
        room = min(MAX_JOINED_PACKETS - len(self._packets), (MAX_JOINED_BYTES - self._total) // step)
        if rows is not None and len(rows) - first >= WORTHWHILE:
            taken = self._count_even(rows, first, min(room, len(rows) - first)) if rows.sizes[0] == head + step else 0
            self._payloads += rows.buffer.rows(rows.first + head, step, rows.stride)[first : first + taken]
        else:
            taken = self._count(packets[first : first + room])
            self._payloads += [packet[head:] for packet in packets[first : first + taken]]
        self._packets += packets[first : first + taken]
        self._total += taken * step
        self._expected += taken * self._count_up
        return taken

    def _count(self, packets: Sequence[memoryview]) -> int:
        head, mask, count_up, expected = self._head, self._mask, self._count_up, self._expected
        length, taken, from_bytes = head + self._step, 0, int.from_bytes
        for packet in packets:
            if from_bytes(packet[:head], "big") & mask != expected or len(packet) != length:
                break
            expected += count_up
            taken += 1
        return taken

    def _count_even(self, rows: PacketRows, first: int, count: int) -> int:
        """Do the same for packets at equal distances, all of them at one go."""
        layout = _layout(self._start, self._head)
        fields = strided(layout, rows.stride, count).unpack_from(rows.buffer.data, rows.first + first * rows.stride)
        wanted = struct.unpack_from(layout, self._packets[0])
        width, step = len(wanted), self._step
        number = wanted[_SEQUENCE_PLACE] + len(self._packets) * step
        # Past 2^32 they agree with nothing, which ends the flow.
        sequences = range(number, number + count * step, step)
        for place, value in enumerate(wanted):
            found = fields[place::width]
            if place == _SEQUENCE_PLACE:
                if found != tuple(sequences):
                    count = min(count, _agreement(found, sequences))
            elif found.count(value) != len(found):
                count = min(count, _agreement(found, repeat(value)))
        return count

    def take(self, packet: memoryview) -> bool:
        """Take the packet that comes next, or leave it."""
        head = self._head
        number = int.from_bytes(packet[:head], "big")
        payload = len(packet) - head
        expected = self._expected
        if number & self._mask == expected:
            pushed = False
        elif expected != _NEVER and number & self._mask == expected | self._push:
            pushed = True
        else:
            return False
        if (
            not 0 < payload <= self._step
            or self._total + payload > MAX_JOINED_BYTES
            or len(self._payloads) >= MAX_JOINED_PACKETS - 1
        ):
            return False
        if not self._tcp:
            length, checksum = LENGTH_AND_CHECKSUM.unpack_from(packet, self._start + ip.UDP_LENGTH)
            # What stands behind a datagram of its own length, such as UDP options, would become payload.
            if length != len(packet) - self._start or not checksum:
                return False
        self._packets.append(packet)
        self._payloads.append(packet[head:])
        self._total += payload
        self._pushed = pushed
        # A short packet or a pushed one is the last: what Linux makes of it looks the same.
        self._expected = _NEVER if pushed or payload < self._step else expected + self._count_up
        return True

    def frames(self) -> list[Frame]:
        """Return what to write; the flow is over."""
        if not self._payloads or (self._verify and not self._intact()):
            return [[NOTHING_TO_DO, packet] for packet in self._packets]
        packet, start, total = self._packets[0], self._start, self._total
        if self._version4:
            _U16.pack_into(packet, ip.IPV4_LENGTH, total)
            _U16.pack_into(packet, ip.IPV4_CHECKSUM, 0)
            _U16.pack_into(packet, ip.IPV4_CHECKSUM, complement(header_sum(packet[:start])))
            addresses = packet[ip.IPV4_ADDRESSES]
        else:
            _U16.pack_into(packet, ip.IPV6_LENGTH, total - start)
            addresses = packet[ip.IPV6_ADDRESSES]
        if self._tcp:
            kind, protocol, field = TCP4 if self._version4 else TCP6, ip.PROTOCOL_TCP, ip.TCP_CHECKSUM
            if self._pushed:
                packet[start + ip.TCP_FLAGS] |= ip.PSH
        else:
            kind, protocol, field = UDP, ip.PROTOCOL_UDP, ip.UDP_CHECKSUM
            _U16.pack_into(packet, start + ip.UDP_LENGTH, total - start)
        pseudo = (header_sum(addresses) + protocol + total - start) % MODULUS
        _U16.pack_into(packet, start + field, pseudo)
        header = VNET_HEADER.pack(NEEDS_CHECKSUM, kind, self._head, self._step, start, field)
        return [[header, packet, *self._payloads]]

    def _intact(self) -> bool:
        """Whether every packet has the right checksum of its own: exchanged words of two would not show in one sum."""
        start, version4 = self._start, self._version4
        constant = _constant(self._packets[0], start)
        for packet in self._packets:
            # What is wrong with the header is not to be made up for by what is wrong behind it.
            if version4 and header_sum(packet[:start]):
                return False
            if ((swapped_sum(packet) << SWAP) + constant + (len(packet) if version4 else 0)) % MODULUS:
                return False
        return True


@functools.cache
def _mask(start: int, head: int) -> int:
    """Return which bits of headers of this size are the same in all packets of a flow, the sequence number counted up.

    There are two kinds of start and twelve of head, so that the cache stays small.
    """
    mask = bytearray(b"\xff" * head)
    fields = [(ip.IPV6_LENGTH, 2)]
    if start == IPV4_HEADER_BYTES:
        fields = [(ip.IPV4_LENGTH, 2), (ip.IPV4_IDENTIFICATION, 2), (ip.IPV4_CHECKSUM, 2)]
    if head - start >= ip.TCP_LEAST:
        fields += [(start + ip.TCP_CHECKSUM, 2)]
    else:
        fields += [(start + ip.UDP_LENGTH, 2), (start + ip.UDP_CHECKSUM, 2)]
    for at, size in fields:
        mask[at : at + size] = bytes(size)
    return int.from_bytes(mask, "big")


@functools.cache
def _layout(start: int, head: int) -> str:
    """Return which fields of TCP's and IP's headers are compared, the sequence number in its place among them."""
    # Up to the ports; of IPv4 all but identification and checksum, which stands for the rest of a header.
    before = "4s2x4s2x12s" if start == IPV4_HEADER_BYTES else "2s2s40s"
    return f">{before}I8s2x{head - start - ip.TCP_CHECKSUM - 2}s"


def _agreement(found: Sequence[object], wanted: Iterable[object]) -> int:
    """Return how many of ``found`` are as wanted, from the first on."""
    return next(number for number, (one, other) in enumerate(zip(found, wanted, strict=False)) if one != other)


def _constant(packet: memoryview, start: int) -> int:
    """Return what the sum of a whole packet lacks of the sum that its checksum makes zero; in IPv4 its length, too.

    A right IPv4 header sums up to zero by itself.
    """
    if start == IPV4_HEADER_BYTES:
        return header_sum(packet[ip.IPV4_ADDRESSES]) + packet[ip.IPV4_PROTOCOL] - start
    # The addresses and the length are in the header as they are in the pseudo header.
    return packet[ip.IPV6_PROTOCOL] - header_sum(packet[:4]) - header_sum(packet[6:8])
