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
    decode_record,
    encode_record,
)
from pharos.wire.passage.stream import ignore_note
from tests.support.strategies import quick

HTTP2_FRAME = 16_384


def pair(notes: list[bytes] | None = None) -> tuple[PassageRecords, PassageRecords]:
    """Two ends of one session."""
    there, back = bytes(32), bytes([1] * 32)
    take = ignore_note if notes is None else notes.append
    return (
        PassageRecords(CipherState(there), CipherState(back), on_note=take),
        PassageRecords(CipherState(back), CipherState(there), on_note=take),
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
    frame = there.seal_data(bytes(MAX_DATA))
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
        b"\x03\x00\x00",
        b"\xff\x00\x00",
        b"\x01\x00\x01x",
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


def test_data_notes_and_the_end_are_told_apart() -> None:
    notes: list[bytes] = []
    there, back = pair(notes)
    assert back.open(there.seal_data(b"data")) == b"data"
    assert back.open(there.seal_note(b"note")) == b""
    assert back.open(there.seal_end()) is None
    assert notes == [b"note"]


def test_small_frames_all_look_alike() -> None:
    there, _ = pair()
    assert {len(there.seal_data(bytes(size))) for size in range(1, PADDING - 2)} == {PADDING + TAG_LENGTH}
    assert len(there.seal_end()) == len(there.seal_note(b"sync")) == PADDING + TAG_LENGTH


def test_keys_change_in_step_and_for_each_direction_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "REKEY_EVERY", 3)
    there, back = pair()
    for number in range(20):
        assert back.open(there.seal_data(bytes([number]))) == bytes([number])
        if number % 4 == 0:
            assert there.open(back.seal_data(b"answer")) == b"answer"


def test_a_peer_that_does_not_change_its_key_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    there, back = pair()
    frames = [there.seal_data(b"data") for _ in range(4)]
    monkeypatch.setattr(records, "REKEY_EVERY", 3)
    for frame in frames[:3]:
        assert back.open(frame) == b"data"
    with pytest.raises(DecryptError):
        back.open(frames[3])


def test_a_session_has_a_last_frame() -> None:
    send, receive = CipherState(bytes(32)), CipherState(bytes(32))
    there = PassageRecords(send, CipherState(bytes(32)), on_note=ignore_note)
    back = PassageRecords(CipherState(bytes(32)), receive, on_note=ignore_note)
    send.nonce = receive.nonce = MAX_FRAMES - 1
    assert back.open(there.seal_data(b"last")) == b"last"
    with pytest.raises(LocalProtocolError):
        there.seal_data(b"one more")
    assert back.open(there.seal_end()) is None
    with pytest.raises(RemoteProtocolError, match="more frames"):
        back.open(bytes(MAX_FRAME))
