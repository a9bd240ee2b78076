"""AmneziaWG's framing: what stands round a WireGuard message in one datagram.

``[S random bytes][message whose type field is an H value]``. Junk is whatever fits no kind; nothing tells it apart
from noise, so it is answered with silence.
"""

from typing import Final

from pharos.wire.awg.messages import CORE_BYTES, KEEPALIVE_BYTES, MessageKind
from pharos.wire.awg.params import ObfuscationParameters
from pharos.wire.awg.randomness import Random, uniform

_TYPE_BYTES: Final = 4


class Framing:
    """The framing that one set of parameters describes, laid out for quick use per datagram."""

    def __init__(self, parameters: ObfuscationParameters, random: Random) -> None:
        self.parameters = parameters
        self._random = random
        self._padding = {kind: parameters.padding(kind) for kind in MessageKind}
        self._header = {kind: parameters.header(kind) for kind in MessageKind}
        # Padded sizes differ pairwise (params.py), so a size names at most one kind of fixed size.
        self._by_size = {
            size + self._padding[kind]: (kind, self._padding[kind], self._header[kind])
            for kind, size in CORE_BYTES.items()
        }
        self._transport_offset = self._padding[MessageKind.TRANSPORT]
        self._transport_header = self._header[MessageKind.TRANSPORT]
        self._transport_least = self._transport_offset + KEEPALIVE_BYTES

    def classify(self, datagram: bytes) -> MessageKind | None:
        """Say what a datagram claims to be by size and type field; None is junk. Nothing is verified yet."""
        size = len(datagram)
        fixed = self._by_size.get(size)
        if fixed is not None:
            kind, offset, header = fixed
            if int.from_bytes(datagram[offset : offset + _TYPE_BYTES], "little") == header:
                return kind
        if size >= self._transport_least:
            offset = self._transport_offset
            if int.from_bytes(datagram[offset : offset + _TYPE_BYTES], "little") == self._transport_header:
                return MessageKind.TRANSPORT
        return None

    def unwrap(self, kind: MessageKind, datagram: bytes) -> bytes:
        """Return the message inside, its type field still the H value: the MACs cover it as it travelled."""
        offset = self._padding[kind]
        return datagram[offset:] if offset else datagram

    def header(self, kind: MessageKind) -> int:
        """The type field to put into a new message."""
        return self._header[kind]

    def wrap(self, kind: MessageKind, message: bytes) -> bytes:
        """Make the datagram that carries a message."""
        padding = self._padding[kind]
        return self._random(padding) + message if padding else message

    def junk(self) -> list[bytes]:
        """Make the datagrams that go before one initiation, in order."""
        parameters = self.parameters
        sizes = [uniform(self._random, parameters.jmin, parameters.jmax) for _ in range(parameters.jc)]
        # An empty datagram hides nothing and no real traffic has one.
        return [self._random(size) for size in sizes if size]
