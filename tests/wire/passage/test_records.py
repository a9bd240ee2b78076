import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pharos.wire.errors import DecryptError, LocalProtocolError, RemoteProtocolError
from pharos.wire.noise.symmetric import TAG_LENGTH, CipherState
from pharos.wire.passage import records
from pharos.wire.passage.records import (
    MAX_DATA,
    MAX_FRAME,
    MAX_FRAMES,
    MAX_PLAINTEXT,
    PADDING,
    Kind,
    PassageRecords,
    SpentError,
    decode_record,
    encode_record,
)
from tests.support.strategies import quick

HTTP2_FRAME = 16_384


def pair() -> tuple[PassageRecords, PassageRecords]:
    """Two ends of one session, the device's and helm's."""
    there, back = bytes(32), bytes([1] * 32)
    return (
        PassageRecords(CipherState(there), CipherState(back), device=True),
        PassageRecords(CipherState(back), CipherState(there), device=False),
    )


@quick
@given(kind=st.sampled_from([Kind.DATA, Kind.NOTE]), data=st.binary(max_size=MAX_DATA))
@example(kind=Kind.DATA, data=bytes(MAX_DATA))
def test_a_record_is_read_again(kind: Kind, data: bytes) -> None:
    record = encode_record(kind, data)
    assert decode_record(record) == (kind, data)
    assert len(record) % PADDING == 0 or len(record) == MAX_PLAINTEXT
    assert len(record) - len(data) < PADDING + 3


def test_the_largest_frame_fits_one_http2_frame() -> None:
    there, _ = pair()
    frame = there.seal(Kind.DATA, bytes(MAX_DATA))
    assert len(frame) == MAX_PLAINTEXT + TAG_LENGTH
    # Protobuf: a tag, and a length of three octets; gRPC: a flag, and a length of four.
    assert len(frame) + 1 + 3 + 1 + 4 <= HTTP2_FRAME


def test_more_than_fits_is_misuse() -> None:
    with pytest.raises(LocalProtocolError):
        encode_record(Kind.DATA, bytes(MAX_DATA + 1))


def test_a_frame_that_is_padded_otherwise_is_read() -> None:
    assert decode_record(b"\x00\x00\x02hi") == (Kind.DATA, b"hi")
    assert decode_record(b"\x00\x00\x02hi" + bytes(1000)) == (Kind.DATA, b"hi")


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"\x00",
        b"\x00\x00",
        b"\x00\x00\x01",
        b"\x00\xff\xff" + bytes(100),
        b"\x00\x00\x02hi\x01",
        b"\x00\x00\x02hi" + bytes(250) + b"\x01",
        b"\x04\x00\x00",
        b"\xff\x00\x00",
        b"\x01\x00\x01x",
        b"\x03\x00\x01x",
        bytes(MAX_PLAINTEXT + 1),
    ],
    ids=[
        "nothing",
        "no length",
        "half a length",
        "no data",
        "length beyond the record",
        "padding not zero",
        "last padding not zero",
        "unknown kind",
        "far unknown kind",
        "close with data",
        "end with data",
        "too long",
    ],
)
def test_a_record_that_means_nothing_is_the_peers_fault(record: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_record(record)


@quick
@given(record=st.binary(max_size=600))
def test_any_record_means_one_thing_or_nothing(record: bytes) -> None:
    try:
        kind, data = decode_record(record)
    except RemoteProtocolError:
        return
    assert record == bytes((kind,)) + len(data).to_bytes(2, "big") + data + bytes(len(record) - 3 - len(data))


def test_every_kind_is_told_apart() -> None:
    there, back = pair()
    for kind, data in [(Kind.DATA, b"data"), (Kind.NOTE, b"note"), (Kind.END, b""), (Kind.CLOSE, b"")]:
        assert back.open(there.seal(kind, data)) == (kind, data)


def test_small_frames_all_look_alike() -> None:
    there, _ = pair()
    sizes = {len(there.seal(Kind.DATA, bytes(size))) for size in range(1, PADDING - 2)}
    sizes |= {len(there.seal(kind)) for kind in (Kind.NOTE, Kind.END, Kind.CLOSE)}
    assert sizes == {PADDING + TAG_LENGTH}


def test_a_passage_is_light_until_data_and_after_both_ends() -> None:
    there, back = pair()
    assert there.light
    back.open(there.seal(Kind.NOTE))
    assert (there.light, back.light) == (True, True)
    back.open(there.seal(Kind.DATA, b"request"))
    assert (there.light, back.light) == (False, False)
    back.open(there.seal(Kind.END))
    there.open(back.seal(Kind.DATA, b"the rest"))
    assert (there.light, back.light) == (False, False)
    there.open(back.seal(Kind.END))
    assert (there.light, back.light) == (True, True)


def test_what_is_out_of_place_spends_no_nonce() -> None:
    there, back = pair()
    for records_, kind in [(back, Kind.DATA), (back, Kind.END), (there, Kind.END)]:
        with pytest.raises(LocalProtocolError):
            records_.seal(kind)
    assert back.open(there.seal(Kind.DATA, b"first")) == (Kind.DATA, b"first")
    assert there.open(back.seal(Kind.DATA, b"answer")) == (Kind.DATA, b"answer")


def test_keys_change_in_step_and_for_each_direction_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "REKEY_EVERY", 3)
    there, back = pair()
    for number in range(20):
        assert back.open(there.seal(Kind.DATA, bytes([number]))) == (Kind.DATA, bytes([number]))
        if number % 4 == 0:
            assert there.open(back.seal(Kind.DATA, b"answer")) == (Kind.DATA, b"answer")


def test_a_peer_that_does_not_change_its_key_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    there, back = pair()
    frames = [there.seal(Kind.DATA, b"data") for _ in range(4)]
    monkeypatch.setattr(records, "REKEY_EVERY", 3)
    for frame in frames[:3]:
        assert back.open(frame) == (Kind.DATA, b"data")
    with pytest.raises(DecryptError):
        back.open(frames[3])


def test_a_session_has_a_last_frame_at_both_ends() -> None:
    send, receive = CipherState(bytes(32)), CipherState(bytes(32))
    there = PassageRecords(send, CipherState(bytes(32)), device=True)
    back = PassageRecords(CipherState(bytes(32)), receive, device=False)
    send.nonce = receive.nonce = MAX_FRAMES - 1
    assert back.open(there.seal(Kind.DATA, b"last")) == (Kind.DATA, b"last")
    with pytest.raises(SpentError):
        there.seal(Kind.DATA, b"one more")
    assert back.open(there.seal(Kind.CLOSE)) == (Kind.CLOSE, b"")
    with pytest.raises(RemoteProtocolError, match="more frames"):
        back.open(bytes(MAX_FRAME))
