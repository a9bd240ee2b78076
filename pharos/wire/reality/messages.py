"""Handshake messages: cut out of records, and those of a server's encrypted flight (RFC 8446 §4)."""

import enum
from typing import Final

from pharos.wire.reality.certificate import ED25519_SCHEME
from pharos.wire.reality.codec import Reader, pack, vector
from pharos.wire.reality.errors import Alert, TlsError
from pharos.wire.reality.extensions import read_extensions

MAX_MESSAGE: Final = 2**17
"""Octets. OpenSSL takes 100 KiB of certificates, of which browsers see a tenth."""
HEAD: Final = 4
"""Octets of a message's type and length."""


class HandshakeType(enum.IntEnum):
    CLIENT_HELLO = 1
    SERVER_HELLO = 2
    NEW_SESSION_TICKET = 4
    ENCRYPTED_EXTENSIONS = 8
    CERTIFICATE = 11
    CERTIFICATE_REQUEST = 13
    CERTIFICATE_VERIFY = 15
    FINISHED = 20
    KEY_UPDATE = 24
    COMPRESSED_CERTIFICATE = 25


class MessageBuffer:
    """Joins the fragments of one direction to messages."""

    __slots__ = ("_buffer", "_max_message")

    def __init__(self, *, max_message: int = MAX_MESSAGE) -> None:
        self._buffer = bytearray()
        self._max_message = max_message

    def __bool__(self) -> bool:
        """Whether a message has begun and not ended: nothing else may come between, nor another key."""
        return bool(self._buffer)

    def feed(self, fragment: bytes | memoryview) -> None:
        """Raises: TlsError — the fragment is empty (RFC 8446 §5.1)."""
        if not fragment:
            raise TlsError(Alert.UNEXPECTED_MESSAGE, "a handshake record is empty")
        self._buffer += fragment

    def next_message(self) -> bytes | None:
        """Return the next whole message, from its type on.

        Raises: TlsError — it is going to be too long.
        """
        buffer = self._buffer
        if len(buffer) < HEAD:
            return None
        end = HEAD + int.from_bytes(buffer[1:HEAD], "big")
        if end > self._max_message:
            raise TlsError(Alert.DECODE_ERROR, f"a handshake message of {end} octets is too long")
        if len(buffer) < end:
            return None
        message = bytes(buffer[:end])
        del buffer[:end]
        return message


def write_message(kind: HandshakeType, body: bytes) -> bytes:
    return bytes((kind,)) + vector(3, body)


def write_certificate(certificate: bytes) -> bytes:
    """A chain of one, without extensions (§4.4.2)."""
    return write_message(HandshakeType.CERTIFICATE, b"\0" + vector(3, vector(3, certificate) + b"\0\0"))


def write_certificate_verify(signature: bytes) -> bytes:
    return write_message(HandshakeType.CERTIFICATE_VERIFY, pack((ED25519_SCHEME,)) + vector(2, signature))


def read_encrypted_extensions(message: bytes) -> dict[int, bytes]:
    """Raises: TlsError — the message does not parse."""
    body = Reader(message[HEAD:], "the EncryptedExtensions")
    extensions = read_extensions(body.vector(2), "the EncryptedExtensions")
    body.finish()
    return extensions


def read_certificate(message: bytes) -> bytes:
    """Return the first certificate of the chain.

    Raises: TlsError — the message does not parse, or has none.
    """
    body = Reader(message[HEAD:], "the Certificate message")
    body.vector(1)
    entries = Reader(body.vector(3, least=1), "the Certificate message")
    body.finish()
    certificate = entries.vector(3, least=1)
    entries.vector(2)
    while entries:
        entries.vector(3, least=1)
        entries.vector(2)
    return certificate


def read_certificate_verify(message: bytes) -> bytes:
    """Return the signature.

    Raises: TlsError — the message does not parse, or it is not one of Ed25519.
    """
    body = Reader(message[HEAD:], "the CertificateVerify")
    scheme, signature = body.integer(2), body.vector(2)
    body.finish()
    if scheme != ED25519_SCHEME:
        raise TlsError(Alert.ILLEGAL_PARAMETER, f"the CertificateVerify is signed by scheme {scheme:#06x}")
    return signature


def read_key_update(message: bytes) -> bool:
    """Return whether the peer wants our key to be updated, too (§4.6.3).

    Raises: TlsError — the message does not parse.
    """
    if message[HEAD:] not in {b"\0", b"\1"}:
        raise TlsError(Alert.ILLEGAL_PARAMETER, "a KeyUpdate says neither yes nor no")
    return message[HEAD:] == b"\1"
