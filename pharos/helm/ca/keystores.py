"""A key and its certificate as one file that browsers import: PKCS #12 (RFC 7292)."""

from __future__ import annotations

import base64
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import KeySerializationEncryption, PrivateFormat, pkcs12

from pharos.helm.errors import InvalidRequestError
from pharos.wire.pki.tls import Credentials
from pharos.wire.world import random_bytes

# The integrity check of the file is a hash of the password in 2,048 rounds (RFC 7292 appendix B), which nobody lets us
# raise, so that the rounds of the encryption add nothing: what protects the key is the password, and it has to be long.
SHORTEST_PASSWORD: Final = 16
LONGEST_PASSWORD: Final = 128
_DRAWN: Final = 15
"""Octets: 120 bits are six groups of four letters and digits, which can be typed."""
_GROUP: Final = 4


def pack_key_store(credentials: Credentials, password: str, *, name: str, old: bool = False) -> bytes:
    """Return a PKCS #12 file that ``password`` opens, in which the key is called ``name``.

    It is encrypted with AES-256-CBC by PBES2 and PBKDF2-HMAC-SHA-256 (RFC 8018), and its integrity is HMAC-SHA-256.
    ``old``: 3DES and SHA-1, for stores that take nothing else (Windows before 2019, macOS before 2022).

    Raises: InvalidRequestError — the password is too short or too long.
    """
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise InvalidRequestError(
            f"the password of a key file has {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters; leave it out to have"
            " one drawn"
        )
    return pkcs12.serialize_key_and_certificates(
        name.encode(), credentials.key, credentials.certificate, None, _encryption(password.encode(), old=old)
    )


def draw_password() -> str:
    """Return a password of 120 random bits that can be typed."""
    text = base64.b32encode(random_bytes(_DRAWN)).decode().lower()
    return "-".join(text[start : start + _GROUP] for start in range(0, len(text), _GROUP))


def _encryption(password: bytes, *, old: bool) -> KeySerializationEncryption:
    builder = PrivateFormat.PKCS12.encryption_builder()
    if old:
        builder = builder.key_cert_algorithm(pkcs12.PBES.PBESv1SHA1And3KeyTripleDESCBC).hmac_hash(hashes.SHA1())  # noqa: S303
    else:
        builder = builder.key_cert_algorithm(pkcs12.PBES.PBESv2SHA256AndAES256CBC).hmac_hash(hashes.SHA256())
    return builder.build(password)
