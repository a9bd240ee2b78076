"""RFC 9113 §5 and §7: streams and their states, concurrency, priority, errors and their codes, extensions.

https://www.rfc-editor.org/rfc/rfc9113
"""

from pathlib import Path
from typing import Final

from h2.errors import ErrorCodes as Code
from hyperframe.frame import GoAwayFrame, HeadersFrame

from tests.support.floods import (
    CONTINUATION,
    END_HEADERS,
    HEADERS,
    PING,
    raw,
)
from tests.support.h2cases import (
    FRAME_SIZE_ERROR,
    PROTOCOL_ERROR,
    STREAM_CLOSED,
    Answers,
    Case,
    Closes,
    Ended,
    Ignores,
    Resets,
    Step,
    Target,
    body,
    case,
    continuation,
    data,
    priority,
    reset,
    window_update,
)
from tests.support.h2play import each_section, failures

CLOSED: Final = "§5.1: an endpoint MAY treat it as a connection error, so it may as well not"
DEPENDS: Final = "RFC 7540 §5.3.1 made it an error of PROTOCOL_ERROR, and h2 keeps to that; RFC 9113 knows no such rule"


def answered(target: Target, *then: bytes) -> tuple[Step, ...]:
    """A stream that both sides have ended."""
    return (target.call(1), Ended(1), *then)


def half_closed(target: Target, *then: bytes) -> tuple[Step, ...]:
    """A stream that the peer has ended and we have not."""
    return (target.held(1), *then)


def gone(target: Target, *then: bytes) -> tuple[Step, ...]:
    """A stream that the peer has reset."""
    return (target.opens(1) + reset(1), *then)


def many(target: Target, number: int) -> bytes:
    """So many open streams, from 1 on."""
    return b"".join(target.opens(2 * index + 1) for index in range(number))


STATE_CASES: Final = [
    case("5.1", "idle: DATA", lambda t: data(1, b"test"), PROTOCOL_ERROR),
    case("5.1", "idle: RST_STREAM", lambda t: reset(1), PROTOCOL_ERROR),
    case("5.1", "idle: WINDOW_UPDATE", lambda t: window_update(1), PROTOCOL_ERROR),
    case("5.1", "idle: CONTINUATION", lambda t: continuation(1, t.block(), "END_HEADERS"), PROTOCOL_ERROR),
    case("5.1", "idle, after another stream: DATA", lambda t: answered(t, data(9, b"test")), PROTOCOL_ERROR),
    case("5.1", "idle, after another stream: RST_STREAM", lambda t: answered(t, reset(9)), PROTOCOL_ERROR),
    case("5.1", "idle, after another stream: WINDOW_UPDATE", lambda t: answered(t, window_update(9)), PROTOCOL_ERROR),
    case("5.1", "idle: PRIORITY", lambda t: priority(1) + t.call(1), Answers()),
    case("5.1", "idle: a stream of ours, which the peer cannot open", lambda t: data(2, b"test"), PROTOCOL_ERROR),
    case("5.1", "open: WINDOW_UPDATE", lambda t: t.opens(1) + window_update(1) + body(1), Answers()),
    case("5.1", "open: PRIORITY", lambda t: t.opens(1) + priority(1) + body(1), Answers()),
    case("5.1", "half-closed: DATA", lambda t: half_closed(t, data(1, b"test")), Resets(Code.STREAM_CLOSED)),
    case("5.1", "half-closed: HEADERS", lambda t: half_closed(t, t.opens(1)), Resets(Code.STREAM_CLOSED)),
    case(
        "5.1",
        "half-closed: CONTINUATION",
        lambda t: half_closed(t, continuation(1, t.block(), "END_HEADERS")),
        PROTOCOL_ERROR,
    ),
    case("5.1", "half-closed: WINDOW_UPDATE", lambda t: half_closed(t, window_update(1)), Ignores),
    case("5.1", "half-closed: PRIORITY", lambda t: half_closed(t, priority(1)), Ignores),
    case("5.1", "half-closed: RST_STREAM", lambda t: half_closed(t, reset(1)), Ignores),
    case("5.1", "ended: DATA", lambda t: answered(t, data(1, b"test")), STREAM_CLOSED, does=Answers(), because=CLOSED),
    case("5.1", "ended: HEADERS", lambda t: answered(t, t.opens(1)), STREAM_CLOSED),
    case(
        "5.1", "ended: CONTINUATION", lambda t: answered(t, continuation(1, t.block(), "END_HEADERS")), PROTOCOL_ERROR
    ),
    case("5.1", "ended: WINDOW_UPDATE", lambda t: answered(t, window_update(1)), Answers()),
    case("5.1", "ended: RST_STREAM", lambda t: answered(t, reset(1)), Answers()),
    case("5.1", "ended: PRIORITY", lambda t: answered(t, priority(1)), Answers()),
    case(
        "5.1",
        "reset by the peer: DATA",
        lambda t: gone(t, data(1, b"test")),
        STREAM_CLOSED,
        does=Ignores,
        because=CLOSED,
    ),
    case(
        "5.1",
        "reset by the peer: HEADERS",
        lambda t: gone(t, t.opens(1)),
        STREAM_CLOSED,
        does=Resets(Code.STREAM_CLOSED),
        because=CLOSED,
    ),
    case(
        "5.1",
        "reset by the peer: CONTINUATION",
        lambda t: gone(t, continuation(1, t.block(), "END_HEADERS")),
        PROTOCOL_ERROR,
    ),
    case("5.1", "reset by the peer: WINDOW_UPDATE", lambda t: gone(t, window_update(1)), Ignores),
    case("5.1", "reset by the peer: PRIORITY", lambda t: gone(t, priority(1)), Ignores),
    case("5.1", "reset by the peer: RST_STREAM again", lambda t: gone(t, reset(1)), Ignores),
]

IDENTIFIER_CASES: Final = [
    case("5.1.1", "a stream with an even identifier", lambda t: t.opens(2), PROTOCOL_ERROR),
    case("5.1.1", "identifiers that go down", lambda t: t.opens(5) + t.opens(3), PROTOCOL_ERROR),
    case(
        "5.1.1",
        "a new stream closes the idle ones below",
        lambda t: t.opens(5) + data(3, b"test"),
        STREAM_CLOSED,
        does=Ignores,
        because=CLOSED,
    ),
    case(
        "5.1.1",
        "identifiers may be left out",
        lambda t: t.call(1) + t.call(9) + t.call(1001),
        Answers(streams=(1, 9, 1001)),
    ),
    case(
        "5.1.2",
        "as many streams as we admit",
        lambda t: many(t, t.streams - 1) + body(1),
        Answers(),
    ),
    case("5.1.2", "one stream more than we admit", lambda t: many(t, t.streams + 1), PROTOCOL_ERROR),
]

PRIORITY_CASES: Final = [
    case(
        "5.3.1",
        "a stream that depends on itself",
        lambda t: HeadersFrame(1, t.block(), flags=["END_HEADERS", "PRIORITY"], depends_on=1).serialize(),
        Ignores,
        does=PROTOCOL_ERROR,
        because=DEPENDS,
    ),
    case(
        "5.3.1",
        "PRIORITY of a stream that depends on itself",
        lambda t: t.opens(1) + priority(1, on=1),
        Ignores,
        does=PROTOCOL_ERROR,
        because=DEPENDS,
    ),
    case(
        "5.3.2",
        "the least and the largest weight",
        lambda t: t.opens(1) + priority(1, 0, 0) + priority(1, 0, 255) + body(1),
        Answers(),
    ),
    case(
        "5.3.2",
        "priority changes nothing",
        lambda t: priority(7, 5) + t.call(1) + priority(3, 1) + t.call(3),
        Answers(streams=(1, 3)),
    ),
    case("5.3.2", "PRIORITY of a stream with an even identifier", lambda t: priority(2) + t.call(1), Answers()),
]

ERROR_CASES: Final = [
    case(
        "5.4.1",
        "a connection error says up to which stream we got",
        lambda t: (t.call(1), Ended(1), raw(PING, 0, 0, b"short")),
        FRAME_SIZE_ERROR,
    ),
    case(
        "5.4.1",
        "nothing after a connection error counts",
        lambda t: raw(PING, 0, 3, bytes(8)) + t.call(1),
        PROTOCOL_ERROR,
    ),
    case(
        "5.4.2",
        "a stream error leaves the other streams",
        lambda t: t.opens(1) + t.opens(3) + raw(8, 0, 1, b"\x7f\xff\xff\xff") + body(3),
        Resets(Code.FLOW_CONTROL_ERROR),
    ),
    case(
        "5.4.2",
        "what is in flight after our RST_STREAM",
        lambda t: t.opens(1) + raw(8, 0, 1, b"\x7f\xff\xff\xff") + data(1, b"one") + data(1, b"two"),
        Resets(Code.FLOW_CONTROL_ERROR),
    ),
    case(
        "5.5",
        "an unknown frame amid a field block",
        lambda t: (
            raw(HEADERS, 0, 1, t.block()[:10])
            + raw(0x16, 0, 0, bytes(8))
            + raw(CONTINUATION, END_HEADERS, 1, t.block()[10:])
        ),
        PROTOCOL_ERROR,
    ),
    case(
        "5.5",
        "unknown frames of every size",
        lambda t: b"".join(raw(0xEE, 0, 0, bytes(size)) for size in (0, 1, 2**14)) + t.call(1),
        Answers(),
    ),
    case(
        "5.5",
        "ALTSVC, ORIGIN and PRIORITY_UPDATE",
        lambda t: raw(0xA, 0, 0, b"\0\1ah2=:") + raw(0xC, 0, 0, b"") + raw(0x10, 0, 0, b"\0\0\0\1u=1") + t.call(1),
        Answers(),
    ),
    case("7", "GOAWAY with an unknown code", lambda t: t.call(1) + GoAwayFrame(0, 0, 0xFF).serialize(), Closes()),
    case("7", "RST_STREAM with an unknown code", lambda t: t.opens(1) + reset(1, 0xFF), Ignores),
    case("7", "RST_STREAM with NO_ERROR", lambda t: t.opens(1) + reset(1, Code.NO_ERROR), Ignores),
]

CASES: Final[list[Case]] = [*STATE_CASES, *IDENTIFIER_CASES, *PRIORITY_CASES, *ERROR_CASES]


@each_section(CASES)
async def test_servers_do_as_the_rfc_says_of_streams(name: str, section: str, tmp_path: Path) -> None:
    assert not await failures(name, (case for case in CASES if case.section == section), tmp_path)
