"""ServerHello and HelloRetryRequest, at both ends (RFC 8446 §4.1.3, §4.1.4)."""

from typing import Final

import attrs

from pharos.wire.reality.codec import Reader, pack, vector
from pharos.wire.reality.errors import Alert, TlsError
from pharos.wire.reality.extensions import Extension, read_extensions
from pharos.wire.reality.hello import LEGACY_VERSION, RANDOM_LENGTH, TLS13

SERVER_HELLO: Final = 2
"""Its handshake type."""
RETRY_RANDOM: Final = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
"""In the place of the random value it makes the ServerHello a HelloRetryRequest: SHA-256 of that word."""

_ALLOWED: Final = frozenset({Extension.SUPPORTED_VERSIONS, Extension.KEY_SHARE})
_ALLOWED_IN_RETRY: Final = _ALLOWED | {Extension.COOKIE}


@attrs.frozen(kw_only=True)
class ServerHello:
    raw: bytes = attrs.field(repr=False)
    """The handshake message, from its type on."""
    is_retry: bool
    session_id: bytes
    suite: int
    group: int | None
    """Of the key share; in a HelloRetryRequest the group that is asked for, if one is."""
    share: bytes = attrs.field(repr=False)
    """The server's key share; empty in a HelloRetryRequest."""
    cookie: bytes | None
    """The extension's body, which has to be echoed as it is; in a HelloRetryRequest only."""
    extensions: dict[int, bytes] = attrs.field(repr=False)
    """All bodies by their codes, in the server's order."""

    def with_share(self, share: bytes) -> bytes:
        """Return the message with another key share of the same length, and nothing else changed."""
        assert len(share) == len(self.share), "the length of a share is its group's"
        # Behind type and length (4), version, random, session id and its length, suite (2), compression (1) and the
        # length of the extensions (2); in an extension behind code and length (4), in this one behind group and length.
        start = 4 + 2 + RANDOM_LENGTH + 1 + len(self.session_id) + 2 + 1 + 2
        for code, body in self.extensions.items():
            start += 4
            if code == Extension.KEY_SHARE:
                start += 4
                break
            start += len(body)
        return self.raw[:start] + share + self.raw[start + len(share) :]


def write_server_hello(
    *, random: bytes, session_id: bytes, suite: int, extensions: bytes, compression: int = 0
) -> bytes:
    """Return the handshake message; a node sends its target's instead, so this is the tests' and the tools'."""
    body = pack((LEGACY_VERSION,)) + random + vector(1, session_id) + pack((suite,)) + bytes((compression,))
    return bytes((SERVER_HELLO,)) + vector(3, body + vector(2, extensions))


def read_server_hello(message: bytes) -> ServerHello:
    """Read a whole handshake message.

    Raises: TlsError — it is no ServerHello, not of TLS 1.3, or says more or less than it may.
    """
    reader = Reader(message, "the ServerHello")
    if reader.integer(1) != SERVER_HELLO:
        raise TlsError(Alert.UNEXPECTED_MESSAGE, f"a message of type {message[0]} is no ServerHello")
    body = Reader(reader.vector(3), "the ServerHello")
    reader.finish()
    version, random, session_id = body.integer(2), body.take(RANDOM_LENGTH), body.vector(1)
    suite, compression = body.integer(2), body.integer(1)
    # TLS 1.2 may leave the extensions out.
    extensions = read_extensions(body.vector(2), "the ServerHello") if body else {}
    body.finish()
    if version != LEGACY_VERSION or extensions.get(Extension.SUPPORTED_VERSIONS) != pack((TLS13,)):
        raise TlsError(Alert.PROTOCOL_VERSION, "the ServerHello is not of TLS 1.3")
    if compression:
        raise TlsError(Alert.ILLEGAL_PARAMETER, "the ServerHello chooses compression")
    is_retry = random == RETRY_RANDOM
    for code in extensions:
        if code not in (_ALLOWED_IN_RETRY if is_retry else _ALLOWED):
            raise TlsError(Alert.UNSUPPORTED_EXTENSION, f"the ServerHello has extension {code}")
    group, share = _share(extensions.get(Extension.KEY_SHARE), is_retry=is_retry)
    return ServerHello(
        raw=message,
        is_retry=is_retry,
        session_id=session_id,
        suite=suite,
        group=group,
        share=share,
        cookie=_cookie(extensions.get(Extension.COOKIE)),
        extensions=extensions,
    )


def _share(body: bytes | None, *, is_retry: bool) -> tuple[int | None, bytes]:
    if body is None:
        if is_retry:
            return None, b""
        raise TlsError(Alert.MISSING_EXTENSION, "the ServerHello has no key share")
    reader = Reader(body, "the ServerHello's key_share")
    group = reader.integer(2)
    share = b"" if is_retry else reader.vector(2, least=1)
    reader.finish()
    return group, share


def _cookie(body: bytes | None) -> bytes | None:
    if body is not None:
        reader = Reader(body, "the ServerHello's cookie")
        reader.vector(2, least=1)
        reader.finish()
    return body
