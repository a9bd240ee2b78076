from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pharos.wire.errors import DecryptError, LocalProtocolError, RemoteProtocolError
from pharos.wire.noise.handshake import TRANSITIONS, Handshake, Input, State
from pharos.wire.noise.keys import KeyPair
from pharos.wire.noise.patterns import PATTERNS, SUFFIX, Token, parse_protocol_name
from pharos.wire.noise.symmetric import MAX_MESSAGE
from tests.support.strategies import quick

IK = f"Noise_IK_{SUFFIX}"
NN = f"Noise_NN_{SUFFIX}"
NKPSK0 = f"Noise_NKpsk0_{SUFFIX}"
DEVICE, HELM = KeyPair.from_private_bytes(bytes([1] * 32)), KeyPair.from_private_bytes(bytes([2] * 32))

# The points of small order of Curve25519 (https://cr.yp.to/ecdh.html#validate), canonical and above the field's prime.
LOW_ORDER = [
    bytes(32),
    b"\x01" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
]


def ik_pair(prologue: bytes = b"") -> tuple[Handshake, Handshake]:
    initiator = Handshake(
        IK,
        initiator=True,
        prologue=prologue,
        static=DEVICE,
        remote_static=HELM.public,
        generate=KeyPair.generate,
    )
    responder = Handshake(IK, initiator=False, prologue=prologue, static=HELM, generate=KeyPair.generate)
    return initiator, responder


def finished_pair() -> tuple[Handshake, Handshake]:
    initiator, responder = ik_pair()
    responder.read(initiator.write())
    initiator.read(responder.write())
    return initiator, responder


def failed_handshake() -> Handshake:
    _, responder = ik_pair()
    with pytest.raises(RemoteProtocolError):
        responder.read(b"")
    return responder


def split_handshake() -> Handshake:
    initiator, _ = finished_pair()
    initiator.split()
    return initiator


IN_STATE: dict[State, Callable[[], Handshake]] = {
    State.WRITING: lambda: ik_pair()[0],
    State.READING: lambda: ik_pair()[1],
    State.FINISHED: lambda: finished_pair()[0],
    State.SPLIT: split_handshake,
    State.FAILED: failed_handshake,
}
CALLS: dict[str, Callable[[Handshake], object]] = {
    "write": lambda handshake: handshake.write(),
    "read": lambda handshake: handshake.read(b"x" * 96),
    "split": lambda handshake: handshake.split(),
}
ALLOWED = {("write", State.WRITING), ("read", State.READING), ("split", State.FINISHED)}


def test_the_table_names_every_allowed_pair_and_no_other() -> None:
    listed = {(given.name.removesuffix("_LAST").lower(), state) for state, given in TRANSITIONS}
    assert listed == ALLOWED
    assert len(TRANSITIONS) == len(Input)


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("call", CALLS)
def test_a_call_out_of_turn_is_refused_and_blamed(call: str, state: State) -> None:
    handshake = IN_STATE[state]()
    assert handshake.state is state
    if (call, state) in ALLOWED:
        return
    blame = RemoteProtocolError if call == "read" else LocalProtocolError
    with pytest.raises(blame, match="in state"):
        CALLS[call](handshake)
    assert handshake.state is state


def test_both_sides_learn_the_same_hash_and_the_responder_learns_who_called() -> None:
    initiator, responder = finished_pair()
    assert initiator.handshake_hash == responder.handshake_hash
    assert responder.remote_static == DEVICE.public


def test_the_hash_is_refused_before_the_end() -> None:
    with pytest.raises(LocalProtocolError):
        _ = ik_pair()[0].handshake_hash


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_pattern_finishes_with_payloads(pattern: str) -> None:
    name = f"Noise_{pattern}psk0_{SUFFIX}"
    table = parse_protocol_name(name)

    def side(*, initiator: bool) -> Handshake:
        own, other = (DEVICE, HELM) if initiator else (HELM, DEVICE)
        other_known = table.responder_known if initiator else table.initiator_known
        return Handshake(
            name,
            initiator=initiator,
            static=own if table.needs_static(initiator=initiator) else None,
            remote_static=other.public if other_known else None,
            psks=[bytes(32)],
            generate=KeyPair.generate,
        )

    writer, reader = initiator, responder = side(initiator=True), side(initiator=False)
    while not writer.finished:
        assert reader.read(writer.write(b"payload")) == b"payload"
        writer, reader = reader, writer
    assert initiator.handshake_hash == responder.handshake_hash
    assert responder.split()[1].decrypt(b"", initiator.split()[0].encrypt(b"", b"data")) == b"data"


@quick
@given(at=st.integers(0, 95 * 8 + 7))
@example(at=255)
def test_any_flipped_bit_of_message_1_is_refused(at: int) -> None:
    initiator, responder = ik_pair()
    message = bytearray(initiator.write())
    assert len(message) == 96
    # X25519 ignores the top bit of a point (RFC 7748 §5, here bit 255); the transcript hash covers it all the same.
    message[at // 8] ^= 1 << (at % 8)
    with pytest.raises(RemoteProtocolError):
        responder.read(bytes(message))
    assert responder.state is State.FAILED


@quick
@given(junk=st.binary(max_size=200))
def test_junk_is_the_peers_fault(junk: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        ik_pair()[1].read(junk)


@quick
@given(size=st.integers(0, 95))
def test_a_shortened_message_is_refused(size: int) -> None:
    initiator, responder = ik_pair()
    with pytest.raises(RemoteProtocolError):
        responder.read(initiator.write()[:size])


def test_another_prologue_is_refused() -> None:
    with pytest.raises(DecryptError):
        ik_pair(b"fleet a")[1].read(ik_pair(b"fleet b")[0].write())


def test_another_responder_key_is_refused() -> None:
    initiator, _ = ik_pair()
    stranger = Handshake(IK, initiator=False, static=KeyPair.generate(), generate=KeyPair.generate)
    with pytest.raises(DecryptError):
        stranger.read(initiator.write())


def test_another_psk_is_refused() -> None:
    def side(psk: int, *, initiator: bool) -> Handshake:
        return Handshake(
            NKPSK0,
            initiator=initiator,
            static=None if initiator else HELM,
            remote_static=HELM.public if initiator else None,
            psks=[bytes([psk] * 32)],
            generate=KeyPair.generate,
        )

    with pytest.raises(DecryptError):
        side(2, initiator=False).read(side(1, initiator=True).write())


@pytest.mark.parametrize("point", LOW_ORDER, ids=lambda point: point.hex()[:8])
def test_a_low_order_ephemeral_is_refused_before_any_decryption(point: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="cannot be used") as caught:
        ik_pair()[1].read(point + bytes(64))
    assert not isinstance(caught.value, DecryptError)


def test_a_message_over_64_kib_is_refused_on_both_sides() -> None:
    initiator = Handshake(NN, initiator=True, generate=KeyPair.generate)
    with pytest.raises(LocalProtocolError, match="at most"):
        initiator.write(bytes(MAX_MESSAGE))
    responder = Handshake(NN, initiator=False, generate=KeyPair.generate)
    with pytest.raises(RemoteProtocolError, match="at most"):
        responder.read(bytes(MAX_MESSAGE + 1))


@pytest.mark.parametrize(
    "name",
    [
        "",
        "IK",
        "Noise_IK_25519_AESGCM_SHA256",
        f"Noise_ZZ_{SUFFIX}",
        f"Noise_IKpsk3_{SUFFIX}",
        f"Noise_IK+psk1_{SUFFIX}",
        f"Noise_IKpsk1+psk1_{SUFFIX}",
        f"Noise_IKfallback_{SUFFIX}",
        f"noise_IK_{SUFFIX}",
        f"Noise_IK_{SUFFIX}\n",
    ],
)
def test_an_unknown_protocol_name_is_misuse(name: str) -> None:
    with pytest.raises(LocalProtocolError, match=r"known here|no place"):
        parse_protocol_name(name)


def test_several_psks_go_where_the_name_says() -> None:
    pattern = parse_protocol_name(f"Noise_XXpsk0+psk3_{SUFFIX}")
    assert pattern.messages[0] == (Token.PSK, Token.E)
    assert pattern.messages[2][-1] is Token.PSK
    assert pattern.psks == 2


@pytest.mark.parametrize(
    "change",
    [
        {"static": None},
        {"remote_static": None},
        {"remote_static": bytes(31)},
        {"psks": [bytes(32)]},
    ],
    ids=str,
)
def test_keys_that_do_not_fit_the_pattern_are_misuse(change: dict[str, object]) -> None:
    fitting = {"static": DEVICE, "remote_static": HELM.public, "psks": []}
    with pytest.raises(LocalProtocolError):
        Handshake(IK, initiator=True, generate=KeyPair.generate, **(fitting | change))  # type: ignore[arg-type]


def test_a_needless_remote_static_is_misuse() -> None:
    with pytest.raises(LocalProtocolError, match="needless"):
        Handshake(IK, initiator=False, static=HELM, remote_static=DEVICE.public, generate=KeyPair.generate)


def test_a_psk_of_another_length_is_misuse() -> None:
    with pytest.raises(LocalProtocolError, match="pre-shared"):
        Handshake(NKPSK0, initiator=False, static=HELM, psks=[bytes(16)], generate=KeyPair.generate)
