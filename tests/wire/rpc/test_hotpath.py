"""The shortcuts against the machine that has none: same events, same bytes' meaning, same errors."""

import struct
from typing import Any

import pytest
from h2.errors import ErrorCodes
from h2.events import DataReceived, RequestReceived, TrailersReceived
from h2.exceptions import FlowControlError, ProtocolError
from hypothesis import given, settings
from hypothesis import strategies as st

from pharos.wire.rpc import limits
from pharos.wire.rpc.flow import INNER, Windows
from pharos.wire.rpc.hotpath import HotMachine
from pharos.wire.rpc.machine import Machine
from tests.support.machines import move, pair
from tests.support.rpc import request_headers

SMALL = Windows(65_535, 65_535)
RESPONSE = [(":status", "200"), ("content-type", "application/grpc")]
TRAILERS = [("grpc-status", "0")]


def shown(events: list[Any]) -> list[tuple[Any, ...]]:
    """Events as values; DATA joined per stream, for a sender may cut it as it likes."""
    result: list[tuple[Any, ...]] = []
    for event in events:
        known = {name: value for name, value in vars(event).items() if name not in ("stream_ended", "frame")}
        if "headers" in known:
            known["headers"] = sorted((str(name), str(value)) for name, value in known["headers"])
        if isinstance(event, DataReceived):
            known["data"] = bytes(event.data)
            if result and result[-1][0] == "DataReceived" and result[-1][1] == event.stream_id:
                kind, stream_id, data, length = result[-1]
                result[-1] = (kind, stream_id, data + known["data"], length + event.flow_controlled_length)
                continue
            result.append(("DataReceived", event.stream_id, known["data"], event.flow_controlled_length))
        else:
            result.append((type(event).__name__, *sorted((k, repr(v)) for k, v in known.items())))
    return result


# -- receiving: any bytes


def raw(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    return struct.pack(">HBBBL", len(payload) >> 8, len(payload) & 0xFF, kind, flags, stream_id) + payload


DATA, HEADERS, RESET, SETTINGS, PING, WINDOW, CONTINUATION = 0, 1, 3, 4, 6, 8, 9
REQUESTS = [
    b"\x83\x87\x84\x01\x01a",  # leaves the table alone, so it can be recalled
    b"\x83\x87\x84\x01\x01a",
    b"\x83\x87\x84\x41\x01a",  # adds to the table
    b"\x83\x87\x84\x01\x01a\x00\x0econtent-length\x014",
    b"\x83\x87\x84",  # lacks an authority
]
RESPONSES = [b"\x88", b"\x88", b"\x88\x00\x0econtent-length\x014", b"\x08\x03100", b"\x48\x03200"]
TRAILERS_BLOCKS = [b"\x10\x01a\x01b", b"\x10\x01a\x01b", b"\x40\x01a\x01b", b"\x10\x01A\x01b"]


@st.composite
def mostly_legal(draw: st.DrawFn, *, client_side: bool) -> list[bytes]:
    """What a peer may send to a ``client_side`` machine, with a fault now and then: the first ends the story."""
    frames: list[bytes] = []
    live, next_id = ([1, 3], 5) if client_side else ([], 1)
    answered: set[int] = set()
    for _ in range(draw(st.integers(1, 25))):
        end = draw(st.sampled_from([0, 0, 0, 1]))
        verb = draw(st.sampled_from(["open", "data", "data", "data", "headers", "headers", "again", "odd"]))
        stream_id = draw(st.sampled_from(live)) if live else 1
        if verb == "open" and not client_side:
            stream_id, next_id = next_id, next_id + 2
            live.append(stream_id)
            frames.append(raw(HEADERS, 4 | end, stream_id, draw(st.sampled_from(REQUESTS))))
        elif verb == "data":
            frames.append(raw(DATA, end, stream_id, b"d" * draw(st.sampled_from([0, 1, 4, 4, 16_384, 16_384]))))
        elif verb == "headers":
            first = client_side and stream_id not in answered
            answered.add(stream_id)
            if not first:
                end = draw(st.sampled_from([1, 1, 1, 0]))
            block = draw(st.sampled_from(RESPONSES if first else TRAILERS_BLOCKS))
            frames.append(raw(HEADERS, 4 | end, stream_id, block))
        elif verb == "again" and frames:
            frames.append(draw(st.sampled_from(frames)))
        else:
            frames.append(draw(odd_frame(stream_id)))
            continue
        if end and stream_id in live and draw(st.sampled_from([True, True, True, False])):
            live.remove(stream_id)
    return frames


def odd_frame(stream_id: int) -> st.SearchStrategy[bytes]:
    block = st.sampled_from(REQUESTS + RESPONSES + TRAILERS_BLOCKS)
    return st.one_of(
        st.just(raw(DATA, 8, stream_id, b"\2ab\0\0")),
        block.map(lambda b: raw(HEADERS, 0x24, stream_id, b"\0\0\0\0\x10" + b)),
        block.map(lambda b: raw(HEADERS, 1, stream_id, b[:2]) + raw(CONTINUATION, 4, stream_id, b[2:])),
        block.map(lambda b: raw(HEADERS, 0, stream_id, b[:2]) + raw(DATA, 0, stream_id, b[2:])),
        st.just(raw(RESET, 0, stream_id, b"\0\0\0\x08")),
        st.just(raw(WINDOW, 0, stream_id, b"\0\0\0\x64")),
        st.just(raw(PING, 0, 0, b"12345678")),
        st.just(raw(SETTINGS, 0, 0, b"\0\4\0\0\0\x10")),
        block.map(lambda b: raw(HEADERS, 5, stream_id + 2, b)),
        st.builds(raw, st.integers(0, 10), st.integers(0, 255), st.integers(0, 6), st.binary(max_size=12)),
    )


STORIES = st.booleans().flatmap(lambda role: st.tuples(st.just(role), mostly_legal(client_side=role)))


REQUEST, RESPONSE_BLOCK, TRAILER = REQUESTS[0], RESPONSES[0], TRAILERS_BLOCKS[0]
FULL = b"d" * 16_384
# The conditions of the shortcuts, one by one; each story fails if its condition is taken away.
TOLD = {
    "trailers that do not end their stream": (
        True,
        [(1, 4, 1, RESPONSE_BLOCK), (1, 5, 1, TRAILER), (1, 4, 3, RESPONSE_BLOCK), (1, 4, 3, TRAILER)],
    ),
    "more than the connection's window": (
        True,
        [(1, 4, 1, RESPONSE_BLOCK), (1, 4, 3, RESPONSE_BLOCK), *[(0, 0, n, FULL) for n in (1, 1, 3, 3)]],
    ),
    "more than the stream's window": (
        True,
        [(1, 4, 1, RESPONSE_BLOCK), (0, 0, 1, FULL), (0, 0, 1, FULL), (0, 0, 1, FULL), (0, 0, 1, FULL)],
    ),
    "request below the highest stream": (
        False,
        [(1, 5, 5, REQUEST), (1, 5, 7, REQUEST), (1, 5, 3, REQUEST)],
    ),
    "content-length that was not kept, of a recalled block": (
        True,
        [(1, 4, 1, RESPONSES[2]), (1, 4, 3, RESPONSES[2]), (0, 1, 3, b"toolong")],
    ),
    "padding": (True, [(1, 4, 1, RESPONSE_BLOCK), (0, 8, 1, b"\2ab\0\0"), (0, 9, 1, b"\2ab\0\0")]),
    "data before the response": (True, [(0, 0, 1, b"data")]),
    "data after the end": (True, [(1, 4, 1, RESPONSE_BLOCK), (0, 1, 1, b"data"), (0, 0, 1, b"data")]),
    "response block that comes as trailers": (True, [(1, 4, 1, RESPONSE_BLOCK), (1, 5, 1, RESPONSE_BLOCK)]),
    "request block that comes as trailers": (False, [(1, 4, 1, REQUEST), (1, 4, 3, REQUEST), (1, 5, 1, REQUEST)]),
    "even stream": (False, [(1, 5, 1, REQUEST), (1, 5, 3, REQUEST), (1, 5, 4, REQUEST)]),
    "streams above the limit": (False, [(1, 4, n, REQUEST) for n in (1, 3, 5, 7)]),
    "data inside a header block": (False, [(1, 4, 1, REQUEST), (1, 0, 3, b"\x83"), (0, 0, 1, b"data")]),
}


@pytest.mark.parametrize(("client_side", "story"), TOLD.values(), ids=TOLD)
def test_every_condition_of_the_shortcuts_is_h2s(client_side: bool, story: list[tuple[int, int, int, bytes]]) -> None:
    # A connection window four times the stream's, and the other way round.
    for windows in (SMALL, Windows(65_535, 262_140), Windows(262_140, 65_535)):
        compare(client_side, [raw(*frame) for frame in story], 100_000, windows)


@settings(deadline=None, max_examples=150)
@given(story=STORIES, cut=st.sampled_from([7, 10_000, 100_000]))
def test_any_bytes_mean_the_same_to_both(story: tuple[bool, list[bytes]], cut: int) -> None:
    compare(*story, cut, SMALL)


def compare(client_side: bool, frames: list[bytes], cut: int, windows: Windows) -> None:
    """Feed both machines, and hold what they make of each frame against each other."""
    slow = Machine(client_side=client_side, windows=windows, max_streams=3)
    fast = HotMachine(client_side=client_side, windows=windows, max_streams=3)
    preface = b"" if client_side else b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    for machine in (slow, fast):
        machine.initiate_connection()
        machine.receive_data(preface + raw(SETTINGS, 0, 0, b""))
        if client_side:
            machine.send_headers(1, request_headers("Echo"), end_stream=False)
            machine.send_headers(3, request_headers("Echo"), end_stream=True)
        machine.data_to_send()
    for frame in frames:
        if refused_by_us_alone(frame, slow):
            return
        outcomes = [outcome(machine, frame, cut) for machine in (slow, fast)]
        assert outcomes[1] == outcomes[0]
        if outcomes[0][1] is not None:
            return


def refused_by_us_alone(frame: bytes, slow: Machine) -> bool:
    """Whether h2 lets the frame pass, or names another error: what to do with it is in test_rfc9113_frames.py."""
    naked = frame[3] == CONTINUATION and not slow.incoming_buffer._headers_buffer
    return naked or (frame[3] == SETTINGS and bool(frame[4] & 1) and len(frame) > 9)


def outcome(machine: Any, frame: bytes, cut: int) -> tuple[Any, ...]:
    events: list[Any] = []
    error = None
    try:
        for start in range(0, len(frame), cut):
            events += machine.receive_data(frame[start : start + cut])
    except (ProtocolError, ValueError) as raised:
        error = type(raised)
    states = {
        number: (
            stream.state_machine.state,
            stream.state_machine.stream_closed_by,
            stream.inbound_flow_control_window,
            stream._actual_content_length,
        )
        for number, stream in machine.streams.items()
    }
    return shown(events), error, bytes(machine.data_to_send()), machine.inbound_flow_control_window, states


# -- sending: any calls

CALLS = st.one_of(
    st.tuples(st.just("open"), st.sampled_from([1, 3, 5]), st.sampled_from(["Echo", "Chat"]), st.booleans()),
    st.tuples(st.just("respond"), st.sampled_from([1, 3, 5]), st.just(""), st.booleans()),
    st.tuples(st.just("trail"), st.sampled_from([1, 3, 5]), st.sampled_from(["0", "5"]), st.booleans()),
    st.tuples(st.just("up"), st.sampled_from([1, 3, 5]), st.sampled_from(["", "x", "y" * 9000]), st.booleans()),
    st.tuples(st.just("down"), st.sampled_from([1, 3, 5]), st.sampled_from(["", "x", "y" * 9000]), st.booleans()),
    st.tuples(st.just("reset"), st.sampled_from([1, 3, 5]), st.sampled_from(["up", "down"]), st.booleans()),
    st.tuples(st.just("move"), st.just(0), st.just(""), st.booleans()),
)


def perform(client: Any, server: Any, call: tuple[str, int, str, bool]) -> Any:
    verb, stream_id, detail, end = call
    if verb == "open":
        headers = request_headers(detail, ("grpc-timeout", "5S"), ("x-custom", "v"))
        client.send_headers(stream_id, headers, end_stream=end)
    elif verb == "respond":
        server.send_headers(stream_id, RESPONSE, end_stream=end)
    elif verb == "trail":
        server.send_headers(stream_id, [("grpc-status", detail)], end_stream=end)
    elif verb in ("up", "down"):
        (client if verb == "up" else server).send_data(stream_id, detail.encode(), end_stream=end)
    elif verb == "reset":
        (client if detail == "up" else server).reset_stream(stream_id, ErrorCodes.CANCEL)
    else:
        return shown(move(client, server) if end else move(server, client))
    return None


@settings(deadline=None, max_examples=150)
@given(calls=st.lists(CALLS, max_size=25))
def test_any_calls_mean_the_same_to_both(calls: list[tuple[str, int, str, bool]]) -> None:
    slow, fast = pair(Machine), pair(HotMachine)
    for call in [*calls, ("move", 0, "", True), ("move", 0, "", False)]:
        outcomes = []
        for client, server in (slow, fast):
            try:
                result, error = perform(client, server, call), None
            except (ProtocolError, KeyError) as raised:
                result, error = None, type(raised)
            windows = [
                (
                    machine.outbound_flow_control_window,
                    {n: s.outbound_flow_control_window for n, s in machine.streams.items() if not s.closed},
                )
                for machine in (client, server)
            ]
            outcomes.append((result, error, windows))
        assert outcomes[1] == outcomes[0]
        if outcomes[0][1] is not None:
            # h2 leaves a stream it was misused on half changed; what follows is nobody's contract.
            return


@pytest.mark.parametrize("kind", [Machine, HotMachine])
def test_sending_beyond_a_window_is_refused(kind: type[Machine]) -> None:
    client, _server = pair(kind)
    client.send_headers(1, request_headers("Chat"))
    for _ in range(8):
        client.send_data(1, FULL)
    with pytest.raises(FlowControlError):
        client.send_data(1, b"x")
    client.send_data(1, b"", end_stream=True)


# -- what the shortcuts are for


def test_data_of_one_stream_is_joined_into_one_frame() -> None:
    client, server = pair()
    client.send_headers(1, request_headers("Watch"), end_stream=True)
    move(client, server)
    server.send_headers(1, RESPONSE)
    for _ in range(100):
        server.send_data(1, b"m" * 105)
    server.send_headers(1, TRAILERS, end_stream=True)
    events = move(server, client)
    data = [event for event in events if isinstance(event, DataReceived)]
    assert [len(event.data) for event in data] == [10_500]


def test_joined_frames_stay_within_the_frame_size_and_their_stream() -> None:
    client, server = pair()
    for stream_id in (1, 3):
        client.send_headers(stream_id, request_headers("Chat"))
    for _ in range(5):
        client.send_data(1, b"a" * 6000)
    client.send_data(3, b"b")
    client.send_data(1, b"c", end_stream=True)
    events = move(client, server)
    data = [(e.stream_id, len(e.data)) for e in events if isinstance(e, DataReceived)]
    assert data == [(1, 12_000), (1, 12_000), (1, 6_000), (3, 1), (1, 1)]


def test_end_of_a_stream_joins_its_last_data() -> None:
    client, server = pair()
    client.send_headers(1, request_headers("Chat"))
    client.send_data(1, b"a")
    client.send_data(1, b"b", end_stream=True)
    events = move(client, server)
    assert [bytes(e.data) for e in events if isinstance(e, DataReceived)] == [b"ab"]
    assert server.streams[1].state_machine.state.name == "HALF_CLOSED_REMOTE"


def test_same_request_takes_the_shortcut_the_second_time(monkeypatch: pytest.MonkeyPatch) -> None:
    client, server = pair()
    whole: list[int] = []
    received = HotMachine._receive_headers_whole
    monkeypatch.setattr(
        HotMachine, "_receive_headers_whole", lambda self, *args: whole.append(args[0]) or received(self, *args)
    )
    for stream_id in (1, 3, 5, 7):
        client.send_headers(stream_id, request_headers("Echo"), end_stream=True)
        (request, _ended) = move(client, server)
        assert isinstance(request, RequestReceived)
        server.send_headers(stream_id, RESPONSE)
        server.send_headers(stream_id, TRAILERS, end_stream=True)
        assert isinstance(move(server, client)[1], TrailersReceived)
    # The first makes entries in the table, the second is learnt, the others are recalled.
    assert 7 not in whole
    assert 5 not in whole


def test_recalled_headers_are_a_list_of_their_own() -> None:
    client, server = pair()
    seen = []
    for stream_id in (1, 3, 5, 7):
        client.send_headers(stream_id, request_headers("Echo"))
        (request,) = move(client, server)
        seen.append(list(request.headers))
        request.headers.append(("x-added", "by a handler"))
    assert seen[0] == seen[1] == seen[2] == seen[3]


def test_large_header_list_goes_out_in_continuations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_HEADER_BLOCK", 200_000)
    client, server = pair()
    server.decoder.max_header_list_size = 200_000
    headers = request_headers("Echo", *((f"x-{n}", "v" * 1000) for n in range(60)))
    client.send_headers(1, headers)
    (request,) = move(client, server)
    assert sorted(request.headers) == sorted(headers)


def test_burst_is_taken_in_turns() -> None:
    client, server = pair()
    for number in range(60):
        client.send_headers(2 * number + 1, request_headers("Echo"), end_stream=True)
    first = server.receive_data(bytes(client.data_to_send()))
    assert server.unparsed
    rest = server.receive_data(b"")
    assert not server.unparsed
    assert len([e for e in first + rest if isinstance(e, RequestReceived)]) == 60


def test_windows_of_the_design_are_those_of_the_machine() -> None:
    client, _server = pair()
    assert client.inbound_flow_control_window == INNER.connection
