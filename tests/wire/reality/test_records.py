import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.errors import DecryptError, LocalProtocolError
from pharos.wire.reality import records
from pharos.wire.reality.errors import Alert, RecordForgedError, TlsError
from pharos.wire.reality.records import (
    CHANGE_CIPHER_SPEC,
    HEADER,
    MAX_PLAINTEXT,
    MAX_SEALED,
    OVERHEAD,
    ContentType,
    RecordReader,
    RecordWriter,
    TrafficKey,
)
from pharos.wire.reality.suites import SUITES, Suite
from tests.support.strategies import quick

every_suite = pytest.mark.parametrize("suite", SUITES.values(), ids=lambda suite: suite.name)
AES = SUITES[0x1301]


def direction(suite: Suite = AES) -> tuple[RecordWriter, RecordReader]:
    """Return both ends of one direction, with the same key."""
    secret = os.urandom(suite.hash_length)
    writer, reader = RecordWriter(), RecordReader()
    writer.key, reader.key = TrafficKey(suite, secret), TrafficKey(suite, secret)
    return writer, reader


def opened(reader: RecordReader) -> list[tuple[int, bytes]]:
    found = []
    while (record := reader.next_record()) is not None:
        found.append((record[0], bytes(record[1])))
    return found


def alert_of(reader: RecordReader, data: bytes | bytearray) -> Alert:
    reader.feed(data)
    with pytest.raises(TlsError) as caught:
        opened(reader)
    return caught.value.alert


@every_suite
@given(data=st.binary(max_size=40_000), step=st.integers(1, 5000))
@quick
def test_data_comes_out_as_it_went_in_whatever_the_pieces(suite: Suite, data: bytes, step: int) -> None:
    writer, reader = direction(suite)
    sealed = writer.application_data(data)
    found = b""
    for start in range(0, len(sealed), step):
        reader.feed(sealed[start : start + step])
        for kind, content in opened(reader):
            assert kind == ContentType.APPLICATION_DATA
            found += content
    assert found == data
    assert reader.buffered == 0


def test_data_goes_into_as_few_records_as_hold_it() -> None:
    writer, reader = direction()
    sealed = writer.application_data(bytes(2 * MAX_PLAINTEXT + 1))
    assert len(sealed) == 2 * MAX_PLAINTEXT + 1 + 3 * OVERHEAD
    reader.feed(sealed)
    assert [len(content) for _, content in opened(reader)] == [MAX_PLAINTEXT, MAX_PLAINTEXT, 1]
    assert writer.application_data(b"") == b""


@every_suite
def test_a_padded_record_has_the_asked_size_and_loses_its_zeros(suite: Suite) -> None:
    writer, reader = direction(suite)
    record = writer.sealed(ContentType.HANDSHAKE, b"message\0", size=300)
    assert len(record) == 300
    reader.feed(record + writer.sealed(ContentType.APPLICATION_DATA, b"", size=OVERHEAD))
    assert opened(reader) == [(ContentType.HANDSHAKE, b"message\0"), (ContentType.APPLICATION_DATA, b"")]


def test_what_does_not_fit_a_record_is_our_mistake() -> None:
    writer, _ = direction()
    for content, size in [(b"12", OVERHEAD + 1), (b"", MAX_SEALED + 1), (bytes(MAX_PLAINTEXT + 1), 0)]:
        with pytest.raises(LocalProtocolError):
            writer.sealed(ContentType.HANDSHAKE, content, size=size)
    assert writer.key is not None
    assert writer.key.sequence == 0
    for write in (RecordWriter().application_data, lambda data: RecordWriter().sealed(ContentType.ALERT, data)):
        with pytest.raises(LocalProtocolError):
            write(b"too early")


def test_what_is_opened_in_bulk_ends_where_anything_but_data_begins() -> None:
    writer, reader = direction()
    bulk = writer.application_data(bytes(range(256)) * 600)
    padded = writer.sealed(ContentType.APPLICATION_DATA, b"padded", size=90)
    key_update = writer.sealed(ContentType.HANDSHAKE, b"update")
    more = writer.application_data(b"more" * 9000)
    reader.feed(bulk + padded + key_update + more + more)
    assert reader.open_data() == bytes(range(256)) * 600
    assert reader.open_data() == b""
    assert [reader.next_record() for _ in range(2)] == [(23, b"padded"), (22, b"update")]
    assert reader.open_data() == b"more" * 9000
    # The same records again are no longer the peer's next.
    assert reader.open_data() == b""
    assert alert_of(reader, b"") is Alert.BAD_RECORD_MAC


def test_a_forged_record_within_bulk_is_told_by_the_next_record_and_what_came_before_is_given_out() -> None:
    writer, reader = direction()
    data = writer.application_data(bytes(6 * MAX_PLAINTEXT))
    data[3 * (MAX_PLAINTEXT + OVERHEAD) + 700] ^= 1
    reader.feed(data)
    assert reader.open_data() == bytes(3 * MAX_PLAINTEXT)
    assert alert_of(reader, b"") is Alert.BAD_RECORD_MAC


def test_a_single_record_or_one_in_pieces_is_not_opened_in_bulk() -> None:
    writer, reader = direction()
    data = writer.application_data(bytes(4 * MAX_PLAINTEXT))
    reader.feed(data[: MAX_PLAINTEXT + OVERHEAD])
    assert reader.open_data() == b""
    assert reader.next_record() == (23, bytes(MAX_PLAINTEXT))
    reader.feed(data[MAX_PLAINTEXT + OVERHEAD : -10])
    assert reader.open_data() == bytes(2 * MAX_PLAINTEXT)
    assert reader.next_record() is None
    reader.feed(data[-10:] + bytes(MAX_SEALED))
    assert reader.open_data() == b""
    assert reader.next_record() == (23, bytes(MAX_PLAINTEXT))


def test_records_open_one_at_a_time_and_the_rest_stays_as_it_was() -> None:
    writer, reader = direction()
    first, second = writer.application_data(b"first"), writer.application_data(b"second")
    reader.feed(first + second + b"raw")
    record = reader.next_record()
    assert record is not None
    assert bytes(record[1]) == b"first"
    assert reader.take_rest() == second + b"raw"
    assert reader.take_rest() == b""


@every_suite
@given(st.data())
@quick
def test_a_record_that_was_touched_anywhere_is_not_opened(suite: Suite, data: st.DataObject) -> None:
    writer, reader = direction(suite)
    record = writer.application_data(b"a message of some octets")
    # The length says how much is the record: with a wrong one there would be another record, or none yet.
    index = data.draw(st.integers(0, len(record) - 1).filter(lambda index: index not in {3, 4}))
    record[index] ^= data.draw(st.integers(1, 255))
    reader.feed(record)
    with pytest.raises(TlsError):
        opened(reader)


def test_a_forged_record_is_a_decrypt_error_and_says_bad_record_mac() -> None:
    writer, reader = direction()
    record = writer.application_data(b"data")
    record[-1] ^= 1
    reader.feed(record)
    with pytest.raises(RecordForgedError) as caught:
        reader.next_record()
    assert isinstance(caught.value, DecryptError)
    assert caught.value.alert is Alert.BAD_RECORD_MAC
    # Shorter than any tag.
    assert alert_of(direction()[1], b"\x17\3\3\0\2ab") is Alert.BAD_RECORD_MAC


def test_records_that_were_swapped_or_repeated_are_not_opened() -> None:
    writer, reader = direction()
    first, second = writer.application_data(b"1"), writer.application_data(b"2")
    assert alert_of(reader, second + first) is Alert.BAD_RECORD_MAC
    writer, reader = direction()
    first = writer.application_data(b"1")
    assert alert_of(reader, first + first) is Alert.BAD_RECORD_MAC


@pytest.mark.parametrize(
    ("data", "alert"),
    [
        (b"GET / HTTP/1.1\r\n", Alert.UNEXPECTED_MESSAGE),
        (b"\x16\2\3\0\1a", Alert.UNEXPECTED_MESSAGE),
        (b"\x18\3\3\0\1a", Alert.UNEXPECTED_MESSAGE),
        (b"\x16\3\3\x40\1", Alert.RECORD_OVERFLOW),
        (b"\x14\3\3\0\1\2", Alert.UNEXPECTED_MESSAGE),
        (b"\x14\3\3\0\2\1\1", Alert.UNEXPECTED_MESSAGE),
    ],
)
def test_what_is_no_record_is_refused_in_the_clear(data: bytes, alert: Alert) -> None:
    assert alert_of(RecordReader(), data) is alert


@pytest.mark.parametrize(
    ("data", "alert"),
    [
        (b"\x17\3\3\x41\1", Alert.RECORD_OVERFLOW),
        (b"\x16\3\3\0\4\1\0\0\0", Alert.UNEXPECTED_MESSAGE),
    ],
)
def test_what_is_no_sealed_record_is_refused_once_there_are_keys(data: bytes, alert: Alert) -> None:
    assert alert_of(direction()[1], data) is alert


def test_the_longest_record_is_opened_and_a_longer_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    writer, reader = direction()
    longest = writer.sealed(ContentType.HANDSHAKE, bytes([1]) * MAX_PLAINTEXT)
    reader.feed(longest)
    assert [len(content) for _, content in opened(reader)] == [MAX_PLAINTEXT]
    # All that AEAD and padding may add is 256 octets (RFC 8446 §5.2), and of plaintext there is one octet of type.
    monkeypatch.setattr(records, "MAX_SEALED", MAX_SEALED + 1)
    too_long = writer.sealed(ContentType.HANDSHAKE, bytes(MAX_PLAINTEXT + 1))
    monkeypatch.undo()
    assert alert_of(reader, too_long) is Alert.RECORD_OVERFLOW


def test_a_record_of_nothing_but_zeros_has_no_type() -> None:
    writer, reader = direction()
    assert writer.key is not None
    header = b"\x17\3\3" + (20 + 16).to_bytes(2, "big")
    record = header + writer.key.aead.encrypt(writer.key.nonce(), bytes(20), header)
    assert alert_of(reader, record) is Alert.UNEXPECTED_MESSAGE


def test_change_cipher_spec_means_nothing_until_it_means_an_error() -> None:
    writer, reader = direction()
    reader.feed(CHANGE_CIPHER_SPEC + writer.application_data(b"data") + CHANGE_CIPHER_SPEC)
    assert opened(reader) == [(ContentType.APPLICATION_DATA, b"data")]
    reader.tolerates_change_cipher_spec = False
    assert alert_of(reader, CHANGE_CIPHER_SPEC) is Alert.UNEXPECTED_MESSAGE


def test_only_so_many_records_in_a_row_may_mean_nothing() -> None:
    reader = RecordReader(max_useless=3)
    reader.feed(3 * CHANGE_CIPHER_SPEC)
    assert opened(reader) == []
    reader.count_useful()
    reader.feed(3 * CHANGE_CIPHER_SPEC)
    assert opened(reader) == []
    assert alert_of(reader, CHANGE_CIPHER_SPEC) is Alert.UNEXPECTED_MESSAGE


def test_another_key_begins_at_record_zero_and_opens_what_follows() -> None:
    writer, reader = direction()
    assert writer.key is not None
    assert reader.key is not None
    reader.feed(writer.application_data(b"old"))
    opened(reader)
    writer.key, reader.key = writer.key.following(), reader.key.following()
    assert writer.key.sequence == 0
    reader.feed(writer.application_data(b"new"))
    assert opened(reader) == [(ContentType.APPLICATION_DATA, b"new")]


def test_plain_records_carry_a_hello_of_any_length() -> None:
    reader = RecordReader()
    plain = RecordWriter().plain(ContentType.HANDSHAKE, bytes(MAX_PLAINTEXT + 5), version=0x0301)
    assert plain[:HEADER] == b"\x16\3\1\x40\0"
    reader.feed(plain)
    assert [len(content) for _, content in opened(reader)] == [MAX_PLAINTEXT, 5]


@given(st.lists(st.binary(max_size=60), max_size=20), st.booleans())
@quick
def test_no_octets_raise_anything_but_a_tls_error(pieces: list[bytes], keyed: bool) -> None:
    reader = direction()[1] if keyed else RecordReader()
    try:
        for piece in pieces:
            reader.feed(piece)
            opened(reader)
    except TlsError:
        pass
