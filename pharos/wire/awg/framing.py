"""AmneziaWG's framing: what stands round a WireGuard message in one datagram.

``[S random bytes][message whose type field is of the range H][random trailer]``. The S bytes feed the header protection
(``protection``) if there is a key; the trailer is 3.1's. Junk is whatever fits no kind; nothing tells it apart from
noise, so it is answered with silence.
"""

from collections.abc import Iterable, Sequence
from itertools import repeat
from struct import Struct
from typing import Any, Final, TypeAlias

from pharos.wire.awg.messages import CORE_BYTES, KEEPALIVE_BYTES, TRANSPORT_HEADER, MessageKind
from pharos.wire.awg.params import ObfuscationParameters
from pharos.wire.awg.protection import NONCE_BYTES, HeaderProtector
from pharos.wire.awg.randomness import Random, RandomPool, uniform
from pharos.wire.awg.strides import strided

FIRST_WIDTH: Final = 500
"""Bytes that random trailers fill up to before a peer's own datagrams have shown how long they get."""

_TYPE: Final = Struct("<I")
_PADDING_UNIT: Final = 16
Headers: TypeAlias = tuple[int, ...]
_HEADER: Final = TRANSPORT_HEADER.format
_SALT: Final = "<Q"  # Twice as many bytes as a range of u32 needs, so that the modulo's bias is 2^-32.
_SALT_BYTES: Final = 8


class Framing:
    """The framing that one set of parameters describes, laid out for quick use per datagram.

    ``number`` is that of its face: the local port on which it is spoken.
    """

    def __init__(self, parameters: ObfuscationParameters, random: Random, *, number: int = 0) -> None:
        self.parameters = parameters
        self.number = number
        self.random = RandomPool(random)
        self._padding = {kind: parameters.padding(kind) for kind in MessageKind}
        self._headers = {kind: parameters.header_range(kind) for kind in MessageKind}
        self._handshakes = [
            (kind, size + self._padding[kind], self._padding[kind], headers.low, headers.high)
            for kind, size in CORE_BYTES.items()
            for headers in (self._headers[kind],)
        ]
        self.trailers = parameters.random_trailers
        self.protector = HeaderProtector(parameters.header_protection_key) if parameters.header_protection_key else None
        self.fixed_sizes = frozenset(size for _, size, *_ in self._handshakes)
        """A datagram of another size is no handshake message, unless there are trailers."""
        self.transport_offset = self._padding[MessageKind.TRANSPORT]
        self.transport_headers = self._headers[MessageKind.TRANSPORT]
        self.transport_least = self.transport_offset + KEEPALIVE_BYTES
        self.bare = self.protector is None and not self.transport_offset and self.transport_headers.span == 1
        """A transport message travels as in WireGuard, but for one constant."""
        self._addition = parameters.content_padding_addition
        self.sized_anew = self.trailers or self._addition is not None
        """Packets of one size may travel in datagrams of different ones."""

    # In

    def classify_handshake(self, datagrams: bytes | bytearray, at: int, size: int, mask: int) -> MessageKind | None:
        """Say what kind of handshake message the ``size`` bytes at ``at`` claim to be, by size and type field.

        The first that fits is it, and what fits none may be a transport message; nothing is verified yet. ``mask`` is
        that of the type field, zero without header protection.
        """
        if self.trailers or size in self.fixed_sizes:
            for kind, whole, offset, low, high in self._handshakes:
                if size == whole or (self.trailers and size > whole):
                    (found,) = _TYPE.unpack_from(datagrams, at + offset)
                    if low <= found ^ mask <= high:
                        return kind
        return None

    def unwrap(self, kind: MessageKind, datagram: bytes) -> bytes:
        """Return the handshake message inside, its type field still the H value: the MACs cover it as it travelled."""
        offset = self._padding[kind]
        message = datagram[offset : offset + CORE_BYTES[kind]]
        return message if self.protector is None else self.protector.apply(datagram[:NONCE_BYTES], message)

    def read_headers(self, datagrams: bytearray, stride: int, count: int) -> tuple[Headers, Headers, Headers]:
        """Return the type fields, indices and counters of transport messages ``stride`` bytes apart, unmasked."""
        offset = self.transport_offset
        if self.protector is None:
            fields = strided(_HEADER, stride, count).unpack_from(datagrams, offset)
        else:
            layout = f"<{NONCE_BYTES}s{offset - NONCE_BYTES}x{TRANSPORT_HEADER.size}s"
            parts = strided(layout, stride, count).unpack_from(datagrams)
            headers = self.protector.apply_all(parts[0::2], parts[1::2])
            fields = strided(_HEADER, TRANSPORT_HEADER.size, count).unpack(b"".join(headers))
        return fields[0::3], fields[1::3], fields[2::3]

    # Out

    def header(self, kind: MessageKind) -> int:
        """The type field to put into a new message."""
        return self._headers[kind].pick(self.random)

    def wrap(self, kind: MessageKind, message: bytes, *, width: int = FIRST_WIDTH) -> bytes:
        """Make the datagram that carries a handshake message.

        ``width`` is the largest datagram the peer is known to send or take, which a random trailer may reach.
        """
        padding = self.random(self._padding[kind])
        if self.protector is not None:
            message = self.protector.apply(padding[:NONCE_BYTES], message)
        datagram = padding + message
        if self.trailers and len(datagram) < width:
            datagram += self.random(uniform(self.random, 0, width - len(datagram)))
        return datagram

    def put_header(self, datagrams: bytearray, at: int, index: int, counter: int) -> None:
        """Write what stands before the ciphertext of a transport message whose datagram begins at ``at``."""
        offset, random = self.transport_offset, self.random
        padding = random(offset)
        kind = self.transport_headers.low
        if self.transport_headers.span > 1:
            kind += int.from_bytes(random(_SALT_BYTES), "little") % self.transport_headers.span
        header = TRANSPORT_HEADER.pack(kind, index, counter)
        if self.protector is not None:
            header = self.protector.apply(padding[:NONCE_BYTES], header)
        datagrams[at : at + offset + TRANSPORT_HEADER.size] = padding + header

    def put_headers(self, datagrams: bytearray, at: int, stride: int, index: int, counters: range) -> None:
        """Write the same for each of ``counters``, ``stride`` bytes apart; what is between becomes zero."""
        count, offset = len(counters), self.transport_offset
        low, span = self.transport_headers.low, self.transport_headers.span
        if span == 1:
            kinds: Sequence[int] = (low,) * count
        else:
            kinds = [
                low + salt % span
                for salt in strided(_SALT, _SALT_BYTES, count).unpack(self.random(_SALT_BYTES * count))
            ]
        if not offset:
            fields: list[Any] = [index] * (3 * count)
            fields[0::3], fields[2::3] = kinds, counters
            strided(_HEADER, stride, count).pack_into(datagrams, at, *fields)
            return
        headers: Iterable[bytes] = map(TRANSPORT_HEADER.pack, kinds, repeat(index), counters)
        paddings: Sequence[bytes] = strided(f"<{offset}s", offset, count).unpack(self.random(offset * count))
        if self.protector is not None:
            headers = self.protector.apply_all([padding[:NONCE_BYTES] for padding in paddings], headers)
        parts: list[Any] = [None] * (2 * count)
        parts[0::2], parts[1::2] = paddings, headers
        strided(f"<{offset}s{TRANSPORT_HEADER.size}s", stride, count).pack_into(datagrams, at, *parts)

    def filling(self, size: int, mtu: int, width: int) -> int:
        """Zero bytes to put behind an inner packet of ``size`` bytes before it is sealed; never past ``mtu``."""
        room = mtu - size
        if room <= 0:
            return 0
        if self._addition is not None:
            return min(self._addition.pick(self.random), room)
        if self.trailers:
            # The peer's random trailer of a transport message is inside it, where the cipher covers it.
            return uniform(self.random, 0, max(0, min(room, width - size - self.transport_least)))
        return min(-size % _PADDING_UNIT, room)

    def opening(self, *, unix_time: int, counter: int) -> list[bytes]:
        """Make the datagrams that go before one initiation, in order: I packets, then junk."""
        parameters, random = self.parameters, self.random
        packets = [
            packet.build(random, unix_time=unix_time, counter=counter + number)
            for number, packet in enumerate(parameters.ipackets)
        ]
        sizes = [uniform(random, parameters.jmin, parameters.jmax) for _ in range(parameters.jc)]
        # An empty datagram hides nothing and no real traffic has one.
        return packets + [random(size) for size in sizes if size]
