"""RFC 9113 §4.3 and §6.10, and RFC 7541: header blocks in pieces, and what HPACK refuses.

https://www.rfc-editor.org/rfc/rfc9113, https://www.rfc-editor.org/rfc/rfc7541
"""

from pathlib import Path
from typing import Final

from hyperframe.frame import HeadersFrame

from tests.support.floods import CONTINUATION, END_HEADERS, END_STREAM, HEADERS, raw
from tests.support.h2cases import (
    CHECK,
    COMPRESSION_ERROR,
    PROTOCOL_ERROR,
    Answers,
    Ended,
    Target,
    body,
    case,
    continuation,
    data,
    ping,
    priority,
    settings,
)
from tests.support.h2play import each_section, failures

ENDS_SOMEHOW: Final = ("0", "3", "5", "12", "13")


def split(target: Target, stream_id: int = 1, parts: int = 3, *, flags: int = 0) -> bytes:
    """HEADERS and CONTINUATION of a good request, the last with END_HEADERS."""
    whole = target.block()
    size = -(-len(whole) // parts)
    pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
    frames = raw(HEADERS, flags, stream_id, pieces[0])
    for piece in pieces[1:-1]:
        frames += continuation(stream_id, piece)
    return frames + continuation(stream_id, pieces[-1], "END_HEADERS")


def fragment(target: Target, stream_id: int = 1) -> bytes:
    """HEADERS of a good request without its end."""
    return HeadersFrame(stream_id, target.block()[:10]).serialize()


def request(octets: bytes, *, body: bytes = CHECK) -> bytes:
    """A request with this header block."""
    return raw(HEADERS, END_HEADERS, 1, octets) + data(1, body, "END_STREAM")


CONTINUATION_CASES: Final = [
    case(
        "4.3",
        "a field block that does not decompress",
        lambda t: raw(HEADERS, END_HEADERS, 1, b"\xff" * 6),
        COMPRESSION_ERROR,
    ),
    case(
        "4.3",
        "PRIORITY amid a field block",
        lambda t: fragment(t) + priority(1, 3) + continuation(1, t.block()[10:], "END_HEADERS"),
        PROTOCOL_ERROR,
    ),
    case("4.3", "HEADERS of another stream amid a field block", lambda t: fragment(t) + t.opens(3), PROTOCOL_ERROR),
    case("4.3", "a PING amid a field block", lambda t: fragment(t) + ping(), PROTOCOL_ERROR),
    case("6.10", "several CONTINUATION frames", lambda t: split(t, parts=6) + body(1), Answers()),
    case(
        "6.10",
        "an empty CONTINUATION frame",
        lambda t: fragment(t) + continuation(1, b"") + continuation(1, t.block()[10:], "END_HEADERS") + body(1),
        Answers(),
    ),
    case(
        "6.10",
        "CONTINUATION, then another frame",
        lambda t: fragment(t) + continuation(1, t.block()[10:20]) + data(1, b"test"),
        PROTOCOL_ERROR,
    ),
    case(
        "6.10",
        "CONTINUATION on stream 0",
        lambda t: fragment(t) + raw(CONTINUATION, END_HEADERS, 0, t.block()[10:]),
        PROTOCOL_ERROR,
    ),
    case(
        "6.10",
        "CONTINUATION of another stream",
        lambda t: fragment(t) + continuation(3, t.block()[10:], "END_HEADERS"),
        PROTOCOL_ERROR,
    ),
    case(
        "6.10",
        "CONTINUATION after HEADERS with END_HEADERS",
        lambda t: t.opens(1) + continuation(1, t.block(), "END_HEADERS"),
        PROTOCOL_ERROR,
    ),
    case(
        "6.10",
        "CONTINUATION after CONTINUATION with END_HEADERS",
        lambda t: split(t) + continuation(1, t.block(), "END_HEADERS"),
        PROTOCOL_ERROR,
    ),
    case(
        "6.10",
        "CONTINUATION after DATA",
        lambda t: t.opens(1) + data(1, CHECK) + continuation(1, t.block(), "END_HEADERS"),
        PROTOCOL_ERROR,
    ),
    case(
        "6.10",
        "HEADERS with END_STREAM go on in CONTINUATION",
        lambda t: split(t, flags=END_STREAM),
        Answers(statuses=ENDS_SOMEHOW),
    ),
]

HPACK_CASES: Final = [
    case(
        "7541 2.3.3",
        "an index beyond both tables",
        lambda t: raw(HEADERS, END_HEADERS, 1, t.block() + b"\xff\x10"),
        COMPRESSION_ERROR,
    ),
    case(
        "7541 2.3.3",
        "a name's index beyond both tables",
        lambda t: raw(HEADERS, END_HEADERS, 1, t.block() + b"\x7f\x10\x01a"),
        COMPRESSION_ERROR,
    ),
    case(
        "7541 4.2",
        "a table size update at the block's end",
        lambda t: raw(HEADERS, END_HEADERS, 1, t.block() + b"\x20"),
        COMPRESSION_ERROR,
    ),
    case(
        "7541 5.1",
        "an integer that goes on for ever",
        lambda t: raw(HEADERS, END_HEADERS, 1, t.block() + b"\xff" * 50),
        COMPRESSION_ERROR,
    ),
    case(
        "7541 5.2",
        "Huffman padding longer than seven bits",
        lambda t: raw(HEADERS, END_HEADERS, 1, t.block() + b"\x00\x85\xf2\xb2\x4a\x84\xff\x84\x49\x50\x9f\xff"),
        COMPRESSION_ERROR,
    ),
    case(
        "7541 5.2",
        "Huffman padding of zeros",
        lambda t: raw(HEADERS, END_HEADERS, 1, t.block() + b"\x00\x85\xf2\xb2\x4a\x84\xff\x83\x49\x50\x90"),
        COMPRESSION_ERROR,
    ),
    case(
        "7541 5.2",
        "Huffman's EOS",
        lambda t: raw(
            HEADERS, END_HEADERS, 1, t.block() + b"\x00\x85\xf2\xb2\x4a\x84\xff\x87\x49\x51\xff\xff\xff\xfa\x7f"
        ),
        COMPRESSION_ERROR,
    ),
    case(
        "7541 5.2",
        "a string longer than the block",
        lambda t: raw(HEADERS, END_HEADERS, 1, t.block() + b"\x00\x7fab"),
        COMPRESSION_ERROR,
    ),
    case("7541 6.1", "index 0", lambda t: raw(HEADERS, END_HEADERS, 1, t.block() + b"\x80"), COMPRESSION_ERROR),
    case(
        "7541 6.2.1",
        "a field that goes into the table and is used from there",
        lambda t: request(t.block() + b"\x40\x01x\x01y\xbe"),
        Answers(),
    ),
    case("7541 6.2.2", "a field outside of the table", lambda t: request(t.block() + b"\x00\x01x\x01y"), Answers()),
    case("7541 6.2.3", "a field that is never indexed", lambda t: request(t.block() + b"\x10\x01x\x01y"), Answers()),
    case(
        "7541 6.3",
        "a table size update beyond our setting",
        lambda t: raw(HEADERS, END_HEADERS, 1, b"\x3f\xe1\xff\x03" + t.block()),
        COMPRESSION_ERROR,
    ),
    case(
        "7541 6.3",
        "two table size updates before the first field",
        lambda t: request(b"\x20\x3f\xe1\x1f" + t.block()),
        Answers(),
    ),
    case(
        "7541 4.2",
        "our encoder follows a smaller table",
        lambda t: (
            settings({1: 64}) + t.call(1),
            Ended(1),
            settings({1: 0}) + t.call(3),
            Ended(3),
            settings({1: 4096}) + t.call(5),
        ),
        Answers(streams=(1, 3, 5)),
    ),
    case(
        "7541 3.2",
        "a block that is cut off in a field",
        lambda t: raw(HEADERS, END_HEADERS, 1, t.block()[:-1]),
        COMPRESSION_ERROR,
    ),
]

CASES: Final = [*CONTINUATION_CASES, *HPACK_CASES]


@each_section(CASES)
async def test_servers_do_as_the_rfcs_say_of_field_blocks(name: str, section: str, tmp_path: Path) -> None:
    assert not await failures(name, (case for case in CASES if case.section == section), tmp_path)
