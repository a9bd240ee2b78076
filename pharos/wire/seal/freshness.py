"""helm's word that a device holds the newest bundle, which no relay can save up (security.md row 21)."""

from collections.abc import Collection
from typing import Final

from nacl.signing import SigningKey

from pharos.wire.seal.fields import length_prefixed
from pharos.wire.seal.signature import verify_signature

NONCE_LENGTH: Final = 16
"""Octets that a device draws for each request, so that no two answers are alike."""

_CONTEXT: Final = b"pharos/fresh/v1"


def sign_freshness(nonce: bytes, *, epoch: int, revision: int, signing_key: SigningKey) -> bytes:
    """Sign that (epoch, revision) was the newest when ``nonce`` arrived; 64 octets."""
    return signing_key.sign(_statement(nonce, epoch, revision)).signature


def verify_freshness(
    signature: bytes, *, nonce: bytes, epoch: int, revision: int, signing_keys: Collection[bytes]
) -> tuple[int, int]:
    """Return (epoch, revision) if one of the fleet's signing keys says so for this nonce.

    Raises: BundleSignatureError — none does.
    """
    verify_signature(signature, _statement(nonce, epoch, revision), signing_keys)
    return epoch, revision


def _statement(nonce: bytes, epoch: int, revision: int) -> bytes:
    return _CONTEXT + length_prefixed(nonce, epoch.to_bytes(8, "big"), revision.to_bytes(8, "big"))
