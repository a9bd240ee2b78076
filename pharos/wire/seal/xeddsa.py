"""Signatures by X25519 keys, for nodes have no others (signal.org/docs/specifications/xeddsa, revision 1).

The key on Montgomery's curve is taken for its twin on Edwards', the one of the two with sign bit zero, and a signature
is then one of Ed25519.
"""

from __future__ import annotations

import hashlib
from typing import Final

from nacl.bindings import (
    crypto_core_ed25519_scalar_add,
    crypto_core_ed25519_scalar_mul,
    crypto_core_ed25519_scalar_negate,
    crypto_core_ed25519_scalar_reduce,
    crypto_scalarmult_ed25519_base_noclamp,
)
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from pharos.wire.noise.keys import KEY_LENGTH, KeyPair

SIGNATURE_LENGTH: Final = 64
RANDOM_LENGTH: Final = 64
"""Octets that a signature takes, fresh for each."""

# The prime of curve25519 (RFC 7748 §4.1).
_P: Final = 2**255 - 19
# 2^256 - 1 - i as 32 octets, little-endian, with i = 1 (XEdDSA §2.5): keeps its hash apart from that of Ed25519.
_HASH_1: Final = b"\xfe" + b"\xff" * 31


def sign_xeddsa(key: KeyPair, message: bytes, random: bytes) -> bytes:
    """Sign ``message``; 64 octets. ``random`` is 64 fresh ones."""
    if len(random) != RANDOM_LENGTH:
        raise ValueError(f"a signature takes {RANDOM_LENGTH} random octets")
    raw = bytearray(key.private_bytes())
    raw[0] &= 248
    raw[31] = raw[31] & 127 | 64
    scalar = crypto_core_ed25519_scalar_reduce(bytes(raw) + bytes(32))
    point = crypto_scalarmult_ed25519_base_noclamp(scalar)
    if point[31] & 128:
        scalar = crypto_core_ed25519_scalar_negate(scalar)
    public = point[:31] + bytes([point[31] & 127])
    nonce = crypto_core_ed25519_scalar_reduce(hashlib.sha512(_HASH_1 + scalar + message + random).digest())
    commitment = crypto_scalarmult_ed25519_base_noclamp(nonce)
    challenge = crypto_core_ed25519_scalar_reduce(hashlib.sha512(commitment + public + message).digest())
    return commitment + crypto_core_ed25519_scalar_add(nonce, crypto_core_ed25519_scalar_mul(challenge, scalar))


def verify_xeddsa(signature: bytes, message: bytes, public: bytes) -> bytes:
    """Return ``message`` if the X25519 key whose public half this is has signed it.

    Raises: ValueError — it has not.
    """
    try:
        return VerifyKey(_edwards(public)).verify(message, signature)
    except (BadSignatureError, TypeError) as error:
        raise ValueError("this is not signed by that X25519 key") from error


def _edwards(montgomery: bytes) -> bytes:
    """Return y = (u - 1) / (u + 1), with sign bit zero."""
    if len(montgomery) != KEY_LENGTH:
        raise ValueError("an X25519 public key has 32 octets")
    u = int.from_bytes(montgomery, "little") & (2**255 - 1)
    if u >= _P:
        raise ValueError("this X25519 public key is not in its usual spelling")
    y = (u - 1) * pow(u + 1, _P - 2, _P) % _P
    return y.to_bytes(32, "little")
