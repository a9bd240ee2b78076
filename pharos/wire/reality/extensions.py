"""Hello extensions: their codes, and lists of them (RFC 8446 §4.2; the registry at iana.org)."""

import enum
from typing import Final

from pharos.wire.reality.codec import Reader
from pharos.wire.reality.errors import Alert, TlsError


class Extension(enum.IntEnum):
    SERVER_NAME = 0
    STATUS_REQUEST = 5
    SUPPORTED_GROUPS = 10
    EC_POINT_FORMATS = 11
    SIGNATURE_ALGORITHMS = 13
    ALPN = 16
    SIGNED_CERTIFICATE_TIMESTAMP = 18
    PADDING = 21
    EXTENDED_MASTER_SECRET = 23
    COMPRESS_CERTIFICATE = 27
    RECORD_SIZE_LIMIT = 28
    DELEGATED_CREDENTIAL = 34
    SESSION_TICKET = 35
    PRE_SHARED_KEY = 41
    SUPPORTED_VERSIONS = 43
    COOKIE = 44
    PSK_KEY_EXCHANGE_MODES = 45
    KEY_SHARE = 51
    APPLICATION_SETTINGS = 17613
    """ALPS, with the code that Chrome has used since version 133."""
    ENCRYPTED_CLIENT_HELLO = 0xFE0D
    RENEGOTIATION_INFO = 0xFF01


GREASE: Final = frozenset(0x0A0A + 0x1010 * step for step in range(16))
"""Codes that mean nothing, for suites, groups, versions and extensions (RFC 8701 §2)."""


def read_extensions(content: bytes, name: str) -> dict[int, bytes]:
    """Return the bodies by their codes, in the order in which they stand.

    Raises: TlsError — it is no list of extensions, or one is there twice.
    """
    reader = Reader(content, name)
    found: dict[int, bytes] = {}
    while reader:
        code = reader.integer(2)
        if code in found:
            raise TlsError(Alert.ILLEGAL_PARAMETER, f"{name} has extension {code} twice")
        found[code] = reader.vector(2)
    return found


def write_extensions(extensions: dict[int, bytes]) -> bytes:
    pieces: list[bytes] = []
    for code, body in extensions.items():
        pieces += (code.to_bytes(2, "big"), len(body).to_bytes(2, "big"), body)
    return b"".join(pieces)
