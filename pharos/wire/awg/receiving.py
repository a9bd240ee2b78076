"""Opening whole batches of datagrams out of a caller's buffer; the inner packets land in another one."""

from collections.abc import Callable, Sequence
from itertools import groupby
from operator import itemgetter
from struct import Struct
from typing import Final, TypeAlias

import attrs
from cryptography.exceptions import InvalidTag

from pharos.wire.awg.allowedips import AllowedIps
from pharos.wire.awg.batches import MAX_BATCH_SEGMENTS, SlicedBuffer
from pharos.wire.awg.context import Context
from pharos.wire.awg.endpoint import Address
from pharos.wire.awg.framing import Framing
from pharos.wire.awg.ippackets import IPV4_HEADER_BYTES, IPV6_HEADER_BYTES
from pharos.wire.awg.messages import KEEPALIVE_BYTES, TRANSPORT_HEADER, MessageKind
from pharos.wire.awg.peer import Peer
from pharos.wire.awg.primitives import TAG_BYTES
from pharos.wire.awg.protection import BLOCK_COUNTER, NO_HEADER, NO_MASK, NONCE_BYTES, Mask
from pharos.wire.awg.session import NONCE, Session
from pharos.wire.awg.timing import REJECT_AFTER_MESSAGES
from pharos.wire.errors import LocalProtocolError

_HEADER_BYTES: Final = TRANSPORT_HEADER.size
_IPV4: Final = Struct(">2xH8x4s")  # Total length, source (RFC 791 §3.1).
_IPV6: Final = Struct(">4xH2x16s")  # Payload length, source (RFC 8200 §3).

Found: TypeAlias = tuple[int, int, int, int]
"""A transport message: where its datagram begins, the datagram's size, receiver index, counter."""
_index_of: Final = itemgetter(2)


@attrs.frozen(eq=False)
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

    def receive(self, arrival: Arrival, plain: SlicedBuffer, now: float) -> list[memoryview]:
        """Return the inner packets in it, in order, each of a source its peer is allowed.

        Raises: LocalProtocolError — ``plain`` is smaller than what arrived.
        """
        if len(plain) < arrival.size:
            raise LocalProtocolError(f"{len(plain)} bytes of room for packets out of {arrival.size}")
        packets: list[memoryview] = []
        for index, found in groupby(self._transports(arrival, now), _index_of):
            known = self._context.sessions.get(index)
            if known is not None:
                peer, session = known
                packets += self._open_run(peer, session, list(found), arrival, plain, now)
        return packets

    def _transports(self, arrival: Arrival, now: float) -> list[Found]:
        """Sort out what claims to be a transport message; the rest goes its way or nowhere."""
        framing, data = arrival.framing, arrival.buffer.data
        offset, least, protector = framing.transport_offset, framing.transport_least, framing.protector
        low, high = framing.transport_headers.low, framing.transport_headers.high
        fixed_sizes, trailers = framing.fixed_sizes, framing.trailers
        unpack, unpack_mask = TRANSPORT_HEADER.unpack_from, TRANSPORT_HEADER.unpack
        mask: Mask = NO_MASK
        found: list[Found] = []
        end, segment = arrival.size, arrival.segment
        for at in range(0, end, segment):
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
        find, bucket = self._routes.find, peer.receive_bucket
        allowed = b""
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
            room = size - overhead
            # A first byte of zero is no IP version: newer AmneziaWG pads keepalives too.
            first = data[at] if room else 0
            if not first:
                continue
            carries_data = True
            if first >> 4 == 4 and room >= IPV4_HEADER_BYTES:
                length, source = _IPV4.unpack_from(data, at)
                least = IPV4_HEADER_BYTES
            elif first >> 4 == 6 and room >= IPV6_HEADER_BYTES:
                length, source = _IPV6.unpack_from(data, at)
                length += IPV6_HEADER_BYTES
                least = IPV6_HEADER_BYTES
            else:
                continue
            if source != allowed:
                if find(source) is not peer:
                    continue
                allowed = source
            if least <= length <= room and (bucket is None or bucket.allow(length, now)):
                packets.append(packet if length == room else packet[:length])
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
