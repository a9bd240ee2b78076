"""Joining what came in pieces: packets of one flow become a large one, which Linux takes up once (GRO), without I/O.

Whoever has a large packet last computes new checksums for its pieces, so that a damaged one would come out whole. What
will be forwarded is therefore joined only after its checksums were verified; a damaged packet travels on as it came.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import Struct
from typing import Final, TypeAlias

from pharos.wire.awg import ipfields as ip
from pharos.wire.awg.batches import PacketRows
from pharos.wire.awg.flows import LENGTH_AND_CHECKSUM, Flow, Frame
from pharos.wire.awg.ippackets import IPV4_HEADER_BYTES, IPV6_HEADER_BYTES
from pharos.wire.awg.vnet import NOTHING_TO_DO

IsLocal: TypeAlias = Callable[[bytes], bool]
"""Whether a packed destination address is this machine's own, so that what goes there is not forwarded."""

_U16: Final = Struct(">H")
# IPv4 without options: 20 bytes, and no fragment though it may not become one, so that its identification means nothing
# (RFC 6864 §4). Everything else is left alone.
_PLAIN_IPV4: Final = 0x45
_DONT_FRAGMENT: Final = 0x4000
# A TCP packet with data and nothing else to say.
_ACK: Final = 0x10


class Coalescer:
    """Joins the packets of one batch; nothing is kept between batches, so that nothing waits for more to come.

    Without ``is_local`` every packet counts as one that is forwarded.
    """

    def __init__(self, *, udp: bool, is_local: IsLocal = lambda destination: False) -> None:
        self._udp = udp
        self._is_local = is_local

    def join(self, packets: Sequence[memoryview], rows: PacketRows | None = None) -> list[Frame]:
        """Return what to write to the interface, in an order that keeps each flow's own.

        The packets must be writable, for headers are rewritten in place, and stay unchanged until all is written.
        ``rows`` is where the first of them stand, if they are of one size and at equal distances.
        """
        frames: list[Frame] = []
        flows: dict[bytes, Flow] = {}
        flow: Flow | None = None
        at, count = 0, len(packets)
        while at < count:
            if flow is not None:
                at += flow.take_run(packets, at, rows)
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

    def _begin(self, packet: memoryview) -> Flow | None:
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
            length, checksum = LENGTH_AND_CHECKSUM.unpack_from(packet, start + ip.UDP_LENGTH)
            # Without a checksum it is not to get one.
            if length != size - start or not checksum:
                return None
        else:
            return None
        return Flow(packet, start, head, verify=not self._is_local(bytes(destination)))


def _key(packet: memoryview) -> bytes:
    """Return addresses and ports, or what stands there instead; empty for what is no IP packet."""
    if packet[0] >> 4 == 4:
        return bytes(packet[12:24])
    return bytes(packet[8:44])
