"""How the hellos of today's browsers look, as data.

Read off public captures: Chrome from 133 on, Firefox from 135 on, Safari 26. `{GREASE}` marks where a browser puts a
code that means nothing and is drawn anew in each hello.
"""

import enum
from typing import Final

import attrs

from pharos.wire.reality.codec import pack, vector
from pharos.wire.reality.extensions import Extension
from pharos.wire.reality.groups import SECP256R1, SECP384R1, SECP521R1, X25519, X25519MLKEM768


class Drawn(enum.IntEnum):
    """Stand-ins below zero, where no code can be."""

    GREASE = -1
    """In lists of suites, groups, shares and versions. As an extension: the first one, which is empty."""
    LAST_GREASE = -2
    """As an extension: the second one, which holds an octet; its code is never that of the first."""


@attrs.frozen(kw_only=True)
class Parrot:
    """One browser's hello. A body of None is made for each hello: names, shares, groups, versions, what is drawn."""

    name: str
    suites: tuple[int, ...]
    extensions: tuple[tuple[int, bytes | None], ...]
    """In their order."""
    shuffles: bool
    """Whether that order is drawn anew each time; GREASE keeps its places."""
    groups: tuple[int, ...]
    shares: tuple[int, ...]
    """Groups of the key shares."""
    reuses_x25519: bool
    """Whether the post-quantum share holds the same X25519 key as the one that stands by itself."""
    versions: tuple[int, ...]
    ech_aeads: tuple[int, ...] = ()
    """AEADs of the ECH that means nothing, of which one is drawn (draft-ietf-tls-esni §6.2)."""
    ech_payloads: tuple[int, ...] = ()
    """Lengths of its payload, likewise."""


_TLS = (0x0304, 0x0303)
_H2_HTTP11: Final = vector(2, vector(1, b"h2") + vector(1, b"http/1.1"))
_OCSP: Final = b"\x01\0\0\0\0"
_UNCOMPRESSED_POINTS: Final = b"\x01\0"
_PSK_WITH_DHE: Final = b"\x01\x01"
_NO_RENEGOTIATION: Final = b"\0"
_ZLIB, _BROTLI, _ZSTD = 1, 2, 3
_AES128_GCM, _CHACHA20_POLY1305 = 1, 3


def _schemes(*codes: int) -> bytes:
    return vector(2, pack(codes))


def _compressions(*codes: int) -> bytes:
    return vector(1, pack(codes))


CHROME: Final = Parrot(
    name="chrome",
    suites=(
        Drawn.GREASE,
        *(0x1301, 0x1302, 0x1303),
        *(0xC02B, 0xC02F, 0xC02C, 0xC030, 0xCCA9, 0xCCA8),
        *(0xC013, 0xC014, 0x009C, 0x009D, 0x002F, 0x0035),
    ),
    extensions=(
        (Drawn.GREASE, b""),
        (Extension.SERVER_NAME, None),
        (Extension.EXTENDED_MASTER_SECRET, b""),
        (Extension.RENEGOTIATION_INFO, _NO_RENEGOTIATION),
        (Extension.SUPPORTED_GROUPS, None),
        (Extension.EC_POINT_FORMATS, _UNCOMPRESSED_POINTS),
        (Extension.SESSION_TICKET, b""),
        (Extension.ALPN, _H2_HTTP11),
        (Extension.STATUS_REQUEST, _OCSP),
        (
            Extension.SIGNATURE_ALGORITHMS,
            _schemes(0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601),
        ),
        (Extension.SIGNED_CERTIFICATE_TIMESTAMP, b""),
        (Extension.KEY_SHARE, None),
        (Extension.PSK_KEY_EXCHANGE_MODES, _PSK_WITH_DHE),
        (Extension.SUPPORTED_VERSIONS, None),
        (Extension.COMPRESS_CERTIFICATE, _compressions(_BROTLI)),
        (Extension.APPLICATION_SETTINGS, vector(2, vector(1, b"h2"))),
        (Extension.ENCRYPTED_CLIENT_HELLO, None),
        (Drawn.LAST_GREASE, b"\0"),
        (Extension.PADDING, None),
    ),
    shuffles=True,
    groups=(Drawn.GREASE, X25519MLKEM768, X25519, SECP256R1, SECP384R1),
    shares=(Drawn.GREASE, X25519MLKEM768, X25519),
    reuses_x25519=False,
    versions=(Drawn.GREASE, *_TLS),
    ech_aeads=(_AES128_GCM,),
    ech_payloads=(144, 176, 208, 240),
)

FIREFOX: Final = Parrot(
    name="firefox",
    suites=(
        *(0x1301, 0x1303, 0x1302),
        *(0xC02B, 0xC02F, 0xCCA9, 0xCCA8, 0xC02C, 0xC030),
        *(0xC00A, 0xC009, 0xC013, 0xC014, 0x009C, 0x009D, 0x002F, 0x0035),
    ),
    extensions=(
        (Extension.SERVER_NAME, None),
        (Extension.EXTENDED_MASTER_SECRET, b""),
        (Extension.RENEGOTIATION_INFO, _NO_RENEGOTIATION),
        (Extension.SUPPORTED_GROUPS, None),
        (Extension.EC_POINT_FORMATS, _UNCOMPRESSED_POINTS),
        (Extension.SESSION_TICKET, b""),
        (Extension.ALPN, _H2_HTTP11),
        (Extension.STATUS_REQUEST, _OCSP),
        (Extension.DELEGATED_CREDENTIAL, _schemes(0x0403, 0x0503, 0x0603, 0x0203)),
        (Extension.SIGNED_CERTIFICATE_TIMESTAMP, b""),
        (Extension.KEY_SHARE, None),
        (Extension.SUPPORTED_VERSIONS, None),
        (
            Extension.SIGNATURE_ALGORITHMS,
            _schemes(0x0403, 0x0503, 0x0603, 0x0804, 0x0805, 0x0806, 0x0401, 0x0501, 0x0601, 0x0203, 0x0201),
        ),
        (Extension.PSK_KEY_EXCHANGE_MODES, _PSK_WITH_DHE),
        (Extension.RECORD_SIZE_LIMIT, b"\x40\x01"),
        (Extension.COMPRESS_CERTIFICATE, _compressions(_ZLIB, _BROTLI, _ZSTD)),
        (Extension.ENCRYPTED_CLIENT_HELLO, None),
    ),
    shuffles=False,
    # Behind the curves stand two groups of finite fields (RFC 7919), which no server chooses.
    groups=(X25519MLKEM768, X25519, SECP256R1, SECP384R1, SECP521R1, 0x0100, 0x0101),
    shares=(X25519MLKEM768, X25519, SECP256R1),
    reuses_x25519=True,
    versions=_TLS,
    ech_aeads=(_AES128_GCM, _CHACHA20_POLY1305),
    ech_payloads=(239,),
)

SAFARI: Final = Parrot(
    name="safari",
    suites=(
        Drawn.GREASE,
        *(0x1302, 0x1303, 0x1301),
        *(0xC02C, 0xC02B, 0xCCA9, 0xC030, 0xC02F, 0xCCA8),
        *(0xC00A, 0xC009, 0xC014, 0xC013, 0x009D, 0x009C, 0x0035, 0x002F),
        *(0xC008, 0xC012, 0x000A),
    ),
    extensions=(
        (Drawn.GREASE, b""),
        (Extension.SERVER_NAME, None),
        (Extension.EXTENDED_MASTER_SECRET, b""),
        (Extension.RENEGOTIATION_INFO, _NO_RENEGOTIATION),
        (Extension.SUPPORTED_GROUPS, None),
        (Extension.EC_POINT_FORMATS, _UNCOMPRESSED_POINTS),
        (Extension.ALPN, _H2_HTTP11),
        (Extension.STATUS_REQUEST, _OCSP),
        (
            # 0x0805 stands there twice, as it does in Safari's.
            Extension.SIGNATURE_ALGORITHMS,
            _schemes(0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0805, 0x0501, 0x0806, 0x0601, 0x0201),
        ),
        (Extension.SIGNED_CERTIFICATE_TIMESTAMP, b""),
        (Extension.KEY_SHARE, None),
        (Extension.PSK_KEY_EXCHANGE_MODES, _PSK_WITH_DHE),
        (Extension.SUPPORTED_VERSIONS, None),
        (Extension.COMPRESS_CERTIFICATE, _compressions(_ZLIB)),
        (Drawn.LAST_GREASE, b"\0"),
        (Extension.PADDING, None),
    ),
    shuffles=False,
    groups=(Drawn.GREASE, X25519MLKEM768, X25519, SECP256R1, SECP384R1, SECP521R1),
    shares=(Drawn.GREASE, X25519MLKEM768, X25519),
    reuses_x25519=False,
    versions=(Drawn.GREASE, *_TLS),
)

PARROTS: Final = {parrot.name: parrot for parrot in (CHROME, FIREFOX, SAFARI)}
"""By the names that share links and Xray call them (`fingerprint`)."""
