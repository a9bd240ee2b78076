"""Joining what came in pieces: packets of one flow become a large one, which Linux takes up once (GRO), without I/O.

Whoever has a large packet last computes new checksums for its pieces, so that a damaged one would come out whole. What
will be forwarded is therefore joined only after its checksums were verified; a damaged packet travels on as it came.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from struct import Struct
from typing import Final, TypeAlias

from pharos.wire.awg import ipfields as ip
from pharos.wire.awg.checksum import MODULUS, SWAP, complement, header_sum
from pharos.wire.awg.ippackets import IPV4_HEADER_BYTES, IPV6_HEADER_BYTES
from pharos.wire.awg.vnet import NEEDS_CHECKSUM, NOTHING_TO_DO, TCP4, TCP6, UDP, VNET_HEADER

MAX_JOINED_BYTES: Final = 65_535
"""What the length field of an IP header can say."""
MAX_JOINED_PACKETS: Final = 64
"""UDP_MAX_SEGMENTS of every kernel that can cut UDP; for TCP it is as good a bound."""

Frame: TypeAlias = list[bytes | memoryview]
"""What one write to the interface takes, in pieces: vnet header, first packet, further payloads."""
IsLocal: TypeAlias = Callable[[bytes], bool]
"""Whether a packed destination address is this machine's own, so that what goes there is not forwarded."""

_U16: Final = Struct(">H")
_LENGTH_AND_CHECKSUM: Final = Struct(">HH")
# IPv4 without options: 20 bytes, and no fragment though it may not become one, so that its identification means nothing
# (RFC 6864 §4). Everything else is left alone.
_PLAIN_IPV4: Final = 0x45
_DONT_FRAGMENT: Final = 0x4000
# A TCP packet with data and nothing else to say.
_ACK: Final = 0x10


_NEVER: Final = -1


class Coalescer:
    """Joins the packets of one batch; nothing is kept between batches, so that nothing waits for more to come.

    Without ``is_local`` every packet counts as one that is forwarded.
    """

    def __init__(self, *, udp: bool, is_local: IsLocal = lambda destination: False) -> None:
        self._udp = udp
        self._is_local = is_local

    def join(self, packets: Sequence[memoryview]) -> list[Frame]:
        """Return what to write to the interface, in an order that keeps each flow's own.

        The packets must be writable, for headers are rewritten in place, and stay unchanged until all is written.
        """
        frames: list[Frame] = []
        flows: dict[bytes, _Flow] = {}
        flow: _Flow | None = None
        at, count = 0, len(packets)
        while at < count:
            if flow is not None:
                at += flow.take_run(packets, at)
                if at == count:
                    break
            packet = packets[at]
            at += 1
            if flow is not None and flow.take(packet):
                continue
            key = _key(packet)
            flow = flows.pop(key, None)
            if flow is not None:
                if flow.take(packet):
                    flows[key] = flow
                    continue
                frames += flow.frames()
            flow = self._begin(packet)
            if flow is None:
                frames.append([NOTHING_TO_DO, packet])
            else:
                flows[key] = flow
        for flow in flows.values():
            frames += flow.frames()
        return frames

    def _begin(self, packet: memoryview) -> _Flow | None:
        """Return the flow that may go on with this packet, or None if it stands for itself."""
        size = len(packet)
        if packet[0] == _PLAIN_IPV4:
            start, protocol, destination = IPV4_HEADER_BYTES, packet[ip.IPV4_PROTOCOL], packet[16:20]
            (fragment,) = _U16.unpack_from(packet, ip.IPV4_FRAGMENT)
            if fragment != _DONT_FRAGMENT:
                return None
        elif packet[0] >> 4 == 6:
            start, protocol, destination = IPV6_HEADER_BYTES, packet[ip.IPV6_PROTOCOL], packet[24:40]
        else:
            return None
        if protocol == ip.PROTOCOL_TCP and size > start + ip.TCP_LEAST:
            head = start + (packet[start + ip.TCP_LENGTH] >> 4) * 4
            if packet[start + ip.TCP_FLAGS] != _ACK or not start + ip.TCP_LEAST <= head < size:
                return None
        elif protocol == ip.PROTOCOL_UDP and self._udp and size > start + ip.UDP_BYTES:
            head = start + ip.UDP_BYTES
            length, checksum = _LENGTH_AND_CHECKSUM.unpack_from(packet, start + ip.UDP_LENGTH)
            # Without a checksum it is not to get one.
            if length != size - start or not checksum:
                return None
        else:
            return None
        return _Flow(packet, start, head, verify=not self._is_local(bytes(destination)))


class _Flow:
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

    def take_run(self, packets: Sequence[memoryview], first: int) -> int:
        """Take packets from the ``first`` on for as long as each just comes next, and return how many.

        The loop runs once per packet; what ends it is for ``take`` to look at.
        """
        if not self._tcp:
            return 0
        head, mask, step, count_up, expected = self._head, self._mask, self._step, self._count_up, self._expected
        room = min(MAX_JOINED_PACKETS - len(self._packets), (MAX_JOINED_BYTES - self._total) // step)
        length, payloads, taken = head + step, self._payloads, 0
        from_bytes = int.from_bytes
        for packet in packets[first : first + room]:
            if from_bytes(packet[:head], "big") & mask != expected or len(packet) != length:
                break
            payloads.append(packet[head:])
            expected += count_up
            taken += 1
        self._packets += packets[first : first + taken]
        self._total += taken * step
        self._expected = expected
        return taken

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
            length, checksum = _LENGTH_AND_CHECKSUM.unpack_from(packet, self._start + ip.UDP_LENGTH)
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
        """Whether the packets have the right checksums: all of them, in one sum.

        It is as good as one sum for each: a damaged packet spoils it, and that the damage of several cancels out is as
        likely as that a checksum does not notice. Who could choose the damage could choose checksums.
        """
        packets = self._packets
        total = 0
        for packet in packets:
            total += int.from_bytes(packet, "little")
        total = (total << SWAP) + len(packets) * _constant(packets[0], self._start)
        if self._version4:
            total += sum(map(len, packets))
        return total % MODULUS == 0


def _key(packet: memoryview) -> bytes:
    """Return addresses and ports, or what stands there instead; empty for what is no IP packet."""
    if packet[0] >> 4 == 4:
        return bytes(packet[12:24])
    return bytes(packet[8:44])


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


def _constant(packet: memoryview, start: int) -> int:
    """Return what the sum of a whole packet lacks of the sum that its checksum makes zero; in IPv4 its length, too.

    A right IPv4 header sums up to zero by itself.
    """
    if start == IPV4_HEADER_BYTES:
        return header_sum(packet[ip.IPV4_ADDRESSES]) + packet[ip.IPV4_PROTOCOL] - start
    # The addresses and the length are in the header as they are in the pseudo header.
    return packet[ip.IPV6_PROTOCOL] - header_sum(packet[:4]) - header_sum(packet[6:8])
