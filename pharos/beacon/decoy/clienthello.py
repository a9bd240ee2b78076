"""The name that a TLS client asks for, in the first octets that it sends (RFC 8446 §4.1.2, RFC 6066 §3). Sans-IO.

Only so much is looked at as the choice of a certificate takes: OpenSSL judges the rest, and all of it anew.
"""

from __future__ import annotations

from typing import Final

import attrs

from pharos.wire.units import KIB

HANDSHAKE: Final = 22
"""Type of the record that a TLS client begins with; nothing that is not TLS begins so."""
RECORD_HEADER: Final = 5

# A hello with two post-quantum key shares is 3 kB, in one record or two. What is larger, or cut smaller, is treated as
# one that names nobody, so what we look at twice is bounded.
MAX_HELLO: Final = 16 * KIB
MAX_RECORDS: Final = 8

_CLIENT_HELLO: Final = 1
_SERVER_NAME: Final = 0
_HOST_NAME: Final = 0


@attrs.frozen
class Wanted:
    """More is needed: so many octets in all."""

    size: int


@attrs.frozen
class Hello:
    """A whole hello, or what will never be one."""

    server_name: str | None = None
    """In lower case; None if it names nobody that we could be."""


def read_hello(data: bytes) -> Wanted | Hello:
    """Say what a connection that begins with ``data`` asks for, or how much of it has to be seen first."""
    message = bytearray()
    position = 0
    for _ in range(MAX_RECORDS):
        if len(data) < position + RECORD_HEADER:
            return Wanted(position + RECORD_HEADER)
        size = int.from_bytes(data[position + 3 : position + RECORD_HEADER])
        end = position + RECORD_HEADER + size
        if data[position] != HANDSHAKE or not size or end > MAX_HELLO:
            return Hello()
        if len(data) < end:
            return Wanted(end)
        message += data[position + RECORD_HEADER : end]
        position = end
        if len(message) >= 4:
            if message[0] != _CLIENT_HELLO:
                return Hello()
            length = int.from_bytes(message[1:4])
            if len(message) >= 4 + length:
                return Hello(_server_name(bytes(message[4 : 4 + length])))
    return Hello()


def _server_name(body: bytes) -> str | None:
    """Return the name in a ClientHello without its header; None if it has none, or is not well-formed."""
    try:
        # Version and random before; behind them three lists that do not matter here.
        rest = body[34:]
        for width in (1, 2, 1):
            _, rest = _vector(rest, width)
        extensions, _ = _vector(rest, 2)
        while extensions:
            kind = int.from_bytes(extensions[:2])
            content, extensions = _vector(extensions[2:], 2)
            if kind == _SERVER_NAME:
                names, _ = _vector(content, 2)
                name, _ = _vector(names[1:], 2)
                return name.decode("ascii").lower() if names[0] == _HOST_NAME else None
    except (ValueError, IndexError):
        pass
    return None


def _vector(data: bytes, width: int) -> tuple[bytes, bytes]:
    """Split off a vector whose length is told in ``width`` octets (RFC 8446 §3.4).

    Raises: ValueError — it is cut short.
    """
    end = width + int.from_bytes(data[:width])
    if len(data) < max(end, width):
        raise ValueError("a vector is cut short")
    return data[width:end], data[end:]
