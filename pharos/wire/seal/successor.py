"""A node's own word that new keys follow its old ones, for devices that know the old (security.md §2d).

proof  XEdDSA(old derive key, `pharos/successor/v1` ‖ length-prefixed fleet, node id, old and new AmneziaWG key, old and
       new derive key): 64 octets
"""

from __future__ import annotations

from typing import Final

import attrs

from pharos.wire.errors import LockError
from pharos.wire.ids import FleetId, NodeId
from pharos.wire.noise.keys import KeyPair
from pharos.wire.seal.fields import length_prefixed
from pharos.wire.seal.xeddsa import sign_xeddsa, verify_xeddsa

_CONTEXT: Final = b"pharos/successor/v1"


@attrs.frozen(kw_only=True)
class NodeKeys:
    """A node's two public keys, 32 octets each."""

    awg: bytes
    derive: bytes


def prove_successor(
    old: KeyPair, *, fleet: FleetId, node: NodeId, before: NodeKeys, after: NodeKeys, random: bytes
) -> bytes:
    """Say with the old derive key that ``after`` follows ``before``. ``random`` is 64 fresh octets."""
    return sign_xeddsa(old, _statement(fleet, node, before, after), random)


def verify_successor(proof: bytes, *, fleet: FleetId, node: NodeId, before: NodeKeys, after: NodeKeys) -> None:
    """Check that the node that held ``before`` says that ``after`` follows.

    Raises: LockError — it does not.
    """
    try:
        verify_xeddsa(proof, _statement(fleet, node, before, after), before.derive)
    except ValueError as error:
        raise LockError(f"the new keys of node {node} are not signed by its old one") from error


def _statement(fleet: FleetId, node: NodeId, before: NodeKeys, after: NodeKeys) -> bytes:
    return _CONTEXT + length_prefixed(fleet.encode(), node.encode(), before.awg, after.awg, before.derive, after.derive)
