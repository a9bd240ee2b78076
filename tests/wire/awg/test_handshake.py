import struct

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.bindings import crypto_aead_chacha20poly1305_ietf_decrypt, crypto_aead_chacha20poly1305_ietf_encrypt

from pharos.wire.awg.cookies import MacChecker, MacStamper
from pharos.wire.awg.handshake import create_initiation, meet, read_initiation
from pharos.wire.awg.keys import NO_PRESHARED_KEY, StaticKey, generate_private_key, public_key
from pharos.wire.awg.messages import CORE_BYTES, MACS_BYTES, MessageKind
from pharos.wire.awg.session import NONCE, Session
from pharos.wire.errors import DecryptError, ParameterError
from tests.wire.awg.reference import Initiator, Responder

INITIATOR, RESPONDER = bytes(range(32)), bytes(range(32, 64))
EPHEMERAL_I, EPHEMERAL_R = bytes(range(64, 96)), bytes(range(96, 128))
PSK = bytes(range(128, 160))
TIMESTAMP = struct.pack(">QI", 0x400000000000000A + 1_700_000_000, 0)
SMALL_ORDER = bytes(32)

PINNED_INITIATION = (
    "010000004433221179a631eede1bf9c98f12032cdeadd0e7a079398fc786b88cc846ec89af85a51af0225eb421886af8"
    "f54fb31289d49dcd82b0f6f3279d40d7cff913fece0c64ad226eef3320755b393b72f16842c8d7ee78a74e937e3f2a82"
    "8ff4ecc11547a9c7d1ee1b22fedf3178ecbaddb3"
)
PINNED_RESPONSE = (
    "020000008877665544332211675dd574ed7789310b3d2e7681f3790b466c773b1521fecf36577958371ea52f5656f683"
    "cf4eca2baff0b0af3d5ad137"
)
PINNED_SEND = "f26d13be8f8fe7fe36805b47503285e73bcb2fc6fe3ef37834e5f6128ad8cf50"
PINNED_RECEIVE = "083bdab92ffb8da7ab5063bb2d96de2b7e09008d8e07bcf96ac25c340a778665"

keys32 = st.binary(min_size=32, max_size=32)


def stamped(message, public):
    return MacStamper(public).stamp(message, 0.0)


def our_initiation(psk=PSK, responder=RESPONDER):
    local = StaticKey(INITIATOR)
    remote = meet(local, public_key(responder), psk)
    return create_initiation(local, remote, header=1, index=0x11223344, ephemeral=EPHEMERAL_I, timestamp=TIMESTAMP)


def our_response(initiation, psk=PSK):
    local = StaticKey(RESPONDER)
    claimed = read_initiation(local, initiation)
    authentic = claimed.authenticate(meet(local, claimed.static, psk))
    return authentic.respond(header=2, index=0x55667788, ephemeral=EPHEMERAL_R)


def test_the_transcript_is_pinned():
    # The reference below gives the same bytes; this pin catches a change made to both.
    initiation, pending = our_initiation()
    response, responder_keys = our_response(initiation)
    initiator_keys = pending.finish(response)
    assert initiation.hex() == PINNED_INITIATION
    assert response.hex() == PINNED_RESPONSE
    assert initiator_keys.send.hex() == PINNED_SEND
    assert initiator_keys.receive.hex() == PINNED_RECEIVE
    assert (responder_keys.send, responder_keys.receive) == (initiator_keys.receive, initiator_keys.send)


@given(st.tuples(keys32, keys32, keys32, keys32, keys32), st.integers(5, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_our_initiator_agrees_with_the_reference_responder(keys, header, index):
    private_i, private_r, ephemeral_i, ephemeral_r, psk = keys
    local = StaticKey(private_i)
    message, pending = create_initiation(
        local,
        meet(local, public_key(private_r), psk),
        header=header,
        index=index,
        ephemeral=ephemeral_i,
        timestamp=TIMESTAMP,
    )
    message = stamped(message, public_key(private_r))
    theirs = Initiator(private_i, public_key(private_r), psk)
    assert message == theirs.write_initiation(header, index, ephemeral_i, TIMESTAMP)
    reference = Responder(private_r, psk)
    assert reference.read_initiation(message) == (local.public, TIMESTAMP)
    response, send, receive = reference.write_response(header, 7, ephemeral_r)
    keys = pending.finish(response)
    assert (keys.send, keys.receive, keys.remote_index, keys.local_index) == (receive, send, 7, index)


@given(st.tuples(keys32, keys32, keys32, keys32, keys32), st.integers(0, 2**32 - 1))
def test_our_responder_agrees_with_the_reference_initiator(keys, index):
    private_i, private_r, ephemeral_i, ephemeral_r, psk = keys
    reference = Initiator(private_i, public_key(private_r), psk)
    initiation = reference.write_initiation(1, index, ephemeral_i, TIMESTAMP)
    local = StaticKey(private_r)
    assert MacChecker(local.public, bytes).mac1_matches(initiation)
    claimed = read_initiation(local, initiation)
    assert claimed.static == public_key(private_i)
    authentic = claimed.authenticate(meet(local, claimed.static, psk))
    assert authentic.timestamp == TIMESTAMP
    response, ours = authentic.respond(header=2, index=9, ephemeral=ephemeral_r)
    send, receive, remote_index = reference.read_response(stamped(response, claimed.static))
    assert (ours.send, ours.receive, remote_index, ours.remote_index) == (receive, send, 9, index)


def test_messages_have_wireguards_sizes():
    initiation, _ = our_initiation()
    response, _ = our_response(initiation)
    assert len(initiation) + MACS_BYTES == CORE_BYTES[MessageKind.INITIATION] == 148
    assert len(response) + MACS_BYTES == CORE_BYTES[MessageKind.RESPONSE] == 92
    assert CORE_BYTES[MessageKind.COOKIE_REPLY] == 64


def test_a_wrong_preshared_key_fails_at_the_initiator():
    initiation, pending = our_initiation()
    response, _ = our_response(initiation, psk=NO_PRESHARED_KEY)
    with pytest.raises(DecryptError):
        pending.finish(response)
    # The pending initiation is none the worse for it.
    right, keys = our_response(initiation)
    assert pending.finish(right).send == keys.receive


def test_every_bit_of_an_initiation_is_authenticated_but_its_header():
    initiation, _ = our_initiation()
    for position in range(8, len(initiation)):
        damaged = bytearray(initiation)
        damaged[position] ^= 1
        with pytest.raises(DecryptError):
            our_response(bytes(damaged))


def test_an_initiation_for_another_key_is_refused():
    initiation, _ = our_initiation(responder=EPHEMERAL_R)
    with pytest.raises(DecryptError):
        our_response(initiation)


def test_a_response_to_another_initiation_is_refused():
    initiation, pending = our_initiation()
    response, _ = our_response(initiation)
    with pytest.raises(DecryptError, match="another initiation"):
        attrs.evolve(pending, index=1).finish(response)


def test_points_of_small_order_are_refused_wherever_they_stand():
    initiation, pending = our_initiation()
    response, _ = our_response(initiation)
    with pytest.raises(DecryptError, match="small order"):
        our_response(initiation[:8] + SMALL_ORDER + initiation[40:])
    with pytest.raises(DecryptError, match="small order"):
        pending.finish(response[:12] + SMALL_ORDER + response[44:])
    with pytest.raises(ParameterError, match="small order"):
        meet(StaticKey(INITIATOR), SMALL_ORDER)


def test_keys_of_a_wrong_length_are_refused_without_being_shown():
    for make in (StaticKey, public_key):
        with pytest.raises(ParameterError, match="private_key of 5 bytes: must be 32 bytes") as caught:
            make(b"hushh")
        assert "hush" not in str(caught.value)
    with pytest.raises(ParameterError, match="preshared_key of 3 bytes"):
        meet(StaticKey(INITIATOR), public_key(RESPONDER), b"psk")


def test_secrets_are_not_printed():
    initiation, pending = our_initiation()
    _, keys = our_response(initiation)
    printed = repr((pending, keys, StaticKey(INITIATOR), meet(StaticKey(INITIATOR), public_key(RESPONDER), PSK)))
    for secret in (PSK, keys.send, keys.receive, INITIATOR):
        assert secret.hex() not in printed
        assert repr(secret)[2:-1] not in printed


def test_generated_private_keys_are_clamped():
    key = generate_private_key(lambda size: b"\xff" * size)
    assert (key[0], key[31]) == (0xF8, 0x7F)
    assert generate_private_key(bytes)[31] == 0x40


def test_a_session_seals_as_the_reference_cipher_does():
    initiation, pending = our_initiation()
    response, keys = our_response(initiation)
    session = Session(pending.finish(response), now=0.0, reject_after=180.0)
    nonce = NONCE.pack(1)
    assert nonce == struct.pack("<4xQ", 1)
    sealed, opened = bytearray(6 + 16), bytearray(4)
    session.encrypt_into(nonce, b"second", None, sealed)
    assert crypto_aead_chacha20poly1305_ietf_decrypt(bytes(sealed), b"", nonce, keys.receive) == b"second"
    theirs = crypto_aead_chacha20poly1305_ietf_encrypt(b"back", b"", nonce, keys.send)
    session.decrypt_into(nonce, theirs, None, opened)
    assert opened == b"back"
