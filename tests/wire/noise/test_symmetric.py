import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.errors import DecryptError, LocalProtocolError, RemoteProtocolError
from pharos.wire.noise.keys import KeyPair
from pharos.wire.noise.symmetric import MAX_NONCE, CipherState
from tests.support.strategies import quick

KEY = bytes(range(32))


@quick
@given(messages=st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=100)), max_size=5))
def test_messages_open_in_order(messages: list[tuple[bytes, bytes]]) -> None:
    sender, receiver = CipherState(KEY), CipherState(KEY)
    for associated, plaintext in messages:
        assert receiver.decrypt(associated, sender.encrypt(associated, plaintext)) == plaintext
    assert sender.nonce == receiver.nonce == len(messages)


def test_a_forged_message_is_not_counted() -> None:
    sender, receiver = CipherState(KEY), CipherState(KEY)
    sealed = sender.encrypt(b"", b"data")
    with pytest.raises(DecryptError):
        receiver.decrypt(b"", sealed[:-1] + bytes([sealed[-1] ^ 1]))
    with pytest.raises(DecryptError):
        receiver.decrypt(b"other", sealed)
    with pytest.raises(DecryptError):
        receiver.decrypt(b"", b"short")
    assert receiver.decrypt(b"", sealed) == b"data"
    with pytest.raises(DecryptError):
        receiver.decrypt(b"", sealed)


def test_the_last_nonce_is_never_used() -> None:
    sender, receiver = CipherState(KEY), CipherState(KEY)
    sender.nonce = receiver.nonce = MAX_NONCE - 1
    assert receiver.decrypt(b"", sender.encrypt(b"", b"last")) == b"last"
    with pytest.raises(LocalProtocolError, match="used up"):
        sender.encrypt(b"", b"one more")
    with pytest.raises(RemoteProtocolError, match="used up"):
        receiver.decrypt(b"", bytes(32))


def test_rekey_follows_section_4_2_and_keeps_the_counter() -> None:
    cipher = CipherState(KEY)
    cipher.encrypt(b"", b"first")
    cipher.rekey()
    nonce = bytes(4) + MAX_NONCE.to_bytes(8, "little")
    new_key = ChaCha20Poly1305(KEY).encrypt(nonce, bytes(32), b"")[:32]
    second = ChaCha20Poly1305(new_key).encrypt(bytes(4) + (1).to_bytes(8, "little"), b"second", b"")
    assert cipher.encrypt(b"", b"second") == second


def test_one_sided_rekey_is_noticed() -> None:
    sender, receiver = CipherState(KEY), CipherState(KEY)
    sender.rekey()
    with pytest.raises(DecryptError):
        receiver.decrypt(b"", sender.encrypt(b"", b"data"))


def test_without_a_key_there_is_nothing_to_replace() -> None:
    with pytest.raises(LocalProtocolError):
        CipherState().rekey()


def test_no_secret_shows_in_a_repr() -> None:
    pair = KeyPair.from_private_bytes(KEY)
    assert KEY.hex()[:16] not in repr(pair)
    assert pair.private_bytes() == KEY
    assert "key" in repr(CipherState(KEY))
    assert KEY.hex()[:16] not in repr(CipherState(KEY))


def test_a_private_key_of_another_length_is_misuse() -> None:
    with pytest.raises(LocalProtocolError):
        KeyPair.from_private_bytes(bytes(31))
