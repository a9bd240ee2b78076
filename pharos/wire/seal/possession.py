"""Proof that a device owns the private half of each X25519 key it enrols with (security.md §2b, row 73).

helm sends a fresh X25519 key. The device answers, for each of its keys, with a MAC keyed by the Diffie-Hellman result
of that key and helm's: only the two private halves give it. The handshake hash ties it to this one session.
"""

import enum
import hmac
from typing import Final

from pharos.wire.errors import RemoteProtocolError
from pharos.wire.noise.keys import KeyPair
from pharos.wire.seal.fields import length_prefixed

_CONTEXT: Final = b"pharos/possession/v1"


class KeyUse(enum.Enum):
    """What a device's key is for; it enters the proof, so that no key is proven for another use."""

    SEALING = "sealing"
    DERIVE = "derive"
    NOISE = "noise"
    AWG = "awg"


def prove_possession(key: KeyPair, challenge: bytes, *, use: KeyUse, handshake_hash: bytes) -> bytes:
    """Answer helm's 32-octet public ``challenge`` for one key; HMAC-SHA256, 32 octets.

    Raises: RemoteProtocolError — the challenge is a point of low order.
    """
    return _mac(key.exchange(challenge), use, handshake_hash)


def verify_possession(public: bytes, mac: bytes, *, challenge: KeyPair, use: KeyUse, handshake_hash: bytes) -> bytes:
    """Return ``public`` if whoever made ``mac`` owns its private half; ``challenge`` serves one session only.

    Raises: RemoteProtocolError — they do not, or it is no usable key.
    """
    if not hmac.compare_digest(_mac(challenge.exchange(public), use, handshake_hash), mac):
        raise RemoteProtocolError(f"the device does not own the {use.value} key that it shows")
    return public


def _mac(shared: bytes, use: KeyUse, handshake_hash: bytes) -> bytes:
    return hmac.digest(shared, _CONTEXT + length_prefixed(use.value.encode(), handshake_hash), "sha256")
