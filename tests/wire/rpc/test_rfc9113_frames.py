"""RFC 9113 §3.4, §4.1, §4.2 and §6.1 to §6.4: the preface, frames as such, and those that streams are made of.

https://www.rfc-editor.org/rfc/rfc9113
"""

from pathlib import Path
from typing import Final

from h2.errors import ErrorCodes as Code
from hyperframe.frame import HeadersFrame, PriorityFrame, SettingsFrame

from tests.support.floods import (
    ACK,
    DATA,
    END_HEADERS,
    HEADERS,
    PING,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    raw,
)
from tests.support.h2cases import (
    CHECK,
    FRAME_SIZE_ERROR,
    PROTOCOL_ERROR,
    Answers,
    Closes,
    Ignores,
    Resets,
    body,
    case,
    continuation,
    data,
    ping,
    reset,
    settings,
    strict,
)
from tests.support.h2peer import PREFACE
from tests.support.h2play import each_section, failures

PADDED, WITH_PRIORITY = 0x8, 0x20
LARGEST_FRAME: Final = 2**14


def unread(size: int) -> bytes:
    """A gRPC message of zeros with prefix, ``size`` octets in all, that no health service understands."""
    return b"\0" + (size - 5).to_bytes(4) + bytes(size - 5)


ENDS_SOMEHOW: Final = ("0", "3", "5", "12", "13")
"""gRPC statuses: that a strange body was answered is enough here."""

PREFACE_CASES: Final = [
    case(
        "3.4",
        "a preface and SETTINGS are answered with SETTINGS and ACK",
        lambda t: t.call(1),
        Answers(also=lambda seen: len(seen.settings) == 1 and seen.acknowledged == 1),
    ),
    case(
        "3.4",
        "our SETTINGS are our first frame",
        lambda t: t.call(1),
        Answers(also=lambda seen: isinstance(seen.frames[0], SettingsFrame) and "ACK" not in seen.frames[0].flags),
    ),
    case("3.4", "an invalid preface", lambda t: b"INVALID CONNECTION PREFACE\r\n\r\n", Closes(), prelude=b""),
    case("3.4", "a preface with one wrong octet", lambda t: PREFACE[:-1] + b"x" + settings(), Closes(), prelude=b""),
    case(
        "3.4",
        "a preface in single octets",
        lambda t: (*(bytes([octet]) for octet in PREFACE), settings(), t.call(1)),
        Answers(),
        prelude=b"",
    ),
    case("3.4", "a frame other than SETTINGS after the preface", lambda t: ping(), PROTOCOL_ERROR, prelude=PREFACE),
    case(
        "3.4",
        "an acknowledgement instead of SETTINGS",
        lambda t: raw(SETTINGS, ACK, 0),
        PROTOCOL_ERROR,
        prelude=PREFACE,
    ),
    case("3.4", "HTTP/1.1", lambda t: b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", Closes(), prelude=b""),
]

FRAME_CASES: Final = [
    case("4.1", "a frame of unknown type", lambda t: raw(0x16, 0, 0, bytes(8)), Ignores),
    case(
        "4.1",
        "a frame of unknown type on a stream",
        lambda t: t.opens(1) + raw(0x16, 0xFF, 1, bytes(8)) + body(1),
        Answers(),
    ),
    case(
        "4.1",
        "undefined flags",
        lambda t: raw(PING, 0xFE, 0, bytes(8)),
        Answers(streams=(), also=lambda seen: len(seen.pongs) == 1),
    ),
    case(
        "4.1",
        "the reserved bit of the stream identifier",
        lambda t: raw(PING, 0, 0x80000000, b"reserved"),
        Answers(streams=(), also=lambda seen: seen.pongs == [b"reserved"]),
    ),
    case(
        "4.2",
        "DATA of 2^14 octets",
        lambda t: t.opens(1) + data(1, unread(LARGEST_FRAME), "END_STREAM"),
        Answers(statuses=ENDS_SOMEHOW),
    ),
    case(
        "4.2",
        "DATA beyond SETTINGS_MAX_FRAME_SIZE",
        lambda t: t.opens(1) + data(1, unread(LARGEST_FRAME + 1)),
        Resets(Code.FRAME_SIZE_ERROR),
        does=FRAME_SIZE_ERROR,
        because="§4.2 leaves it a stream error; it is refused by its header, before its octets come",
    ),
    case(
        "4.2",
        "HEADERS beyond SETTINGS_MAX_FRAME_SIZE",
        lambda t: raw(HEADERS, END_HEADERS, 1, t.block() + bytes(LARGEST_FRAME)),
        FRAME_SIZE_ERROR,
    ),
    case(
        "4.2",
        "SETTINGS beyond SETTINGS_MAX_FRAME_SIZE",
        lambda t: raw(SETTINGS, 0, 0, bytes(6 * 2731)),
        FRAME_SIZE_ERROR,
    ),
]

DATA_CASES: Final = [
    case("6.1", "DATA on stream 0", lambda t: raw(DATA, 0, 0, b"test"), PROTOCOL_ERROR),
    case(
        "6.1",
        "several DATA frames",
        lambda t: t.opens(1) + data(1, CHECK[:2]) + data(1, CHECK[2:], "END_STREAM"),
        Answers(),
    ),
    case(
        "6.1",
        "DATA with padding",
        lambda t: t.opens(1) + data(1, CHECK, "END_STREAM", "PADDED", pad_length=100),
        Answers(),
    ),
    case(
        "6.1",
        "padding of no octet",
        lambda t: t.opens(1) + data(1, CHECK, "END_STREAM", "PADDED", pad_length=0),
        Answers(),
    ),
    case(
        "6.1",
        "an empty DATA frame that ends the stream",
        lambda t: t.opens(1) + data(1, CHECK) + data(1, b"", "END_STREAM"),
        Answers(),
    ),
    case(
        "6.1",
        "padding as long as the payload",
        lambda t: t.opens(1) + raw(DATA, PADDED, 1, b"\x05test!"[:5]),
        PROTOCOL_ERROR,
    ),
    case(
        "6.1", "padding longer than the payload", lambda t: t.opens(1) + raw(DATA, PADDED, 1, b"\xffx"), PROTOCOL_ERROR
    ),
    case("6.1", "padding without a length", lambda t: t.opens(1) + raw(DATA, PADDED, 1, b""), FRAME_SIZE_ERROR),
]

HEADERS_CASES: Final = [
    case("6.2", "HEADERS on stream 0", lambda t: raw(HEADERS, END_HEADERS, 0, t.block()), PROTOCOL_ERROR),
    case(
        "6.2",
        "HEADERS with padding",
        lambda t: HeadersFrame(1, t.block(), flags=["END_HEADERS", "PADDED"], pad_length=50).serialize() + body(1),
        Answers(),
    ),
    case(
        "6.2",
        "HEADERS with priority",
        lambda t: (
            HeadersFrame(
                1, t.block(), flags=["END_HEADERS", "PRIORITY"], depends_on=0, stream_weight=15, exclusive=True
            ).serialize()
            + body(1)
        ),
        Answers(),
    ),
    case(
        "6.2",
        "HEADERS with padding and priority",
        lambda t: (
            HeadersFrame(
                1, t.block(), flags=["END_HEADERS", "PADDED", "PRIORITY"], pad_length=9, depends_on=7
            ).serialize()
            + body(1)
        ),
        Answers(),
    ),
    case(
        "6.2",
        "padding longer than the payload",
        lambda t: raw(HEADERS, END_HEADERS | PADDED, 1, b"\xff" + t.block()),
        PROTOCOL_ERROR,
    ),
    case("6.2", "padding without a length", lambda t: raw(HEADERS, END_HEADERS | PADDED, 1), FRAME_SIZE_ERROR),
    case(
        "6.2",
        "priority without its five octets",
        lambda t: raw(HEADERS, END_HEADERS | WITH_PRIORITY, 1, b"\0\0\0"),
        FRAME_SIZE_ERROR,
    ),
    case(
        "6.2",
        "an empty field block fragment",
        lambda t: raw(HEADERS, 0, 1) + continuation(1, t.block(), "END_HEADERS") + body(1),
        Answers(),
    ),
]

PRIORITY_CASES: Final = [
    case(
        "6.3",
        "PRIORITY",
        lambda t: t.opens(1) + PriorityFrame(1, 3, stream_weight=255, exclusive=True).serialize() + body(1),
        Answers(),
    ),
    case("6.3", "PRIORITY on stream 0", lambda t: raw(PRIORITY, 0, 0, bytes(5)), PROTOCOL_ERROR),
    strict(
        "6.3", "PRIORITY of four octets", lambda t: t.opens(1) + raw(PRIORITY, 0, 1, bytes(4)), Code.FRAME_SIZE_ERROR
    ),
    strict(
        "6.3", "PRIORITY of six octets", lambda t: t.opens(1) + raw(PRIORITY, 0, 1, bytes(6)), Code.FRAME_SIZE_ERROR
    ),
]

RST_STREAM_CASES: Final = [
    case("6.4", "RST_STREAM of an open stream", lambda t: t.opens(1) + reset(1), Ignores),
    case("6.4", "RST_STREAM on stream 0", lambda t: raw(RST_STREAM, 0, 0, bytes(4)), PROTOCOL_ERROR),
    case("6.4", "RST_STREAM of an idle stream", lambda t: reset(1), PROTOCOL_ERROR),
    case("6.4", "RST_STREAM of three octets", lambda t: t.opens(1) + raw(RST_STREAM, 0, 1, bytes(3)), FRAME_SIZE_ERROR),
    case("6.4", "RST_STREAM of five octets", lambda t: t.opens(1) + raw(RST_STREAM, 0, 1, bytes(5)), FRAME_SIZE_ERROR),
]

CASES: Final = [
    *PREFACE_CASES,
    *FRAME_CASES,
    *DATA_CASES,
    *HEADERS_CASES,
    *PRIORITY_CASES,
    *RST_STREAM_CASES,
]


@each_section(CASES)
async def test_servers_do_as_the_rfc_says_of_frames(name: str, section: str, tmp_path: Path) -> None:
    assert not await failures(name, (case for case in CASES if case.section == section), tmp_path)
