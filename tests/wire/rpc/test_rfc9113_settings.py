"""RFC 9113 §6.5 to §6.9: the frames that govern a connection: SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE.

https://www.rfc-editor.org/rfc/rfc9113
"""

from pathlib import Path
from typing import Final

from h2.errors import ErrorCodes as Code
from hyperframe.frame import GoAwayFrame, PushPromiseFrame, SettingsFrame

from tests.support.floods import ACK, GOAWAY, PING, SETTINGS, WINDOW_UPDATE, raw
from tests.support.h2cases import (
    ANSWER_SIZE,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    PROTOCOL_ERROR,
    Answers,
    Begun,
    Closes,
    Ended,
    Ignores,
    Resets,
    body,
    case,
    ping,
    settings,
    strict,
    window_update,
)
from tests.support.h2play import each_section, failures

LARGEST_WINDOW: Final = 2**31 - 1
DEFAULT_WINDOW: Final = 65_535
MAX_CONCURRENT, WINDOW, FRAME_SIZE, TABLE_SIZE, PUSH = (
    SettingsFrame.MAX_CONCURRENT_STREAMS,
    SettingsFrame.INITIAL_WINDOW_SIZE,
    SettingsFrame.MAX_FRAME_SIZE,
    SettingsFrame.HEADER_TABLE_SIZE,
    SettingsFrame.ENABLE_PUSH,
)

SETTINGS_CASES: Final = [
    case("6.5", "SETTINGS ACK with a payload", lambda t: raw(SETTINGS, ACK, 0, b"\0"), FRAME_SIZE_ERROR),
    case("6.5", "SETTINGS ACK with a setting", lambda t: raw(SETTINGS, ACK, 0, bytes(6)), FRAME_SIZE_ERROR),
    case("6.5", "SETTINGS on a stream", lambda t: raw(SETTINGS, 0, 1, bytes(6)), PROTOCOL_ERROR),
    case(
        "6.5",
        "SETTINGS of a length that is no multiple of six",
        lambda t: raw(SETTINGS, 0, 0, bytes(3)),
        FRAME_SIZE_ERROR,
    ),
    case("6.5", "a setting and a half", lambda t: raw(SETTINGS, 0, 0, bytes(9)), FRAME_SIZE_ERROR),
    case("6.5.2", "ENABLE_PUSH of 2", lambda t: settings({PUSH: 2}), PROTOCOL_ERROR),
    case("6.5.2", "ENABLE_PUSH of 1", lambda t: settings({PUSH: 1}), Ignores),
    case("6.5.2", "INITIAL_WINDOW_SIZE above 2^31 - 1", lambda t: settings({WINDOW: 2**31}), FLOW_CONTROL_ERROR),
    case("6.5.2", "MAX_FRAME_SIZE below 2^14", lambda t: settings({FRAME_SIZE: 2**14 - 1}), PROTOCOL_ERROR),
    case("6.5.2", "MAX_FRAME_SIZE above 2^24 - 1", lambda t: settings({FRAME_SIZE: 2**24}), PROTOCOL_ERROR),
    case("6.5.2", "MAX_FRAME_SIZE of 2^24 - 1", lambda t: settings({FRAME_SIZE: 2**24 - 1}), Ignores),
    case("6.5.2", "HEADER_TABLE_SIZE of 2^32 - 1", lambda t: settings({TABLE_SIZE: 2**32 - 1}) + t.call(1), Answers()),
    case("6.5.2", "HEADER_TABLE_SIZE of 0", lambda t: settings({TABLE_SIZE: 0}) + t.call(1), Answers()),
    case("6.5.2", "MAX_CONCURRENT_STREAMS of 0", lambda t: settings({MAX_CONCURRENT: 0}) + t.call(1), Answers()),
    case("6.5.2", "an unknown setting", lambda t: settings({0xFF: 1}) + t.call(1), Answers()),
    case(
        "6.5.3",
        "the last of several values counts",
        lambda t: (
            raw(SETTINGS, 0, 0, b"\0\4\0\0\0\1\0\4\0\0\0\2") + t.call(1),
            Begun(2),
            settings({WINDOW: DEFAULT_WINDOW}),
        ),
        Answers(also=lambda seen: seen.sizes[1][0] == 2),
    ),
    case(
        "6.5.3",
        "every SETTINGS is acknowledged",
        lambda t: settings({WINDOW: 100}) * 3 + t.call(1),
        Answers(also=lambda seen: seen.acknowledged == 4),
    ),
    case("6.5", "an acknowledgement that nobody waits for", lambda t: raw(SETTINGS, ACK, 0) * 3, Ignores),
]

OTHER_CASES: Final = [
    case(
        "6.6",
        "PUSH_PROMISE from a client",
        lambda t: t.opens(1) + PushPromiseFrame(1, 2, t.block(), flags=["END_HEADERS"]).serialize(),
        PROTOCOL_ERROR,
    ),
    case(
        "6.7", "PING", lambda t: ping(b"12345678"), Answers(streams=(), also=lambda seen: seen.pongs == [b"12345678"])
    ),
    case(
        "6.7",
        "a PING with ACK is not answered",
        lambda t: ping(b"12345678", "ACK") + ping(b"abcdefgh"),
        Answers(streams=(), also=lambda seen: seen.pongs == [b"abcdefgh"]),
    ),
    case("6.7", "PING on a stream", lambda t: raw(PING, 0, 1, bytes(8)), PROTOCOL_ERROR),
    case("6.7", "PING of seven octets", lambda t: raw(PING, 0, 0, bytes(7)), FRAME_SIZE_ERROR),
    case("6.7", "PING of nine octets", lambda t: raw(PING, 0, 0, bytes(9)), FRAME_SIZE_ERROR),
    case("6.8", "GOAWAY on a stream", lambda t: raw(GOAWAY, 0, 1, bytes(8)), PROTOCOL_ERROR),
    case("6.8", "GOAWAY of seven octets", lambda t: raw(GOAWAY, 0, 0, bytes(7)), FRAME_SIZE_ERROR),
    case(
        "6.8",
        "GOAWAY: what was open is answered, and then the connection ends",
        lambda t: t.opens(1) + GoAwayFrame(0, 0).serialize() + body(1),
        Closes(),
    ),
]

WINDOW_CASES: Final = [
    case("6.9", "WINDOW_UPDATE of 0 on the connection", lambda t: raw(WINDOW_UPDATE, 0, 0, bytes(4)), PROTOCOL_ERROR),
    strict(
        "6.9",
        "WINDOW_UPDATE of 0 on a stream",
        lambda t: t.opens(1) + raw(WINDOW_UPDATE, 0, 1, bytes(4)),
        Code.PROTOCOL_ERROR,
    ),
    case("6.9", "WINDOW_UPDATE of three octets", lambda t: raw(WINDOW_UPDATE, 0, 0, bytes(3)), FRAME_SIZE_ERROR),
    case(
        "6.9",
        "WINDOW_UPDATE of five octets on a stream",
        lambda t: t.opens(1) + raw(WINDOW_UPDATE, 0, 1, bytes(5)),
        FRAME_SIZE_ERROR,
    ),
    case(
        "6.9",
        "the reserved bit of the increment",
        lambda t: raw(WINDOW_UPDATE, 0, 0, b"\x80\0\0\1"),
        Ignores,
        does=PROTOCOL_ERROR,
        because="§6.9 calls the bit reserved, and does not say to ignore it; hyperframe sees too large an increment",
    ),
    case(
        "6.9.1",
        "nothing is sent beyond the stream's window",
        lambda t: (
            settings({WINDOW: 1}) + t.call(1),
            Begun(1),
            window_update(1, 100),
            Ended(),
            settings({WINDOW: DEFAULT_WINDOW}),
        ),
        Answers(also=lambda seen: seen.sizes[1] == [1, ANSWER_SIZE - 1]),
    ),
    case(
        "6.9.1",
        "the connection's window above 2^31 - 1",
        lambda t: window_update(0, LARGEST_WINDOW),
        FLOW_CONTROL_ERROR,
    ),
    case(
        "6.9.1",
        "a stream's window above 2^31 - 1",
        lambda t: t.opens(1) + window_update(1, LARGEST_WINDOW),
        Resets(Code.FLOW_CONTROL_ERROR),
    ),
    case(
        "6.9.2",
        "a larger INITIAL_WINDOW_SIZE opens the streams there are",
        lambda t: (
            settings({WINDOW: 0}) + t.call(1),
            settings({WINDOW: 1}),
            Begun(1),
            settings({WINDOW: 2}),
            Begun(2),
            settings({WINDOW: DEFAULT_WINDOW}),
        ),
        Answers(also=lambda seen: seen.sizes[1][:2] == [1, 1]),
    ),
    case(
        "6.9.2",
        "a window may be negative",
        lambda t: (
            settings({WINDOW: 3}) + t.call(1),
            Begun(3),
            settings({WINDOW: 2}),
            window_update(1, 2),
            Begun(4),
            settings({WINDOW: DEFAULT_WINDOW}),
        ),
        Answers(also=lambda seen: seen.sizes[1][:2] == [3, 1]),
    ),
    case(
        "6.9.2",
        "INITIAL_WINDOW_SIZE that makes a stream's window too large",
        lambda t: (
            t.held(1) + window_update(1, LARGEST_WINDOW - DEFAULT_WINDOW),
            settings({WINDOW: DEFAULT_WINDOW + 100}),
        ),
        FLOW_CONTROL_ERROR,
    ),
]

CASES: Final = [*SETTINGS_CASES, *OTHER_CASES, *WINDOW_CASES]


@each_section(CASES)
async def test_servers_do_as_the_rfc_says_of_a_connection(name: str, section: str, tmp_path: Path) -> None:
    assert not await failures(name, (case for case in CASES if case.section == section), tmp_path)
