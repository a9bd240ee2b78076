"""The three cipher suites of TLS 1.3 that everybody speaks (RFC 8446 §B.4)."""

from collections.abc import Callable
from typing import Final, Protocol, TypeAlias

import attrs
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

Octets: TypeAlias = bytes | bytearray | memoryview

TAG_LENGTH: Final = 16
IV_LENGTH: Final = 12


class Aead(Protocol):
    """As `cryptography` has them."""

    def decrypt(self, nonce: bytes, data: Octets, associated_data: Octets | None) -> bytes: ...

    def decrypt_into(self, nonce: bytes, data: Octets, associated_data: Octets | None, buf: Octets) -> int: ...

    def encrypt(self, nonce: bytes, data: Octets, associated_data: Octets | None) -> bytes: ...

    def encrypt_into(self, nonce: bytes, data: Octets, associated_data: Octets | None, buf: Octets) -> int: ...


@attrs.frozen(kw_only=True)
class Suite:
    code: int
    name: str
    digest: str
    """Name of the hash, as hashlib knows it."""
    hash_length: int
    key_length: int
    aead: Callable[[bytes], Aead]


SUITES: Final = {
    suite.code: suite
    for suite in (
        Suite(
            code=0x1301,
            name="TLS_AES_128_GCM_SHA256",
            digest="sha256",
            hash_length=32,
            key_length=16,
            aead=AESGCM,
        ),
        Suite(
            code=0x1302,
            name="TLS_AES_256_GCM_SHA384",
            digest="sha384",
            hash_length=48,
            key_length=32,
            aead=AESGCM,
        ),
        Suite(
            code=0x1303,
            name="TLS_CHACHA20_POLY1305_SHA256",
            digest="sha256",
            hash_length=32,
            key_length=32,
            aead=ChaCha20Poly1305,
        ),
    )
}
"""By their codes."""
