import itertools

import pytest

from pharos.wire.errors import RemoteProtocolError
from pharos.wire.noise.keys import KeyPair
from pharos.wire.seal.possession import KeyUse, prove_possession, verify_possession

KEY, CHALLENGE = KeyPair.from_private_bytes(bytes([1] * 32)), KeyPair.from_private_bytes(bytes([2] * 32))
SESSION = bytes([9] * 32)


def test_the_owner_of_a_key_can_prove_it() -> None:
    mac = prove_possession(KEY, CHALLENGE.public, use=KeyUse.AWG, handshake_hash=SESSION)
    proven = verify_possession(KEY.public, mac, challenge=CHALLENGE, use=KeyUse.AWG, handshake_hash=SESSION)
    assert proven == KEY.public
    assert mac.hex() == "21fe2d956870c76651abbd80d5ab4167d05ea5809525016179124e163ea51cc1"


def test_another_devices_public_key_cannot_be_proven() -> None:
    victim = KeyPair.generate()
    mac = prove_possession(KEY, CHALLENGE.public, use=KeyUse.AWG, handshake_hash=SESSION)
    with pytest.raises(RemoteProtocolError, match="does not own"):
        verify_possession(victim.public, mac, challenge=CHALLENGE, use=KeyUse.AWG, handshake_hash=SESSION)


@pytest.mark.parametrize(("proven", "claimed"), list(itertools.permutations(KeyUse, 2)))
def test_a_proof_serves_one_use_only(proven: KeyUse, claimed: KeyUse) -> None:
    mac = prove_possession(KEY, CHALLENGE.public, use=proven, handshake_hash=SESSION)
    with pytest.raises(RemoteProtocolError):
        verify_possession(KEY.public, mac, challenge=CHALLENGE, use=claimed, handshake_hash=SESSION)


def test_a_proof_serves_one_session_and_one_challenge_only() -> None:
    mac = prove_possession(KEY, CHALLENGE.public, use=KeyUse.NOISE, handshake_hash=SESSION)
    with pytest.raises(RemoteProtocolError):
        verify_possession(KEY.public, mac, challenge=CHALLENGE, use=KeyUse.NOISE, handshake_hash=bytes(32))
    with pytest.raises(RemoteProtocolError):
        verify_possession(KEY.public, mac, challenge=KeyPair.generate(), use=KeyUse.NOISE, handshake_hash=SESSION)


@pytest.mark.parametrize("public", [bytes(32), bytes(31), b""])
def test_a_key_nobody_can_own_is_refused(public: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        verify_possession(public, bytes(32), challenge=CHALLENGE, use=KeyUse.NOISE, handshake_hash=SESSION)
    with pytest.raises(RemoteProtocolError):
        prove_possession(KEY, public, use=KeyUse.NOISE, handshake_hash=SESSION)
