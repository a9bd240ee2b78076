"""Puts messages of any kind into datagrams and takes them out again, as devices do in several places."""

from pharos.wire.awg.framing import Framing
from pharos.wire.awg.messages import CORE_BYTES, KEEPALIVE_BYTES, TRANSPORT_HEADER, MessageKind


def message_of(framing: Framing, kind: MessageKind, body: bytes = b"") -> bytes:
    """A message of the right size and type field, the rest taken from ``body``."""
    size = CORE_BYTES.get(kind, KEEPALIVE_BYTES + len(body))
    return framing.header(kind).to_bytes(4, "little") + body.ljust(size - 4, b"\x55")[: size - 4]


def dress(framing: Framing, kind: MessageKind, message: bytes) -> bytes:
    if kind is not MessageKind.TRANSPORT:
        return framing.wrap(kind, message)
    datagram = bytearray(framing.transport_offset) + message
    _, index, counter = TRANSPORT_HEADER.unpack_from(message)
    framing.put_header(datagram, 0, index, counter)
    return bytes(datagram)


def classify(framing: Framing, datagram: bytes) -> MessageKind | None:
    """What a datagram claims to be; None is junk."""
    mask = framing.protector.mask(datagram[:12])[0] if framing.protector and len(datagram) >= KEEPALIVE_BYTES else 0
    kind = framing.classify_handshake(datagram, 0, len(datagram), mask)
    if kind is None and len(datagram) >= framing.transport_least:
        header = int.from_bytes(datagram[framing.transport_offset :][:4], "little") ^ mask
        if header in framing.transport_headers:
            return MessageKind.TRANSPORT
    return kind


def undress(framing: Framing, datagram: bytes) -> tuple[MessageKind | None, bytes]:
    kind = classify(framing, datagram)
    if kind is None:
        return None, b""
    if kind is not MessageKind.TRANSPORT:
        return kind, framing.unwrap(kind, datagram)
    message = datagram[framing.transport_offset :]
    if framing.protector is None:
        return kind, message
    header = framing.protector.apply(datagram[:12], message[: TRANSPORT_HEADER.size])
    return kind, header + message[TRANSPORT_HEADER.size :]
