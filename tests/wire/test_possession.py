"""Row 73: nobody enrols a public key whose private half they do not hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.errors import RemoteProtocolError
from pharos.wire.noise.keys import KeyPair
from pharos.wire.possession import prove_key, verify_key

HASH = b"h" * 32


def test_holder_of_the_key_proves_it() -> None:
    key, ephemeral = KeyPair.generate(), KeyPair.generate()
    mac = prove_key(key, name="awg", ephemeral=ephemeral.public, handshake_hash=HASH)
    assert verify_key(key.public, mac, name="awg", ephemeral=ephemeral, handshake_hash=HASH) == key.public


def test_who_knows_only_the_public_key_proves_nothing() -> None:
    victim, thief, ephemeral = KeyPair.generate(), KeyPair.generate(), KeyPair.generate()
    mac = prove_key(thief, name="awg", ephemeral=ephemeral.public, handshake_hash=HASH)
    with pytest.raises(RemoteProtocolError, match="awg"):
        verify_key(victim.public, mac, name="awg", ephemeral=ephemeral, handshake_hash=HASH)


@pytest.mark.parametrize("change", ["name", "ephemeral", "handshake"])
def test_proof_holds_for_its_key_name_challenge_and_passage_only(change: str) -> None:
    key, ephemeral = KeyPair.generate(), KeyPair.generate()
    mac = prove_key(key, name="noise", ephemeral=ephemeral.public, handshake_hash=HASH)
    name = "awg" if change == "name" else "noise"
    other = KeyPair.generate() if change == "ephemeral" else ephemeral
    handshake_hash = b"x" * 32 if change == "handshake" else HASH
    with pytest.raises(RemoteProtocolError):
        verify_key(key.public, mac, name=name, ephemeral=other, handshake_hash=handshake_hash)


@given(st.binary(max_size=64), st.binary(max_size=64))
def test_junk_is_refused_and_never_raises_anything_else(public: bytes, mac: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        verify_key(public, mac, name="awg", ephemeral=KeyPair.generate(), handshake_hash=HASH)


def test_key_of_low_order_is_refused() -> None:
    with pytest.raises(RemoteProtocolError):
        verify_key(bytes(32), bytes(32), name="awg", ephemeral=KeyPair.generate(), handshake_hash=HASH)
