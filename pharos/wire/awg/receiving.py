"""Opening whole batches of datagrams out of a caller's buffer; the inner packets land in another one."""

from collections import deque
from collections.abc import Callable, Sequence
from itertools import groupby, repeat
from operator import itemgetter, length_hint
from struct import Struct
from typing import Final, TypeAlias

import attrs
from cryptography.exceptions import InvalidTag

from pharos.wire.awg.allowedips import AllowedIps
from pharos.wire.awg.batches import MAX_BATCH_SEGMENTS, PacketRows, SlicedBuffer
from pharos.wire.awg.context import Context
from pharos.wire.awg.endpoint import Address
from pharos.wire.awg.framing import Framing
from pharos.wire.awg.ippackets import IPV4_HEADER_BYTES, IPV6_HEADER_BYTES
from pharos.wire.awg.messages import KEEPALIVE_BYTES, TRANSPORT_HEADER, MessageKind
from pharos.wire.awg.peer import Peer
from pharos.wire.awg.primitives import TAG_BYTES
from pharos.wire.awg.protection import BLOCK_COUNTER, NO_HEADER, NO_MASK, NONCE_BYTES, Mask
from pharos.wire.awg.session import NONCE, Session
from pharos.wire.awg.strides import WORTHWHILE, Nonces, strided
from pharos.wire.awg.timing import REJECT_AFTER_MESSAGES
from pharos.wire.errors import LocalProtocolError

_HEADER_BYTES: Final = TRANSPORT_HEADER.size
_IPV4: Final = ">BxH8x4s"  # Version and header length, total length, source (RFC 791 §3.1).
_IPV6: Final = ">B3xH2x16s"  # Version and more, payload length, source (RFC 8200 §3).
_READ_IPV4: Final = Struct(_IPV4).unpack_from
_READ_IPV6: Final = Struct(_IPV6).unpack_from

_FAMILIES: Final = ((4, IPV4_HEADER_BYTES, 0, _IPV4), (6, IPV6_HEADER_BYTES, IPV6_HEADER_BYTES, _IPV6))
"""Version, bytes of the header, what the length in it leaves out, and where things stand in it."""

Found: TypeAlias = tuple[int, int, int, int]
"""A transport message: where its datagram begins, the datagram's size, receiver index, counter."""
_index_of: Final = itemgetter(2)


@attrs.define(eq=False)
class Opened:
    """The inner packets of one arrival."""

    packets: list[memoryview] = attrs.Factory(list)
    """In order."""
    rows: PacketRows | None = None
    """Where the first of them stand, if they are of one size and at equal distances."""


@attrs.define(eq=False)
class Arrival:
    """What one read of a socket gave: datagrams of ``segment`` bytes from one source, the last may be shorter."""

    buffer: SlicedBuffer
    """They are at its beginning."""
    size: int
    segment: int
    source: Address
    framing: Framing
    """The face they came in on."""


HandshakeHandler: TypeAlias = Callable[[MessageKind, bytes, Arrival, float], bool]
"""Takes a handshake message's datagram out of the data path; False says that it is none."""


class Receiver:
    """Opens batches for one device. Nothing a stranger sends raises here or costs more than a look at the table."""

    def __init__(self, context: Context, routes: AllowedIps[Peer], on_handshake: HandshakeHandler) -> None:
        self._context = context
        self._routes = routes
        self._on_handshake = on_handshake
        self._nonces = Nonces()

    def receive(self, arrival: Arrival, plain: SlicedBuffer, now: float) -> Opened:
        """Return the inner packets in it, in order, each of a source its peer is allowed.

        Raises: LocalProtocolError — ``plain`` is smaller than what arrived.
        """
        if len(plain) < arrival.size:
            raise LocalProtocolError(f"{len(plain)} bytes of room for packets out of {arrival.size}")
        opened = Opened()
        done = self._receive_even(arrival, plain, now, opened)
        packets = opened.packets
        for index, found in groupby(self._transports(arrival, done, now), _index_of):
            known = self._context.sessions.get(index)
            if known is not None:
                peer, session = known
                packets += self._open_run(peer, session, list(found), arrival, plain, now)
        return opened

    def _receive_even(self, arrival: Arrival, plain: SlicedBuffer, now: float, into: Opened) -> int:
        """Take the datagrams of one size from the front, if they are one session's next: a stream in full flow.

        Returns how many bytes of datagrams need no further look.
        """
        framing, segment = arrival.framing, arrival.segment
        count = arrival.size // segment
        if (
            not WORTHWHILE <= count <= MAX_BATCH_SEGMENTS
            or framing.trailers
            or segment in framing.fixed_sizes
            or segment < framing.transport_least
        ):
            return 0
        kinds, indices, counters = framing.read_headers(arrival.buffer.data, segment, count)
        known = self._context.sessions.get(indices[0])
        if known is None or indices.count(indices[0]) != count:
            return 0
        headers = framing.transport_headers
        if not (headers.low <= min(kinds) and max(kinds) <= headers.high):
            return 0
        peer, session = known
        first = session.replay.newest + 1
        expected = range(first, first + count)
        if counters != tuple(expected) or expected[-1] >= REJECT_AFTER_MESSAGES or now >= session.expires_at:
            return 0
        lead = framing.transport_offset + _HEADER_BYTES
        room = segment - lead - TAG_BYTES
        sealed, opened = arrival.buffer.rows(lead, segment - lead, segment), plain.rows(0, room, segment)
        left = iter(sealed[:count])
        try:
            deque(map(session.decrypt_into, self._nonces.write(expected), left, repeat(None), opened), maxlen=0)
        except InvalidTag:
            count -= length_hint(left) + 1
        if not count:
            return 0
        session.replay.extend(count)
        carries_data = self._admit_even(peer, PacketRows(plain, 0, segment, [room] * count), into, now)
        peer.accept_run(
            session,
            octets=count * segment,
            largest=segment,
            carries_data=carries_data,
            source=arrival.source,
            face=framing.number,
            now=now,
        )
        return count * segment

    def _admit_even(self, peer: Peer, rows: PacketRows, into: Opened, now: float) -> bool:
        """Keep those of the opened packets that the peer may send; tell whether any carries data."""
        data, stride, count, room = rows.buffer.data, rows.stride, len(rows), rows.sizes[0]
        packets = rows.views()
        first = data[0] if room else 0
        for version, header, beyond, layout in _FAMILIES:
            if first >> 4 == version and room >= header and peer.receive_bucket is None:
                fields = strided(layout, stride, count).unpack_from(data)
                firsts, lengths, sources = fields[0::3], fields[1::3], fields[2::3]
                if (
                    firsts.count(first) == lengths.count(room - beyond) == sources.count(sources[0]) == count
                    and self._routes.find(sources[0]) is peer
                ):
                    into.packets, into.rows = packets, rows
                    return True
        carries_data = False
        for number, packet in enumerate(packets):
            carries_data |= self._admit(peer, data, number * stride, packet, into.packets, now)
        return carries_data

    def _transports(self, arrival: Arrival, begin: int, now: float) -> list[Found]:
        """Sort out what claims to be a transport message; the rest goes its way or nowhere."""
        framing, data = arrival.framing, arrival.buffer.data
        offset, least, protector = framing.transport_offset, framing.transport_least, framing.protector
        low, high = framing.transport_headers.low, framing.transport_headers.high
        fixed_sizes, trailers = framing.fixed_sizes, framing.trailers
        unpack, unpack_mask = TRANSPORT_HEADER.unpack_from, TRANSPORT_HEADER.unpack
        mask: Mask = NO_MASK
        found: list[Found] = []
        end, segment = arrival.size, arrival.segment
        for at in range(begin, end, segment):
            size = segment if at + segment <= end else end - at
            if size < KEEPALIVE_BYTES:
                continue
            if protector is not None:
                protector.restart(BLOCK_COUNTER + data[at : at + NONCE_BYTES])
                mask = unpack_mask(protector.update(NO_HEADER))
            if trailers or size in fixed_sizes:
                kind = framing.classify_handshake(data, at, size, mask[0])
                # Where H ranges are wide a transport message may look like another kind; upstream loses it then.
                if kind is not None and self._on_handshake(kind, bytes(data[at : at + size]), arrival, now):
                    continue
            if size >= least:
                header, index, counter = unpack(data, at + offset)
                if low <= header ^ mask[0] <= high:
                    found.append((at, size, index ^ mask[1], counter ^ mask[2]))
        return found

    def _open_run(
        self, peer: Peer, session: Session, found: Sequence[Found], arrival: Arrival, plain: SlicedBuffer, now: float
    ) -> list[memoryview]:
        """Open messages of one session."""
        packets: list[memoryview] = []
        if now >= session.expires_at:
            return packets
        segment = arrival.segment
        lead = arrival.framing.transport_offset + _HEADER_BYTES
        overhead = lead + TAG_BYTES
        sealed_view, plain_view, data = arrival.buffer.view, plain.view, plain.data
        # Slices are worth remembering only where there are many of one size.
        whole = segment if len(found) > 1 and arrival.size <= segment * MAX_BATCH_SEGMENTS else 0
        sealed_rows = arrival.buffer.rows(lead, segment - lead, segment) if whole else []
        plain_rows = plain.rows(0, segment - overhead, segment) if whole else []
        decrypt, pack_nonce, replay = session.decrypt_into, NONCE.pack, session.replay
        expected = replay.newest + 1
        octets = largest = opened = 0
        carries_data = False
        for at, size, _, counter in found:
            if size == whole:
                number = at // segment
                sealed, packet = sealed_rows[number], plain_rows[number]
            else:
                sealed, packet = sealed_view[at + lead : at + size], plain_view[at : at + size - overhead]
            if counter >= REJECT_AFTER_MESSAGES:
                continue
            try:
                decrypt(pack_nonce(counter), sealed, None, packet)
            except InvalidTag:
                continue
            # What comes in order is noted all at once.
            if counter == expected:
                expected += 1
            else:
                replay.extend(expected - 1 - replay.newest)
                fresh = replay.accept(counter)
                expected = replay.newest + 1
                if not fresh:
                    continue
            opened += 1
            octets += size
            if size > largest:
                largest = size
            carries_data |= self._admit(peer, data, at, packet, packets, now)
        if opened:
            replay.extend(expected - 1 - replay.newest)
            peer.accept_run(
                session,
                octets=octets,
                largest=largest,
                carries_data=carries_data,
                source=arrival.source,
                face=arrival.framing.number,
                now=now,
            )
        return packets

    def _admit(
        self, peer: Peer, data: bytearray, at: int, packet: memoryview, admitted: list[memoryview], now: float
    ) -> bool:
        """Keep what was opened at ``at`` if it is a packet that the peer may send; tell whether it carries data."""
        room = len(packet)
        # A first byte of zero is no IP version: newer AmneziaWG pads keepalives too.
        first = data[at] if room else 0
        if not first:
            return False
        if first >> 4 == 4 and room >= IPV4_HEADER_BYTES:
            _, length, source = _READ_IPV4(data, at)
            least = IPV4_HEADER_BYTES
        elif first >> 4 == 6 and room >= IPV6_HEADER_BYTES:
            _, length, source = _READ_IPV6(data, at)
            length += IPV6_HEADER_BYTES
            least = IPV6_HEADER_BYTES
        else:
            return True
        if least <= length <= room and self._routes.find(source) is peer:
            bucket = peer.receive_bucket
            if bucket is None or bucket.allow(length, now):
                admitted.append(packet if length == room else packet[:length])
        return True
