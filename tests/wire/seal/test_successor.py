"""X25519 keys sign by XEdDSA: libsodium's own Ed25519 says that it is a signature, and only of what was said."""

from __future__ import annotations

import hashlib
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.errors import LockError
from pharos.wire.ids import FleetId, NodeId
from pharos.wire.noise.keys import KeyPair
from pharos.wire.seal.successor import NodeKeys, prove_successor, verify_successor
from tests.support.strategies import quick

FLEET, NODE = FleetId("0123456789abcdef"), NodeId("n")
OLD = KeyPair.generate()
BEFORE = NodeKeys(awg=b"a" * 32, derive=OLD.public)
AFTER = NodeKeys(awg=b"b" * 32, derive=b"d" * 32)


def proof_of(key: KeyPair, before: NodeKeys, after: NodeKeys) -> bytes:
    return prove_successor(key, fleet=FLEET, node=NODE, before=before, after=after, random=os.urandom(64))


@quick
@given(st.binary(min_size=32, max_size=32))
def test_any_key_can_sign(seed: bytes) -> None:
    """Half of all keys are the negative of their twin, so that one example would prove nothing."""
    key = KeyPair.from_private_bytes(seed)
    before = NodeKeys(awg=b"a" * 32, derive=key.public)
    verify_successor(proof_of(key, before, AFTER), fleet=FLEET, node=NODE, before=before, after=AFTER)


def test_proof_is_of_one_node_and_these_keys() -> None:
    proof = proof_of(OLD, BEFORE, AFTER)
    verify_successor(proof, fleet=FLEET, node=NODE, before=BEFORE, after=AFTER)
    cases = [
        (FleetId("0" * 16), NODE, BEFORE, AFTER, proof),
        (FLEET, NodeId("m"), BEFORE, AFTER, proof),
        (FLEET, NODE, NodeKeys(awg=b"x" * 32, derive=OLD.public), AFTER, proof),
        (FLEET, NODE, NodeKeys(awg=BEFORE.awg, derive=KeyPair.generate().public), AFTER, proof),
        (FLEET, NODE, BEFORE, BEFORE, proof),
        (FLEET, NODE, BEFORE, AFTER, b""),
        (FLEET, NODE, BEFORE, AFTER, bytes(64)),
        (FLEET, NODE, BEFORE, AFTER, proof[:63]),
        (FLEET, NODE, NodeKeys(awg=b"a" * 32, derive=b"\xff" * 32), AFTER, proof),
        (FLEET, NODE, NodeKeys(awg=b"a" * 32, derive=b"short"), AFTER, proof),
    ]
    for fleet, node, before, after, shown in cases:
        with pytest.raises(LockError, match="not signed by its old one"):
            verify_successor(shown, fleet=fleet, node=node, before=before, after=after)


def test_key_of_low_order_has_no_successor() -> None:
    """With such a key anybody could sign: u = 0 and u = 1 are of order 2 and 4."""
    forged = bytes(64)
    for point in (bytes(32), b"\x01" + bytes(31), hashlib.sha256(b"").digest()):
        before = NodeKeys(awg=b"a" * 32, derive=point)
        with pytest.raises(LockError):
            verify_successor(forged, fleet=FLEET, node=NODE, before=before, after=AFTER)


def test_signature_takes_its_randomness_whole() -> None:
    with pytest.raises(ValueError, match="64 random octets"):
        prove_successor(OLD, fleet=FLEET, node=NODE, before=BEFORE, after=AFTER, random=b"short")


def test_two_signatures_of_one_thing_differ() -> None:
    assert proof_of(OLD, BEFORE, AFTER) != proof_of(OLD, BEFORE, AFTER)
