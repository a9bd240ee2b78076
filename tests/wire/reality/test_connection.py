"""A connection behind its handshake: data, keys, alerts and the end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.errors import LocalProtocolError
from pharos.wire.reality.connection import DataReceived, PeerClosed, State
from pharos.wire.reality.errors import (
    Alert,
    AlertReceivedError,
    RecordForgedError,
    TlsError,
)
from pharos.wire.reality.messages import HandshakeType, write_message
from pharos.wire.reality.records import OVERHEAD, ContentType
from tests.support.reality import (
    alert_in,
    connected,
    data_in,
    deliver,
    ends,
    events_of,
    put,
    records_of,
)
from tests.support.strategies import quick

BOTH_WAYS = pytest.mark.parametrize("sender", ["client", "node"])


@BOTH_WAYS
def test_keys_are_updated_at_once_and_as_often_as_wanted(sender: str) -> None:
    pair = connected()
    source, sink = (pair.client, pair.node) if sender == "client" else (pair.node, pair.client)
    for number in range(5):
        source.update_keys(request=False)
        source.send(b"%d" % number)
        assert data_in(deliver(source, sink)) == b"%d" % number
    assert sink.take_output() == b""


@BOTH_WAYS
def test_a_wanted_update_of_keys_goes_before_the_next_data(sender: str) -> None:
    pair = connected()
    source, sink = (pair.client, pair.node) if sender == "client" else (pair.node, pair.client)
    source.update_keys(request=True)
    assert deliver(source, sink) == []
    before = source._reader.key
    sink.send(b"answer")
    assert data_in(deliver(sink, source)) == b"answer"
    assert source._reader.key is not before
    source.send(b"more")
    assert data_in(deliver(source, sink)) == b"more"


def test_a_silent_end_answers_any_number_of_wanted_updates_by_one() -> None:
    pair = connected()
    for _ in range(100):
        pair.node.update_keys(request=True)
        pair.node.send(b".")
    assert data_in(deliver(pair.node, pair.client)) == 100 * b"."
    # Nothing piles up at who is asked on and on.
    assert pair.client.take_output() == b""
    pair.client.send(b"answer")
    records = records_of(pair.client.take_output())
    assert [len(record) for record in records] == [OVERHEAD + 5, OVERHEAD + 6]
    for record in records:
        pair.node.receive(record)
    assert data_in(events_of(pair.node)) == b"answer"


def test_keys_are_updated_before_they_have_sealed_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pharos.wire.reality.connection.MAX_RECORDS", 4)
    pair = connected()
    for _ in range(20):
        pair.client.send(b"data")
        assert data_in(deliver(pair.client, pair.node)) == b"data"
        assert pair.client._writer.key is not None
        assert pair.client._writer.key.sequence < 4


def test_updates_of_keys_without_data_are_only_borne_so_often() -> None:
    pair = connected()
    for _ in range(40):
        pair.node.update_keys(request=True)
    pair.client.receive(pair.node.take_output())
    with pytest.raises(TlsError, match="in a row"):
        events_of(pair.client)


def test_data_of_no_octets_is_only_borne_so_often() -> None:
    pair = connected()
    for count, borne in ((32, True), (33, False)):
        for _ in range(count):
            put(pair.node, ContentType.APPLICATION_DATA, b"")
        if borne:
            pair.node.send(b"data")
            assert data_in(deliver(pair.node, pair.client)) == b"data"
    pair.client.receive(pair.node.take_output())
    with pytest.raises(TlsError, match="in a row"):
        events_of(pair.client)


@pytest.mark.parametrize("body", [b"\2", b"", b"\0\0"])
def test_an_update_of_keys_that_says_neither_is_refused(body: bytes) -> None:
    pair = connected()
    put(pair.client, ContentType.HANDSHAKE, write_message(HandshakeType.KEY_UPDATE, body))
    pair.node.receive(pair.client.take_output())
    with pytest.raises(TlsError):
        events_of(pair.node)


def test_an_update_of_keys_with_more_in_its_record_is_refused() -> None:
    pair = connected()
    put(pair.client, ContentType.HANDSHAKE, write_message(HandshakeType.KEY_UPDATE, b"\0") + b"\x18")
    pair.node.receive(pair.client.take_output())
    with pytest.raises(TlsError, match="change of keys"):
        events_of(pair.node)


def test_a_ticket_of_the_server_means_nothing() -> None:
    pair = connected()
    put(pair.node, ContentType.HANDSHAKE, write_message(HandshakeType.NEW_SESSION_TICKET, bytes(100)))
    pair.node.send(b"data")
    assert data_in(deliver(pair.node, pair.client)) == b"data"


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (ContentType.HANDSHAKE, write_message(HandshakeType.CLIENT_HELLO, b"")),
        (ContentType.HANDSHAKE, write_message(HandshakeType.NEW_SESSION_TICKET, b"")),
        (ContentType.HANDSHAKE, write_message(HandshakeType.FINISHED, bytes(32))),
        (ContentType.HANDSHAKE, b"\x63\0\0\0"),
        (ContentType.CHANGE_CIPHER_SPEC, b"\1"),
        (ContentType.ALERT, b"\2"),
    ],
)
def test_what_a_connected_client_does_not_send_ends_the_connection(kind: ContentType, content: bytes) -> None:
    pair = connected()
    put(pair.client, kind, content)
    pair.node.receive(pair.client.take_output())
    with pytest.raises(TlsError) as caught:
        events_of(pair.node)
    assert alert_in(pair.node, pair.client) == caught.value.alert


def test_nothing_may_interrupt_a_handshake_message() -> None:
    pair = connected()
    put(pair.client, ContentType.HANDSHAKE, b"\x18\0\0")
    pair.client.send(b"data")
    pair.node.receive(pair.client.take_output())
    with pytest.raises(TlsError, match="interrupts"):
        events_of(pair.node)


def test_an_alert_in_the_clear_is_refused_behind_the_handshake() -> None:
    pair = connected()
    pair.client.receive(b"\x15\3\3\0\2\1\0")
    with pytest.raises(TlsError):
        events_of(pair.client)


def test_an_unknown_alert_is_an_alert_and_user_canceled_is_none() -> None:
    pair = connected()
    put(pair.node, ContentType.ALERT, b"\1\x5a")
    pair.node.send(b"data")
    assert data_in(deliver(pair.node, pair.client)) == b"data"
    put(pair.node, ContentType.ALERT, b"\2\xff")
    pair.client.receive(pair.node.take_output())
    with pytest.raises(AlertReceivedError, match="255"):
        events_of(pair.client)


def test_each_direction_ends_by_itself_and_only_once() -> None:
    pair = connected()
    pair.client.send(b"last")
    pair.client.send_end()
    pair.client.send_end()
    assert deliver(pair.client, pair.node)[-1] == PeerClosed()
    with pytest.raises(LocalProtocolError):
        pair.client.send(b"more")
    pair.node.send(b"still")
    assert data_in(deliver(pair.node, pair.client)) == b"still"
    # What comes behind an end need not even be TLS.
    pair.node.receive(b"GET / HTTP/1.1")
    assert events_of(pair.node) == []


def test_no_alert_follows_our_end() -> None:
    pair = connected()
    pair.client.send_end()
    deliver(pair.client, pair.node)
    pair.client.receive(b"\x17\3\3\0\x20" + bytes(32))
    with pytest.raises(RecordForgedError):
        events_of(pair.client)
    assert pair.client.take_output() == b""


def test_an_update_wanted_from_who_has_ended_is_not_answered() -> None:
    pair = connected()
    pair.client.send_end()
    deliver(pair.client, pair.node)
    pair.node.update_keys(request=True)
    assert deliver(pair.node, pair.client) == []
    assert pair.client.take_output() == b""


def test_sending_before_the_handshake_is_our_mistake() -> None:
    pair = ends()
    for connection in (pair.client, pair.node):
        for attempt in (
            lambda it=connection: it.send(b"data"),
            connection.send_end,
            lambda it=connection: it.update_keys(request=False),
        ):
            with pytest.raises(LocalProtocolError):
                attempt()


def test_records_that_were_not_asked_for_come_back_as_they_were_received() -> None:
    pair = connected()
    pair.node.send(b"in TLS")
    sealed = bytes(pair.node.take_output())
    pair.client.receive(sealed + b"raw octets")
    event = pair.client.next_event()
    assert isinstance(event, DataReceived)
    assert pair.client.buffered == len(b"raw octets")
    assert pair.client.take_rest() == b"raw octets"


def test_a_forged_record_behind_the_handshake_ends_the_connection() -> None:
    pair = connected()
    pair.client.send(b"data")
    record = bytearray(pair.client.take_output())
    record[-1] ^= 1
    pair.node.receive(record)
    with pytest.raises(RecordForgedError):
        events_of(pair.node)
    assert alert_in(pair.node, pair.client) == Alert.BAD_RECORD_MAC


@given(st.lists(st.binary(max_size=100), max_size=8), st.sampled_from(["fresh", "flight", "connected"]))
@quick
def test_no_octets_raise_anything_but_the_errors_of_the_wire(pieces: list[bytes], stage: str) -> None:
    pair = connected() if stage == "connected" else ends()
    if stage == "flight":
        deliver(pair.node, pair.client)
    for connection in (pair.client, pair.node):
        try:
            for piece in pieces:
                connection.receive(piece)
                events_of(connection)
        except (TlsError, AlertReceivedError):
            assert connection.state is State.FAILED


def test_connections_print_their_state_and_no_keys() -> None:
    pair = connected()
    assert repr(pair.client) == "<ClientConnection CONNECTED>"
    assert repr(pair.node) == "<ServerConnection CONNECTED>"
