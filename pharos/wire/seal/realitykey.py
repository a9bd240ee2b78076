"""A node's REALITY keys: derived where they are used, and vouched for by the key that devices know the node by.

private  HKDF-SHA256(private derive key, salt = fleet, `pharos/reality/v1` ‖ length-prefixed fleet, node id, u32
         generation): 32 octets of an X25519 key
proof    XEdDSA(derive key, `pharos/reality/v1` ‖ length-prefixed fleet, node id, u32 generation, public key): 64 octets

The node alone can make either. A helm in an enemy's hands cannot hand out a REALITY key of its own for a node that a
device knows, and with it stand between the two.
"""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from pharos.wire.errors import LockError
from pharos.wire.ids import FleetId, NodeId
from pharos.wire.noise.keys import KEY_LENGTH, KeyPair
from pharos.wire.seal.fields import length_prefixed
from pharos.wire.seal.xeddsa import sign_xeddsa, verify_xeddsa

_LABEL: Final = b"pharos/reality/v1"


def derive_reality_key(derive_key: KeyPair, *, fleet: FleetId, node: NodeId, generation: int) -> KeyPair:
    """Return the node's key pair of a generation, the same each time: nothing of it is ever kept."""
    info = _LABEL + length_prefixed(fleet.encode(), node.encode(), generation.to_bytes(4, "big"))
    hkdf = HKDF(algorithm=hashes.SHA256(), length=KEY_LENGTH, salt=fleet.encode(), info=info)
    return KeyPair.from_private_bytes(hkdf.derive(derive_key.private_bytes()))


def prove_reality_key(
    derive_key: KeyPair, *, fleet: FleetId, node: NodeId, generation: int, public_key: bytes, random: bytes
) -> bytes:
    """Say with the node's derive key that this is its REALITY key. ``random`` is 64 fresh octets."""
    return sign_xeddsa(derive_key, _statement(fleet, node, generation, public_key), random)


def verify_reality_key(
    public_key: bytes, proof: bytes, *, derive_key: bytes, fleet: FleetId, node: NodeId, generation: int
) -> bytes:
    """Return ``public_key`` if the node with this public derive key says that it is its own.

    Raises: LockError — it does not.
    """
    try:
        verify_xeddsa(proof, _statement(fleet, node, generation, public_key), derive_key)
    except ValueError as error:
        raise LockError(f"REALITY key {generation} of node {node} is not signed by the node") from error
    return public_key


def _statement(fleet: FleetId, node: NodeId, generation: int, public_key: bytes) -> bytes:
    return _LABEL + length_prefixed(fleet.encode(), node.encode(), generation.to_bytes(4, "big"), public_key)
