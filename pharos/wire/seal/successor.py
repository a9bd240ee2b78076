"""A node's own word that new keys follow its old ones, for devices that know the old (security.md §2d).

proof  XEdDSA(old derive key, `pharos/successor/v1` ‖ length-prefixed fleet, node id, old and new AmneziaWG key, old and
       new derive key): 64 octets

A node has X25519 keys only. XEdDSA (signal.org/docs/specifications/xeddsa, revision 1) signs with them: the key on
Montgomery's curve is taken for its twin on Edwards', the one of the two with sign bit zero, and a signature is then one
of Ed25519.
"""

from __future__ import annotations

import hashlib
from typing import Final

import attrs
from nacl.bindings import (
    crypto_core_ed25519_scalar_add,
    crypto_core_ed25519_scalar_mul,
    crypto_core_ed25519_scalar_negate,
    crypto_core_ed25519_scalar_reduce,
    crypto_scalarmult_ed25519_base_noclamp,
)
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from pharos.wire.errors import LockError
from pharos.wire.ids import FleetId, NodeId
from pharos.wire.noise.keys import KEY_LENGTH, KeyPair
from pharos.wire.seal.fields import length_prefixed

SIGNATURE_LENGTH: Final = 64
RANDOM_LENGTH: Final = 64
"""Octets that a signature takes, fresh for each."""

_CONTEXT: Final = b"pharos/successor/v1"
# The prime of curve25519 (RFC 7748 §4.1).
_P: Final = 2**255 - 19
# 2^256 - 1 - i as 32 octets, little-endian, with i = 1 (XEdDSA §2.5): keeps its hash apart from that of Ed25519.
_HASH_1: Final = b"\xfe" + b"\xff" * 31


@attrs.frozen(kw_only=True)
class NodeKeys:
    """A node's two public keys, 32 octets each."""

    awg: bytes
    derive: bytes


def prove_successor(
    old: KeyPair, *, fleet: FleetId, node: NodeId, before: NodeKeys, after: NodeKeys, random: bytes
) -> bytes:
    """Say with the old derive key that ``after`` follows ``before``. ``random`` is 64 fresh octets."""
    return _sign(old, _statement(fleet, node, before, after), random)


def verify_successor(proof: bytes, *, fleet: FleetId, node: NodeId, before: NodeKeys, after: NodeKeys) -> None:
    """Check that the node that held ``before`` says that ``after`` follows.

    Raises: LockError — it does not.
    """
    try:
        VerifyKey(_edwards(before.derive)).verify(_statement(fleet, node, before, after), proof)
    except (BadSignatureError, ValueError, TypeError) as error:
        raise LockError(f"the new keys of node {node} are not signed by its old one") from error


def _sign(key: KeyPair, message: bytes, random: bytes) -> bytes:
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


def _edwards(montgomery: bytes) -> bytes:
    """Return y = (u - 1) / (u + 1), with sign bit zero."""
    if len(montgomery) != KEY_LENGTH:
        raise ValueError("an X25519 public key has 32 octets")
    u = int.from_bytes(montgomery, "little") & (2**255 - 1)
    if u >= _P:
        raise ValueError("this X25519 public key is not in its usual spelling")
    y = (u - 1) * pow(u + 1, _P - 2, _P) % _P
    return y.to_bytes(32, "little")


def _statement(fleet: FleetId, node: NodeId, before: NodeKeys, after: NodeKeys) -> bytes:
    return _CONTEXT + length_prefixed(fleet.encode(), node.encode(), before.awg, after.awg, before.derive, after.derive)
