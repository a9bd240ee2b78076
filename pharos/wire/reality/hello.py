"""ClientHello, as a node reads it (RFC 8446 §4.1.2). How ours are made: `pharos.wire.reality.offer`."""

from typing import Final

import attrs

from pharos.wire.reality.codec import Reader, integers, pack, vector
from pharos.wire.reality.errors import Alert, TlsError
from pharos.wire.reality.extensions import Extension, read_extensions

CLIENT_HELLO: Final = 1
"""Its handshake type."""
LEGACY_VERSION: Final = 0x0303
TLS13: Final = 0x0304
SESSION_ID: Final = slice(39, 71)
"""Where the session id of 32 octets stands in the message: behind type, length, version, random and its own length."""
SESSION_ID_LENGTH: Final = 32
RANDOM_LENGTH: Final = 32
MAX_HELLO: Final = 2**14
"""Octets of a hello: one record. Browsers' are below 2,100, of which a post-quantum share is 1,216."""


@attrs.frozen(kw_only=True)
class ClientHello:
    """What a hello says, as far as REALITY asks; ``raw`` is all of it."""

    raw: bytes = attrs.field(repr=False)
    """The handshake message, from its type on."""
    random: bytes
    session_id: bytes
    suites: tuple[int, ...]
    server_name: str | None
    """As it stands there: neither case nor dots are touched."""
    versions: tuple[int, ...]
    groups: tuple[int, ...]
    shares: dict[int, bytes] = attrs.field(repr=False)
    """Key shares by their groups, in the client's order."""
    alpn: tuple[bytes, ...]
    extensions: dict[int, bytes] = attrs.field(repr=False)
    """All bodies by their codes, in the client's order."""


def write_client_hello(*, random: bytes, session_id: bytes, suites: tuple[int, ...], extensions: bytes) -> bytes:
    """Return the handshake message."""
    body = (
        pack((LEGACY_VERSION,))
        + random
        + vector(1, session_id)
        + vector(2, pack(suites))
        + vector(1, b"\0")
        + vector(2, extensions)
    )
    return bytes((CLIENT_HELLO,)) + vector(3, body)


def read_client_hello(message: bytes) -> ClientHello:
    """Read a whole handshake message.

    Raises: TlsError — it is no ClientHello of TLS 1.2 or 1.3, or longer than `MAX_HELLO`.
    """
    if len(message) > MAX_HELLO:
        raise TlsError(Alert.DECODE_ERROR, f"a ClientHello of {len(message)} octets is too long")
    reader = Reader(message, "the ClientHello")
    if reader.integer(1) != CLIENT_HELLO:
        raise TlsError(Alert.UNEXPECTED_MESSAGE, f"a message of type {message[0]} is no ClientHello")
    body = Reader(reader.vector(3), "the ClientHello")
    reader.finish()
    if (version := body.integer(2)) != LEGACY_VERSION:
        raise TlsError(Alert.PROTOCOL_VERSION, f"the ClientHello is of version {version:#06x}")
    random = body.take(RANDOM_LENGTH)
    session_id = body.vector(1)
    if len(session_id) > SESSION_ID_LENGTH:
        raise TlsError(Alert.DECODE_ERROR, f"the ClientHello has a session id of {len(session_id)} octets")
    suites = integers(body.vector(2, least=2), 2, "the ClientHello's cipher suites")
    if body.vector(1, least=1) != b"\0":
        raise TlsError(Alert.ILLEGAL_PARAMETER, "the ClientHello offers compression")
    extensions = read_extensions(body.vector(2), "the ClientHello")
    body.finish()
    return ClientHello(
        raw=message,
        random=random,
        session_id=session_id,
        suites=suites,
        server_name=_server_name(extensions.get(Extension.SERVER_NAME)),
        versions=_list(extensions, Extension.SUPPORTED_VERSIONS, lengths=1),
        groups=_list(extensions, Extension.SUPPORTED_GROUPS, lengths=2),
        shares=_shares(extensions.get(Extension.KEY_SHARE)),
        alpn=_alpn(extensions.get(Extension.ALPN)),
        extensions=extensions,
    )


def _list(extensions: dict[int, bytes], code: Extension, *, lengths: int) -> tuple[int, ...]:
    name = f"the ClientHello's {code.name.lower()}"
    if (body := extensions.get(code)) is None:
        return ()
    reader = Reader(body, name)
    content = reader.vector(lengths, least=2)
    reader.finish()
    return integers(content, 2, name)


def _server_name(body: bytes | None) -> str | None:
    """RFC 6066 §3: a list in which one host name may stand."""
    if body is None:
        return None
    outer = Reader(body, "the ClientHello's server_name")
    names = Reader(outer.vector(2, least=1), "the ClientHello's server_name")
    outer.finish()
    kind, name = names.integer(1), names.vector(2, least=1)
    names.finish()
    if kind or not name.isascii():
        raise TlsError(Alert.ILLEGAL_PARAMETER, "the ClientHello's server_name is no host name")
    return name.decode("ascii")


def _shares(body: bytes | None) -> dict[int, bytes]:
    if body is None:
        return {}
    outer = Reader(body, "the ClientHello's key_share")
    entries = Reader(outer.vector(2), "the ClientHello's key_share")
    outer.finish()
    shares: dict[int, bytes] = {}
    while entries:
        group = entries.integer(2)
        if group in shares:
            raise TlsError(Alert.ILLEGAL_PARAMETER, f"the ClientHello has two shares of group {group:#06x}")
        shares[group] = entries.vector(2, least=1)
    return shares


def _alpn(body: bytes | None) -> tuple[bytes, ...]:
    """RFC 7301 §3.1."""
    if body is None:
        return ()
    outer = Reader(body, "the ClientHello's ALPN")
    entries = Reader(outer.vector(2, least=2), "the ClientHello's ALPN")
    outer.finish()
    protocols = []
    while entries:
        protocols.append(entries.vector(1, least=1))
    return tuple(protocols)
