"""The contract with h2's private parts, and what our machine adds to it."""

import inspect

import pytest
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, RemoteSettingsChanged, ResponseReceived, StreamEnded
from h2.exceptions import FrameTooLargeError, ProtocolError, TooManyStreamsError
from h2.settings import SettingCodes

from pharos.wire.rpc import limits
from pharos.wire.rpc.flow import INNER, Windows
from pharos.wire.rpc.hotpath import HotMachine
from pharos.wire.rpc.machine import Machine
from tests.support.machines import move, pair
from tests.support.rpc import request_headers


@pytest.mark.parametrize(
    "name",
    [
        "_open_streams",
        "_receive_goaway_frame",
        "_prepare_for_sending",
        "_terminate_connection",
        "_begin_new_stream",
        "data_to_send",
        "receive_data",
        "send_headers",
        "send_data",
    ],
)
def test_h2_still_has_the_methods_we_override_or_use(name: str) -> None:
    theirs = inspect.signature(getattr(H2Connection, name)).parameters
    ours = inspect.signature(getattr(HotMachine, name)).parameters
    assert {*theirs} - {*ours} <= {"priority_weight", "priority_depends_on", "priority_exclusive"}


def test_h2_still_has_the_attributes_we_use() -> None:
    machine, _server = pair()
    assert isinstance(machine._data_to_send, bytearray)
    assert machine._closed_streams._size_limit == limits.REMEMBERED_STREAMS
    assert machine.incoming_buffer._headers_buffer == []
    assert machine._inbound_flow_control_window_manager.current_window_size == INNER.connection
    machine.send_headers(1, request_headers("Echo"))
    stream = machine.streams[1]
    assert stream._expected_content_length is None
    assert stream._inbound_window_manager.current_window_size == INNER.stream


def test_first_settings_carry_our_windows_and_limits() -> None:
    client = HotMachine(client_side=True, windows=Windows(100_000, 700_000), max_streams=3)
    client.initiate_connection()
    server = H2Connection(pair()[1].config)
    server.initiate_connection()
    (changed, *_rest) = server.receive_data(bytes(client.data_to_send()))
    assert isinstance(changed, RemoteSettingsChanged)
    assert server.remote_settings.initial_window_size == 100_000
    assert server.remote_settings.max_concurrent_streams == 3
    assert server.outbound_flow_control_window == 700_000


def test_goodbye_lets_open_streams_finish() -> None:
    client, server = pair()
    client.send_headers(1, request_headers("Echo"), end_stream=True)
    move(client, server)
    server.say_goodbye(server.highest_inbound_stream_id)
    (goodbye,) = move(server, client)
    assert isinstance(goodbye, ConnectionTerminated)
    assert (goodbye.last_stream_id, goodbye.error_code) == (1, ErrorCodes.NO_ERROR)
    server.send_headers(1, [(":status", "200")], end_stream=True)
    response, ended = move(server, client)
    assert isinstance(response, ResponseReceived)
    assert isinstance(ended, StreamEnded)


def test_closed_streams_are_forgotten_and_counted_out() -> None:
    client, server = pair(max_streams=2)
    for number in range(50):
        stream_id = 2 * number + 1
        client.send_headers(stream_id, request_headers("Echo"), end_stream=True)
        move(client, server)
        server.send_headers(stream_id, [(":status", "200")], end_stream=True)
        assert server.forget(stream_id)
        move(server, client)
        assert client.forget(stream_id)
    assert client.open_outbound_streams == server.open_inbound_streams == 0
    assert not client.forget(1)


def test_streams_above_the_limit_are_refused_on_both_sides() -> None:
    client, server = pair(max_streams=2)
    for stream_id in (1, 3):
        client.send_headers(stream_id, request_headers("Echo"))
    with pytest.raises(TooManyStreamsError):
        client.send_headers(5, request_headers("Echo"))
    client.remote_settings[SettingCodes.MAX_CONCURRENT_STREAMS] = 9
    client.remote_settings.acknowledge()
    client.send_headers(5, request_headers("Echo"))
    with pytest.raises(TooManyStreamsError):
        move(client, server)


def test_streams_that_end_within_one_burst_make_room_in_it() -> None:
    client, server = pair(max_streams=2)
    for number in range(10):
        stream_id = 2 * number + 1
        client.send_headers(stream_id, request_headers("Echo"))
        client.reset_stream(stream_id, ErrorCodes.CANCEL)
        client.forget(stream_id)
    move(client, server)
    assert server.open_inbound_streams <= 2


def test_reset_and_credit_for_a_stream_that_has_ended_are_nothing() -> None:
    client, server = pair()
    client.send_headers(1, request_headers("Echo"))
    client.reset(1, ErrorCodes.CANCEL)
    move(client, server)
    server.reset(1, ErrorCodes.CANCEL)
    server.give_credit(1, 100)
    server.reset(99, ErrorCodes.CANCEL)
    assert server.pending == 0


def test_oversize_frame_is_refused_by_its_header() -> None:
    _client, server = pair()
    header = b"\xff\xff\xff\0\0\0\0\0\1"
    with pytest.raises(FrameTooLargeError):
        server.receive_data(header)
    assert server.pending
    # h2 alone would gather all 16 MiB of it before it looked.
    assert pair(Machine)[1].receive_data(header + b"x" * 100_000) == []


def test_unknown_settings_are_not_remembered() -> None:
    _client, server = pair()
    before = len(server.remote_settings)
    entries = b"".join(code.to_bytes(2, "big") + b"\0\0\0\1" for code in range(100, 2000))
    server.receive_data(len(entries).to_bytes(3, "big") + b"\4\0\0\0\0\0" + entries)
    assert len(server.remote_settings) == before


def test_peer_cannot_enlarge_our_header_table() -> None:
    _client, server = pair()
    server.receive_data(b"\0\0\6\4\0\0\0\0\0" + b"\0\1\xff\xff\xff\xff")
    assert server.encoder.header_table_size == 4096
    server.receive_data(b"\0\0\6\4\0\0\0\0\0" + b"\0\1\0\0\0\0")
    assert server.encoder.header_table_size == 0


def test_bad_settings_are_still_refused() -> None:
    _client, server = pair()
    with pytest.raises(ProtocolError):
        server.receive_data(b"\0\0\6\4\0\0\0\0\0" + b"\0\4\xff\xff\xff\xff")
