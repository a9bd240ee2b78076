"""What is sealed at rest opens as what it is, in the store it is of, by that store's key, and in no other way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_decrypt

from pharos.wire.errors import DecryptError, ParameterError
from pharos.wire.seal import passphrase as passphrases
from pharos.wire.seal.atrest import KEY_SIZE, StoreKey, fresh_store_id
from pharos.wire.seal.passphrase import KeyCost

KEY = StoreKey(bytes(range(32)))
STORE = bytes(16)


@given(plain=st.binary(max_size=300), purpose=st.text(max_size=30), clear=st.binary(max_size=30))
def test_what_was_sealed_comes_back(plain: bytes, purpose: str, clear: bytes) -> None:
    sealed = KEY.seal(plain, purpose=purpose, store=STORE, clear=clear)
    assert KEY.open(sealed, purpose=purpose, store=STORE, clear=clear) == plain


@given(at=st.integers(0, 24 + 5 + 16 - 1), bit=st.integers(0, 7))
def test_one_bit_is_enough(at: int, bit: int) -> None:
    sealed = bytearray(KEY.seal(b"plain", purpose="p", store=STORE))
    sealed[at] ^= 1 << bit
    with pytest.raises(DecryptError):
        KEY.open(bytes(sealed), purpose="p", store=STORE)


@pytest.mark.parametrize("size", [0, 1, 23, 24, 39, 40])
def test_piece_of_it_is_refused(size: int) -> None:
    sealed = KEY.seal(b"plain", purpose="p", store=STORE)
    with pytest.raises(DecryptError):
        KEY.open(sealed[:size], purpose="p", store=STORE)


def test_another_purpose_store_clear_text_or_key_opens_nothing() -> None:
    sealed = KEY.seal(b"plain", purpose="ab", store=STORE, clear=b"c")
    assert KEY.open(sealed, purpose="ab", store=STORE, clear=b"c") == b"plain"
    for key, purpose, store, clear in [
        (StoreKey.fresh(), "ab", STORE, b"c"),
        (KEY, "a", STORE, b"c"),
        (KEY, "ab", fresh_store_id(), b"c"),
        (KEY, "ab", STORE, b""),
        # What moves from one field to the next is something else, too.
        (KEY, "a", b"b" + STORE, b"c"),
        (KEY, "ab", STORE + b"c", b""),
    ]:
        with pytest.raises(DecryptError):
            key.open(sealed, purpose=purpose, store=store, clear=clear)


def test_form_on_disk_is_that_of_the_first_version() -> None:
    """Nonce ‖ XChaCha20-Poly1305 with the associated data of the module's title; old stores have to open for ever."""
    sealed = KEY.seal(b"plain", purpose="pharos/device/v1", store=STORE, clear=b"{}", random=bytes)
    aad = b"pharos/at-rest/v1" + b"\x00\x10pharos/device/v1" + b"\x00\x10" + bytes(16) + b"{}"
    assert sealed[:24] == bytes(24)
    assert crypto_aead_xchacha20poly1305_ietf_decrypt(sealed[24:], aad, bytes(24), bytes(range(32))) == b"plain"


def test_check_tells_keys_apart_and_a_repr_tells_nothing() -> None:
    assert KEY.check == StoreKey(bytes(range(32))).check
    assert len({StoreKey.fresh().check for _ in range(20)}) == 20
    assert bytes(range(32)).hex() not in repr(KEY)
    assert repr(bytes(range(32))) not in repr(KEY)
    with pytest.raises(DecryptError):
        StoreKey(bytes(KEY_SIZE - 1))


def test_cost_is_that_of_the_design_and_each_salt_is_another() -> None:
    cost = KeyCost.fresh()
    assert (cost.passes, cost.octets) == (3, 64 * 1024 * 1024)
    assert cost.salt != KeyCost.fresh().salt


@pytest.mark.parametrize(
    ("passes", "octets", "salt"),
    [(0, 2**20, 16), (17, 2**20, 16), (1, 2**13 - 1, 16), (1, 2**30 + 1, 16), (1, 2**20, 15), (-1, 2**62, 16)],
)
def test_cost_out_of_bounds_is_refused_before_anything_runs(
    monkeypatch: pytest.MonkeyPatch, passes: int, octets: int, salt: int
) -> None:
    def run(*_args: object, **_more: object) -> bytes:
        pytest.fail("somebody else's numbers made us work")

    monkeypatch.setattr(passphrases.pwhash.argon2id, "kdf", run)
    with pytest.raises(ParameterError, match=r"passes|octets|salt"):
        KeyCost(salt=bytes(salt), passes=passes, octets=octets).derive("x" * 12)


def test_same_passphrase_and_cost_give_the_same_key_and_no_other_does() -> None:
    cost = KeyCost(salt=bytes(16), passes=1, octets=2**13)
    assert cost.derive("four random words") == cost.derive("four random words")
    assert cost.derive("four random words") != cost.derive("four random word")
    with pytest.raises(ParameterError):
        cost.derive("x" * 1025)
