"""A node's REALITY keys: the same each time, another for each generation, and vouched for by the node alone."""

from __future__ import annotations

import hmac
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.errors import LockError
from pharos.wire.ids import FleetId, NodeId
from pharos.wire.noise.keys import KeyPair
from pharos.wire.seal.realitykey import derive_reality_key, prove_reality_key, verify_reality_key
from tests.support.strategies import quick

FLEET, NODE = FleetId("0123456789abcdef"), NodeId("oslo-1")
DERIVE = KeyPair.from_private_bytes(bytes([2] * 32))
KEY = derive_reality_key(DERIVE, fleet=FLEET, node=NODE, generation=1)
# Computed once; a change that moves one of them is a new version, not an edit.
PRIVATE = "16eab7bb4d0e22dacb42de95204728c747d34c8c7f678c71446eb5e5f4aba178"
PUBLIC = "31e1d792f08120c781467c3a6c9df8364def8a978bec941f5b9b5b87f8946621"
PROOF = (
    "4c8bb073767fd3c91e0390e5d7bafe90c3bf16dd72a594e3591466985acaec57"
    "e2b31845fef140f3af01b0e69411775d4dbe2826ef734260c5b9129a6f01b309"
)


def proof_of(public_key: bytes, *, derive: KeyPair = DERIVE, node: NodeId = NODE, generation: int = 1) -> bytes:
    return prove_reality_key(
        derive, fleet=FLEET, node=node, generation=generation, public_key=public_key, random=os.urandom(64)
    )


def test_the_pinned_key_and_proof_of_version_1_hold() -> None:
    assert (KEY.private_bytes().hex(), KEY.public.hex()) == (PRIVATE, PUBLIC)
    proof = prove_reality_key(DERIVE, fleet=FLEET, node=NODE, generation=1, public_key=KEY.public, random=bytes(64))
    assert proof.hex() == PROOF


def test_the_derivation_is_rfc_5869_over_fleet_node_and_generation() -> None:
    framed = b"".join(
        len(field).to_bytes(2, "big") + field for field in (b"0123456789abcdef", b"oslo-1", bytes(3) + b"\1")
    )
    extracted = hmac.digest(b"0123456789abcdef", bytes([2] * 32), "sha256")
    assert hmac.digest(extracted, b"pharos/reality/v1" + framed + b"\1", "sha256").hex() == PRIVATE


@quick
@given(st.binary(min_size=32, max_size=32), st.integers(1, 2**32 - 1))
def test_whatever_a_node_derives_it_can_prove(seed: bytes, generation: int) -> None:
    derive = KeyPair.from_private_bytes(seed)
    public = derive_reality_key(derive, fleet=FLEET, node=NODE, generation=generation).public
    assert public == derive_reality_key(derive, fleet=FLEET, node=NODE, generation=generation).public
    proof = proof_of(public, derive=derive, generation=generation)
    verified = verify_reality_key(
        public, proof, derive_key=derive.public, fleet=FLEET, node=NODE, generation=generation
    )
    assert verified == public


def test_each_fleet_node_generation_and_derive_key_has_a_key_of_its_own() -> None:
    made = {
        derive_reality_key(derive, fleet=FleetId(fleet), node=NodeId(node), generation=generation).public
        for derive in (DERIVE, KeyPair.from_private_bytes(bytes([3] * 32)))
        for fleet in ("0123456789abcdef", "fedcba9876543210")
        for node in ("oslo-1", "oslo-2")
        for generation in (1, 2)
    }
    assert len(made) == 16


def test_key_that_is_not_the_nodes_own_is_refused() -> None:
    proof, enemy = proof_of(KEY.public), KeyPair.generate()
    verify_reality_key(KEY.public, proof, derive_key=DERIVE.public, fleet=FLEET, node=NODE, generation=1)
    cases = [
        # Another key by the same proof, and by one of whoever made it.
        (enemy.public, proof, DERIVE.public, FLEET, NODE, 1),
        (enemy.public, proof_of(enemy.public, derive=enemy), DERIVE.public, FLEET, NODE, 1),
        # The node's own word, said of something else.
        (KEY.public, proof, DERIVE.public, FleetId("0" * 16), NODE, 1),
        (KEY.public, proof, DERIVE.public, FLEET, NodeId("oslo-2"), 1),
        (KEY.public, proof, DERIVE.public, FLEET, NODE, 2),
        (KEY.public, proof, enemy.public, FLEET, NODE, 1),
        (KEY.public, b"", DERIVE.public, FLEET, NODE, 1),
        (KEY.public, proof[:63], DERIVE.public, FLEET, NODE, 1),
        # With a derive key of low order anybody could sign; one of another length is none.
        (KEY.public, bytes(64), bytes(32), FLEET, NODE, 1),
        (KEY.public, bytes(64), b"\1" + bytes(31), FLEET, NODE, 1),
        (KEY.public, bytes(64), b"short", FLEET, NODE, 1),
    ]
    for public, shown, derive_key, fleet, node, generation in cases:
        with pytest.raises(LockError, match="not signed by the node"):
            verify_reality_key(public, shown, derive_key=derive_key, fleet=fleet, node=node, generation=generation)
