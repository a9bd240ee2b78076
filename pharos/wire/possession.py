"""Proof that a device holds each key it enrols (security design 2b): nobody joins with another device's public key.

The proof of an X25519 key is HMAC-SHA256, keyed with its shared secret with a fresh ephemeral of helm's, over the name
of the key and the handshake hash of the passage. Only who holds the private key could compute it, and it holds in
this passage only.
"""

from __future__ import annotations

import hmac
from typing import Final

from pharos.wire.errors import RemoteProtocolError
from pharos.wire.noise.keys import KEY_LENGTH, KeyPair

_CONTEXT: Final = b"pharos/possession/v1"


def prove_key(key: KeyPair, *, name: str, ephemeral: bytes, handshake_hash: bytes) -> bytes:
    """Return the proof for ``key`` against helm's ephemeral public key.

    Raises: RemoteProtocolError — the ephemeral key cannot be used.
    """
    return _mac(key.exchange(ephemeral), name, key.public, handshake_hash)


def verify_key(public: bytes, mac: bytes, *, name: str, ephemeral: KeyPair, handshake_hash: bytes) -> bytes:
    """Return ``public`` if ``mac`` proves that the peer holds its private half.

    Raises: RemoteProtocolError — it does not; the message names the key.
    """
    if len(public) != KEY_LENGTH:
        raise RemoteProtocolError(f"the {name} key has {len(public)} octets, not {KEY_LENGTH}")
    expected = _mac(ephemeral.exchange(public), name, public, handshake_hash)
    if not hmac.compare_digest(expected, mac):
        raise RemoteProtocolError(f"possession of the {name} key is not proven")
    return public


def _mac(secret: bytes, name: str, public: bytes, handshake_hash: bytes) -> bytes:
    return hmac.digest(secret, b"\0".join((_CONTEXT, name.encode(), public, handshake_hash)), "sha256")
