"""Cutting what Linux hands over uncut: one large TCP or UDP packet becomes those that travel (TSO, USO), without I/O.

The headers of a flow's packets differ in few fields. What stays is summed once, so that each packet costs a copy and
the sum of its payload.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from struct import Struct, calcsize
from typing import Final, TypeAlias

import attrs

from pharos.wire.awg import ipfields as ip
from pharos.wire.awg.batches import MAX_BATCH_SEGMENTS, SlicedBuffer
from pharos.wire.awg.checksum import MODULUS, SWAP, complement, header_sum, swapped_sum, word_sum
from pharos.wire.awg.ippackets import IPV4_HEADER_BYTES, IPV6_HEADER_BYTES
from pharos.wire.awg.vnet import NEEDS_CHECKSUM, TCP4, TCP6, UDP, VNET_BYTES, VNET_HEADER, WHOLE

MAX_UNCUT_BYTES: Final = 65_536
"""Of one packet from a TUN interface, whose ``gso_max_size`` cannot be set higher."""
MAX_CUT_BYTES: Final = 256 * 1024
"""What it can become: the least segment Linux cuts is 48 bytes (tcp_min_snd_mss), its headers at most 100 with IPv6 and
without extensions: 65,536 / 48 * 148 is 202,000."""

Views: TypeAlias = Sequence[memoryview]

_U16: Final = Struct(">H")
_U32: Final = Struct(">I")
_MAX_U16: Final = 2**16 - 1
_MAX_U32: Final = 2**32 - 1


def cut(frame: SlicedBuffer, size: int, into: SlicedBuffer) -> Sequence[memoryview]:
    """Return the packets that one read of ``size`` bytes stands for, a vnet header in front; nothing if it is damaged.

    A packet that is whole stays where it is, its checksum completed; others are written to ``into``, all of one size
    but the last. The views are valid until either buffer is used again.
    """
    if size < VNET_BYTES + IPV4_HEADER_BYTES:
        return ()
    flags, kind, _, payload, start, field = VNET_HEADER.unpack_from(frame.data)
    if kind == WHOLE:
        packet = frame.view[VNET_BYTES:size]
        if flags & NEEDS_CHECKSUM:
            if start + field + 2 > len(packet):
                return ()
            # The field holds the pseudo header's sum already, and so takes part in the whole one.
            _U16.pack_into(packet, start + field, complement(word_sum(packet[start:])) or MODULUS)
        return (packet,)
    plan = _plan(frame.view[VNET_BYTES:size], kind, payload, start)
    return () if plan is None else plan.write(frame, size, into)


@attrs.frozen(kw_only=True)
class _Header:
    """The headers of packets that carry equally many bytes, but for the fields that differ from one to the next."""

    layout: Struct
    """Of all headers: what stays as strings, between them the fields."""
    parts: tuple[bytearray, ...]
    """What stays."""
    network_sum: int
    """Of an IPv4 header without identification and checksum."""
    transport_sum: int
    """Of the pseudo header and the transport header without sequence number and checksum."""


@attrs.frozen(kw_only=True)
class _Plan:
    """How one uncut packet becomes many."""

    template: bytes
    """All its headers, with zeros in the fields that differ."""
    start: int
    """Where the transport header begins."""
    payload: int
    """Bytes that each packet carries; the last may carry fewer."""
    tcp: bool
    sequence: int = 0
    identification: int = 0
    last_flags: int = 0
    """Flags of TCP that belong on the last packet alone."""

    def write(self, frame: SlicedBuffer, size: int, into: SlicedBuffer) -> Sequence[memoryview]:
        """Write all packets, one after the other, and return them; nothing if there is no payload, or too much."""
        head, payload = len(self.template), self.payload
        first, length = VNET_BYTES + head, head + payload
        full, rest = divmod(size - first, payload)
        if not rest:
            full, rest = full - 1, payload
        end = full * length + head + rest
        if full < 0 or end > len(into):
            return ()
        packets = _slices(into, 0, length, length, full)
        sources = _slices(frame, first, payload, payload, full)
        places = _slices(into, head, payload, length, full)
        self._fill(into, 0, sources, places, last=False)
        self._fill(into, full, [frame.view[size - rest : size]], [into.view[end - rest : end]], last=True)
        packets.append(into.view[end - rest - head : end])
        return packets

    def _fill(self, into: SlicedBuffer, number: int, sources: Views, places: Views, *, last: bool) -> None:
        """Write the packets from the ``number``-th on that carry ``sources``."""
        if not sources:
            return
        header = self._header(len(sources[0]), last=last)
        moved = number * self.payload
        work = (into.data, number * (len(self.template) + self.payload), sources, places, header)
        if not self.tcp:
            if _is_version4(self.template):
                self._fill_udp4(*work, self.identification + number)
            else:
                self._fill_udp6(*work)
        elif _is_version4(self.template):
            self._fill_tcp4(*work, self.identification + number, self.sequence + moved)
        else:
            self._fill_tcp6(*work, self.sequence + moved)

    # The same loop four times: a choice or a call in it costs as much as a quarter of its work.

    def _fill_tcp4(
        self,
        data: bytearray,
        at: int,
        sources: Views,
        places: Views,
        header: _Header,
        identification: int,
        sequence: int,
    ) -> None:
        pack_into, network, transport = header.layout.pack_into, header.network_sum, header.transport_sum
        first, second, third, fourth, fifth = header.parts
        step = self.payload
        stride = len(self.template) + step
        for source, place in zip(sources, places, strict=False):
            place[:] = source
            identification &= _MAX_U16
            sequence &= _MAX_U32
            own = -(network + identification) % MODULUS
            checksum = -(transport + sequence + (swapped_sum(source) << SWAP)) % MODULUS
            pack_into(data, at, first, identification, second, own, third, sequence, fourth, checksum, fifth)
            identification += 1
            sequence += step
            at += stride

    def _fill_tcp6(
        self, data: bytearray, at: int, sources: Views, places: Views, header: _Header, sequence: int
    ) -> None:
        pack_into, transport = header.layout.pack_into, header.transport_sum
        first, second, third = header.parts
        step = self.payload
        stride = len(self.template) + step
        for source, place in zip(sources, places, strict=False):
            place[:] = source
            sequence &= _MAX_U32
            checksum = -(transport + sequence + (swapped_sum(source) << SWAP)) % MODULUS
            pack_into(data, at, first, sequence, second, checksum, third)
            sequence += step
            at += stride

    def _fill_udp4(
        self, data: bytearray, at: int, sources: Views, places: Views, header: _Header, identification: int
    ) -> None:
        pack_into, network, transport = header.layout.pack_into, header.network_sum, header.transport_sum
        first, second, third = header.parts
        stride = len(self.template) + self.payload
        for source, place in zip(sources, places, strict=False):
            place[:] = source
            identification &= _MAX_U16
            own = -(network + identification) % MODULUS
            checksum = -(transport + (swapped_sum(source) << SWAP)) % MODULUS or MODULUS
            pack_into(data, at, first, identification, second, own, third, checksum)
            identification += 1
            at += stride

    def _fill_udp6(self, data: bytearray, at: int, sources: Views, places: Views, header: _Header) -> None:
        pack_into, transport = header.layout.pack_into, header.transport_sum
        (first,) = header.parts
        stride = len(self.template) + self.payload
        for source, place in zip(sources, places, strict=False):
            place[:] = source
            pack_into(data, at, first, -(transport + (swapped_sum(source) << SWAP)) % MODULUS or MODULUS)
            at += stride

    def _header(self, payload: int, *, last: bool) -> _Header:
        header, start = bytearray(self.template), self.start
        # The transport header and what follows it.
        length = len(header) + payload - start
        if not self.tcp:
            _U16.pack_into(header, start + ip.UDP_LENGTH, length)
        elif last:
            header[start + ip.TCP_FLAGS] |= self.last_flags
        if _is_version4(header):
            _U16.pack_into(header, ip.IPV4_LENGTH, start + length)
            addresses = header[ip.IPV4_ADDRESSES]
        else:
            _U16.pack_into(header, ip.IPV6_LENGTH, start + length - IPV6_HEADER_BYTES)
            addresses = header[ip.IPV6_ADDRESSES]
        layout, cuts = _layout(version4=_is_version4(header), tcp=self.tcp, start=start, head=len(header))
        protocol = ip.PROTOCOL_TCP if self.tcp else ip.PROTOCOL_UDP
        return _Header(
            layout=layout,
            parts=tuple([header[cut] for cut in cuts]),
            network_sum=header_sum(header[:start]),
            transport_sum=header_sum(header[start:]) + header_sum(addresses) + protocol + length,
        )


@functools.lru_cache(maxsize=64)
def _layout(*, version4: bool, tcp: bool, start: int, head: int) -> tuple[Struct, tuple[slice, ...]]:
    """Return how headers of a kind are packed, and where the strings in them stand."""
    fields = [(ip.IPV4_IDENTIFICATION, "H"), (ip.IPV4_CHECKSUM, "H")] if version4 else []
    if tcp:
        fields += [(start + ip.TCP_SEQUENCE, "I"), (start + ip.TCP_CHECKSUM, "H"), (head, "")]
    else:
        fields += [(start + ip.UDP_CHECKSUM, "H")]
    layout, cuts, at = ">", [], 0
    for field, kind in fields:
        layout += f"{field - at}s{kind}"
        cuts.append(slice(at, field))
        at = field + calcsize(kind)
    return Struct(layout), tuple(cuts)


def _slices(buffer: SlicedBuffer, first: int, size: int, stride: int, count: int) -> list[memoryview]:
    """Return ``count`` slices of a buffer; it remembers no more than a batch of them."""
    if count <= MAX_BATCH_SEGMENTS:
        return buffer.rows(first, size, stride)[:count]
    view = buffer.view
    return [view[at : at + size] for at in range(first, first + count * stride, stride)]


def _plan(packet: memoryview, kind: int, payload: int, start: int) -> _Plan | None:
    """Return how to cut a packet, or None if its headers are not what they should be."""
    version4 = _is_version4(packet)
    tcp = kind in (TCP4, TCP6)
    if version4 != (kind == TCP4) if tcp else kind != UDP:
        return None
    if not payload or start < (IPV4_HEADER_BYTES if version4 else IPV6_HEADER_BYTES):
        return None
    if len(packet) < start + (ip.TCP_LEAST if tcp else ip.UDP_BYTES):
        return None
    head = start + ((packet[start + ip.TCP_LENGTH] >> 4) * 4 if tcp else ip.UDP_BYTES)
    if tcp and not start + ip.TCP_LEAST <= head <= len(packet):
        return None
    template = bytearray(packet[:head])
    identification = sequence = last_flags = 0
    if version4:
        (identification,) = _U16.unpack_from(template, ip.IPV4_IDENTIFICATION)
        template[ip.IPV4_IDENTIFICATION : ip.IPV4_IDENTIFICATION + 2] = template[
            ip.IPV4_CHECKSUM : ip.IPV4_CHECKSUM + 2
        ] = b"\0\0"
    if tcp:
        (sequence,) = _U32.unpack_from(template, start + ip.TCP_SEQUENCE)
        last_flags = template[start + ip.TCP_FLAGS] & (ip.FIN | ip.PSH)
        template[start + ip.TCP_FLAGS] &= ~(ip.FIN | ip.PSH)
        _U32.pack_into(template, start + ip.TCP_SEQUENCE, 0)
        _U16.pack_into(template, start + ip.TCP_CHECKSUM, 0)
    else:
        _U16.pack_into(template, start + ip.UDP_CHECKSUM, 0)
    return _Plan(
        template=bytes(template),
        start=start,
        payload=payload,
        tcp=tcp,
        sequence=sequence,
        identification=identification,
        last_flags=last_flags,
    )


def _is_version4(packet: bytes | bytearray | memoryview) -> bool:
    return packet[0] >> 4 == 4
