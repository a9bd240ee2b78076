"""RFC 9113 where we are the client: a beacon opens streams on the connection that helm dialled, and helm answers oddly.

https://www.rfc-editor.org/rfc/rfc9113
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import attrs
import pytest
import trio
from grpclib.exceptions import StreamTerminatedError
from h2.errors import ErrorCodes as Code
from hyperframe.frame import GoAwayFrame, PushPromiseFrame, SettingsFrame

from pharos.wire.rpc.h2conn import Connection
from pharos.wire.rpc.h2stream import H2Stream
from tests.support.floods import DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, block, raw
from tests.support.h2cases import (
    COMPRESSION_ERROR,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    PROTOCOL_ERROR,
    STRICTER,
    Answers,
    Closes,
    Kills,
    Outcome,
    Resets,
    Seen,
    data,
    ping,
    reset,
    settings,
    window_update,
)
from tests.support.h2play import PATIENCE, FramePeer
from tests.support.listeners import running_listener
from tests.support.relay import passage_headers

MARKER: Final = b"lives on"
STATUS, TRAILERS = (":status", "200"), ("grpc-status", "0")
PUSH, WINDOW = SettingsFrame.ENABLE_PUSH, SettingsFrame.INITIAL_WINDOW_SIZE


@attrs.frozen(kw_only=True)
class Case:
    """One requirement: the beacon has opened streams 1 and 3, and this is what comes back."""

    section: str
    what: str
    sends: bytes
    must: Outcome
    does: Outcome | None = None
    because: str = ""
    prelude: bytes = settings()
    calls: int = 2


def case(section: str, what: str, sends: bytes, must: Outcome, **more: object) -> Case:
    return Case(section=section, what=what, sends=sends, must=must, **more)  # type: ignore[arg-type]


def malformed(section: str, what: str, sends: bytes) -> Case:
    """A stream error by the RFC that we treat as a connection error."""
    return case(section, what, sends, Resets(Code.PROTOCOL_ERROR), does=PROTOCOL_ERROR, because=STRICTER)


def head(*fields: tuple[str, str], stream_id: int = 1, end: bool = False) -> bytes:
    return raw(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream_id, block(list(fields)))


def answer(stream_id: int = 1) -> bytes:
    """A whole response."""
    return head(STATUS, stream_id=stream_id) + data(stream_id, b"body") + head(TRAILERS, stream_id=stream_id, end=True)


FRAME_CASES: Final = [
    case("3.4", "SETTINGS, then answers", answer(1) + answer(3), Answers(streams=(1, 3))),
    case("3.4", "no SETTINGS first", ping(), Closes(), prelude=b"", calls=0),
    case("3.4", "HTTP/1.1", b"HTTP/1.1 400 Bad Request\r\n\r\n", Closes(), prelude=b"", calls=0),
    case("4.1", "a frame of unknown type", raw(0x16, 0, 0, bytes(8)) + answer(), Answers()),
    case(
        "4.2", "DATA beyond SETTINGS_MAX_FRAME_SIZE", head(STATUS) + raw(DATA, 0, 1, bytes(2**14 + 1)), FRAME_SIZE_ERROR
    ),
    case("4.3", "a field block that does not decompress", raw(HEADERS, END_HEADERS, 1, b"\xff" * 6), COMPRESSION_ERROR),
    case("4.3", "a PING amid a field block", raw(HEADERS, 0, 1, b"\x88") + ping(), PROTOCOL_ERROR),
    case("6.1", "DATA on stream 0", raw(DATA, 0, 0, b"test"), PROTOCOL_ERROR),
    case("6.1", "padding longer than the payload", head(STATUS) + raw(DATA, 8, 1, b"\xffx"), PROTOCOL_ERROR),
    case("6.2", "HEADERS on stream 0", raw(HEADERS, END_HEADERS, 0, block([STATUS])), PROTOCOL_ERROR),
    case("6.4", "RST_STREAM leaves the other streams", reset(1) + answer(3), Answers(streams=(3,))),
    case("6.4", "RST_STREAM of three octets", raw(RST_STREAM, 0, 1, bytes(3)), FRAME_SIZE_ERROR),
    case("6.5.2", "ENABLE_PUSH of 0", settings({PUSH: 0}) + answer(), Answers()),
    case("6.5.2", "ENABLE_PUSH of 1, which no server may set", settings({PUSH: 1}), PROTOCOL_ERROR),
    case("6.5.2", "INITIAL_WINDOW_SIZE above 2^31 - 1", settings({WINDOW: 2**31}), FLOW_CONTROL_ERROR),
    case(
        "6.6",
        "PUSH_PROMISE, though we do not admit it",
        PushPromiseFrame(1, 2, block(passage_headers()), flags=["END_HEADERS"]).serialize(),
        PROTOCOL_ERROR,
    ),
    case("6.7", "PING of seven octets", raw(PING, 0, 0, bytes(7)), FRAME_SIZE_ERROR),
    case("6.8", "GOAWAY on a stream", raw(GOAWAY, 0, 1, bytes(8)), PROTOCOL_ERROR),
    case(
        "6.8",
        "GOAWAY: the streams it names are answered",
        GoAwayFrame(0, 3).serialize() + answer(1) + answer(3),
        Closes(),
    ),
    case("6.9", "WINDOW_UPDATE of 0", raw(8, 0, 0, bytes(4)), PROTOCOL_ERROR),
    case("6.9.1", "the connection's window above 2^31 - 1", window_update(0, 2**31 - 1), FLOW_CONTROL_ERROR),
    case(
        "6.9.1",
        "a stream's window above 2^31 - 1",
        window_update(1, 2**31 - 1) + answer(3),
        Resets(Code.FLOW_CONTROL_ERROR),
    ),
    case("6.10", "CONTINUATION of nothing", raw(9, END_HEADERS, 1, block([STATUS])), PROTOCOL_ERROR),
    case("7", "RST_STREAM with an unknown code", reset(1, 0xFF) + answer(3), Answers(streams=(3,))),
]

STREAM_CASES: Final = [
    case("5.1", "idle: HEADERS", head(STATUS, stream_id=5), PROTOCOL_ERROR),
    case("5.1", "idle: DATA", data(5, b"test"), PROTOCOL_ERROR),
    case("5.1", "idle: RST_STREAM", reset(5), PROTOCOL_ERROR),
    case("5.1", "idle: WINDOW_UPDATE", window_update(5), PROTOCOL_ERROR),
    case("5.1.1", "a stream that a server opens", head(STATUS, stream_id=2), PROTOCOL_ERROR),
    case(
        "5.1",
        "closed: WINDOW_UPDATE and RST_STREAM",
        answer() + window_update(1) + reset(1) + answer(3),
        Answers(streams=(1, 3)),
    ),
    case("5.5", "ALTSVC and ORIGIN", raw(0xA, 0, 0, b"\0\1ah2=:") + raw(0xC, 0, 0, b"") + answer(), Answers()),
]

MESSAGE_CASES: Final = [
    case("8.1", "trailers only", head(STATUS, TRAILERS, end=True), Answers()),
    case("8.1", "an interim response first", head((":status", "103")) + answer(), Answers()),
    malformed("8.1", "an interim response that ends the stream", head((":status", "103"), end=True)),
    malformed("8.1", "DATA before HEADERS", data(1, b"test")),
    malformed("8.1", "trailers without END_STREAM", head(STATUS) + head(TRAILERS)),
    malformed(
        "8.1.1",
        "content-length that is not the DATA's",
        head(STATUS, ("content-length", "9")) + data(1, b"test", "END_STREAM"),
    ),
    malformed("8.2", "a field name in upper case", head(STATUS, ("X-Test", "ok"))),
    malformed("8.2.1", "a field value with LF", head(STATUS, ("x-test", "a\nb"))),
    malformed("8.2.2", "transfer-encoding", head(STATUS, ("transfer-encoding", "chunked"))),
    malformed("8.3", "a request's pseudo-header field", head(STATUS, (":path", "/"))),
    malformed("8.3", "a pseudo-header field after a regular one", head(("x-test", "ok"), STATUS)),
    malformed("8.3", "a pseudo-header field in trailers", head(STATUS) + head(STATUS, end=True)),
    malformed("8.3.2", "no :status", head(("x-test", "ok"))),
    malformed("8.3.2", ":status twice", head(STATUS, STATUS)),
    case(
        "8.6",
        "101, which means nothing in HTTP/2, is an interim response",
        head((":status", "101")) + answer(),
        Answers(),
    ),
]

CASES: Final = [*FRAME_CASES, *STREAM_CASES, *MESSAGE_CASES]


@attrs.define
class Beacon:
    """What it asked on the tunnel, and what became of each call."""

    connection: Connection
    fates: dict[int, str] = attrs.field(factory=dict)
    streams: list[H2Stream] = attrs.field(factory=list)

    async def call(self, nursery: trio.Nursery) -> int:
        """Open a stream, whose answer is waited for in the background."""
        stream = self.connection.create_stream()
        self.streams.append(stream)
        await stream.send_request(passage_headers(), end_stream=True)
        nursery.start_soon(self._wait, stream)
        return stream.id

    async def _wait(self, stream: H2Stream) -> None:
        try:
            headers = await stream.recv_headers()
            while await stream.more():
                stream.take(len(stream.buffered))
            trailers = stream.trailers or []
        except StreamTerminatedError as error:
            self.fates[stream.id] = repr(error)
        else:
            self.fates[stream.id] = dict([*headers, *trailers]).get("grpc-status", "none")
            stream.close()


@pytest.mark.parametrize("section", dict.fromkeys(case.section for case in CASES))
async def test_beacon_as_client_does_as_the_rfc_says(section: str, tmp_path: Path) -> None:
    failed = {}
    before: list[Connection] = []

    def arrived() -> Connection | None:
        """The connection of this case, once the beacon has taken it up; that of the last may still be there."""
        there = [tunnel.connection for tunnel in listener.upstreams._tunnels]
        return next((connection for connection in there if connection not in before), None)

    async with running_listener("tunnel", tmp_path) as listener:
        for case in CASES:
            if case.section != section:
                continue
            async with FramePeer.on(await listener.dial(), of_client=True) as peer:
                fates: dict[int, str] = {}
                good = False
                with trio.move_on_after(PATIENCE):
                    fates, good = await play(case, peer, arrived)
                before += [tunnel.connection for tunnel in listener.upstreams._tunnels]
            try:
                check(case.does or case.must, peer.seen, fates, good=good)
            except AssertionError as error:
                failed[case.what] = f"wanted {case.does or case.must}: {error}"
    assert not failed


async def play(case: Case, peer: FramePeer, arrived: Callable[[], Connection | None]) -> tuple[dict[int, str], bool]:
    """Return what became of the beacon's calls, and whether one more was answered."""
    await peer.send(case.prelude)
    if not case.calls:
        await peer.send(case.sends)
        await peer.wait(lambda seen: seen.closed)
        return {}, False
    while (connection := arrived()) is None:
        await trio.lowlevel.checkpoint()
    beacon = Beacon(connection)
    async with trio.open_nursery() as nursery:
        for _ in range(case.calls):
            opened = await beacon.call(nursery)
            await peer.wait(lambda seen, opened=opened: opened in seen.opened)  # type: ignore[misc]
        await peer.send(case.sends)
        good = False
        if isinstance(case.does or case.must, Kills | Closes):
            await peer.wait(lambda seen: seen.closed)
        else:
            await peer.send(ping(MARKER))
            await peer.wait(lambda seen: MARKER in seen.pongs)
        if not peer.seen.closed:
            number = await beacon.call(nursery)
            await peer.wait(lambda seen: number in seen.opened)
            await peer.send(answer(number))
            while number not in beacon.fates:
                await trio.lowlevel.checkpoint()
            good = beacon.fates[number] == "0"
        nursery.cancel_scope.cancel()
    for stream in beacon.streams:
        stream.close()
    return beacon.fates, good


def check(outcome: Outcome, seen: Seen, fates: dict[int, str], *, good: bool) -> None:
    match outcome:
        case Kills(code):
            assert (seen.goodbye, seen.closed) == (code, True), seen
            assert not good
        case Closes():
            assert seen.closed, seen
            assert set(fates.values()) <= {"0"}, fates
        case Resets(code, stream_id):
            assert (seen.goodbye, seen.resets.get(stream_id)) == (None, code), seen
            assert good, fates
        case Answers(streams):
            assert (seen.goodbye, seen.closed) == (None, False), seen
            assert {fates.get(stream_id) for stream_id in streams} <= {"0"}, fates
            assert good, fates
