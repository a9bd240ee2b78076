"""RFC 9113 §8: requests that are well-formed, and those that are malformed.

https://www.rfc-editor.org/rfc/rfc9113
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from h2.errors import ErrorCodes as Code

from tests.support.floods import END_HEADERS, END_STREAM, HEADERS, block, raw
from tests.support.h2cases import (
    CHECK,
    Answers,
    Case,
    Ended,
    Target,
    body,
    case,
    data,
    strict,
)
from tests.support.h2play import each_section, failures

ENDS_SOMEHOW: Final = ("0", "2", "3", "5", "12", "13")
MALFORMED: Final = Code.PROTOCOL_ERROR


def request(octets: bytes, *, body: bytes = CHECK) -> bytes:
    """A request with this header block."""
    return raw(HEADERS, END_HEADERS, 1, octets) + data(1, body, "END_STREAM")


def malformed(section: str, what: str, octets: Callable[[Target], bytes]) -> Case:
    """A request that is malformed by its header list."""
    return strict(section, what, lambda t: raw(HEADERS, END_HEADERS, 1, octets(t)), MALFORMED)


def reordered(target: Target) -> bytes:
    """A regular field before a pseudo-header field."""
    headers = target.headers()
    return block([*headers[:3], headers[4], headers[3], *headers[5:]])


def trailers(target: Target, *fields: tuple[str, str], flags: int = END_STREAM) -> bytes:
    return target.opens(1) + data(1, CHECK) + raw(HEADERS, END_HEADERS | flags, 1, block(list(fields)))


MESSAGE_CASES: Final = [
    case("8.1", "a request with trailers", lambda t: trailers(t, ("x-trailer", "yes")), Answers()),
    strict(
        "8.1",
        "a second HEADERS frame without END_STREAM",
        lambda t: trailers(t, ("x-trailer", "yes"), flags=0),
        MALFORMED,
    ),
    strict(
        "8.1", "trailers twice", lambda t: t.opens(1) + raw(HEADERS, END_HEADERS, 1, block([("x", "y")])) * 2, MALFORMED
    ),
    case(
        "8.1",
        "a request without a body",
        lambda t: raw(HEADERS, END_HEADERS | END_STREAM, 1, t.block()),
        Answers(statuses=ENDS_SOMEHOW),
    ),
    case(
        "8.1",
        "many requests in one flight",
        lambda t: (t.call(1) + t.call(3), Ended(1), Ended(3), t.call(5) + t.call(7)),
        Answers(streams=(1, 3, 5, 7)),
    ),
    strict(
        "8.1.1",
        "content-length that is not the DATA's, in one frame",
        lambda t: t.opens(1, ("content-length", "1")) + body(1),
        MALFORMED,
    ),
    strict(
        "8.1.1",
        "content-length that is not the DATA's, in several",
        lambda t: t.opens(1, ("content-length", "99")) + data(1, CHECK) + body(1),
        MALFORMED,
    ),
    strict(
        "8.1.1",
        "content-length and no DATA",
        lambda t: raw(HEADERS, END_HEADERS | END_STREAM, 1, t.block(("content-length", "1"))),
        MALFORMED,
    ),
    strict(
        "8.1.1",
        "content-length that is not the DATA's, before trailers",
        lambda t: (
            t.opens(1, ("content-length", "99")) + data(1, CHECK) + raw(HEADERS, 5, 1, block([("x-trailer", "yes")]))
        ),
        MALFORMED,
    ),
    case(
        "8.1.1",
        "content-length that is the DATA's",
        lambda t: t.opens(1, ("content-length", str(len(CHECK)))) + body(1),
        Answers(),
    ),
    strict("8.1.1", "content-length that is no number", lambda t: t.opens(1, ("content-length", "five")), MALFORMED),
]

FIELD_CASES: Final = [
    malformed("8.2", "a field name in upper case", lambda t: t.block(("X-Test", "ok"))),
    malformed("8.2.1", "a field name with a space", lambda t: t.block(("x test", "ok"))),
    malformed("8.2.1", "a field name with a control character", lambda t: t.block(("x\x00test", "ok"))),
    malformed("8.2.1", "a field name with DEL", lambda t: t.block(("x\x7f", "ok"))),
    malformed("8.2.1", "an empty field name", lambda t: t.block() + b"\x10\x00\x01y"),
    malformed("8.2.1", "a field name with a colon in it", lambda t: t.block(("x:y", "ok"))),
    malformed("8.2.1", "a field value with NUL", lambda t: t.block(("x-test", "a\x00b"))),
    malformed("8.2.1", "a field value with CR", lambda t: t.block(("x-test", "a\rb"))),
    malformed("8.2.1", "a field value with LF", lambda t: t.block(("x-test", "a\nb"))),
    malformed("8.2.1", "a field value that begins with a space", lambda t: t.block(("x-test", " ok"))),
    malformed("8.2.1", "a field value that ends with a tab", lambda t: t.block(("x-test", "ok\t"))),
    malformed("8.2.2", "connection", lambda t: t.block(("connection", "keep-alive"))),
    malformed("8.2.2", "keep-alive", lambda t: t.block(("keep-alive", "timeout=5"))),
    malformed("8.2.2", "proxy-connection", lambda t: t.block(("proxy-connection", "close"))),
    malformed("8.2.2", "transfer-encoding", lambda t: t.block(("transfer-encoding", "chunked"))),
    malformed("8.2.2", "upgrade", lambda t: t.block(("upgrade", "h2c"))),
    malformed("8.2.2", "te with anything but trailers", lambda t: t.with_field("te", "trailers, deflate")),
    case("8.2.2", "no te at all", lambda t: request(t.without("te")), Answers()),
    case("8.2.3", "cookies in crumbs", lambda t: request(t.block(("cookie", "a=b"), ("cookie", "c=d"))), Answers()),
]

PSEUDO_CASES: Final = [
    malformed("8.3", "an unknown pseudo-header field", lambda t: block([(":test", "ok"), *t.headers()])),
    malformed("8.3", "a response's pseudo-header field", lambda t: block([(":status", "200"), *t.headers()])),
    strict("8.3", "a pseudo-header field in trailers", lambda t: trailers(t, (":method", "POST")), MALFORMED),
    malformed("8.3", "a pseudo-header field after a regular one", reordered),
    malformed("8.3.1", "an empty :path", lambda t: t.with_field(":path", "")),
    malformed("8.3.1", "no :method", lambda t: t.without(":method")),
    malformed("8.3.1", "no :scheme", lambda t: t.without(":scheme")),
    malformed("8.3.1", "no :path", lambda t: t.without(":path")),
    malformed("8.3.1", ":method twice", lambda t: block([(":method", "POST"), *t.headers()])),
    malformed("8.3.1", ":scheme twice", lambda t: block([(":scheme", "https"), *t.headers()])),
    malformed("8.3.1", ":path twice", lambda t: block([(":path", "/"), *t.headers()])),
    malformed("8.3.1", ":authority twice", lambda t: block([(":authority", "a"), *t.headers()])),
    malformed("8.3.1", "host that is not :authority", lambda t: t.block(("host", "another.test"))),
    case(
        "8.3.1",
        "host instead of :authority",
        lambda t: request(t.without(":authority") + block([("host", "peer.test")])),
        Answers(),
    ),
    case(
        "8.5",
        "CONNECT",
        lambda t: raw(HEADERS, END_HEADERS, 1, block([(":method", "CONNECT"), (":authority", "a:1")])),
        Answers(statuses=("2", "12")),
    ),
    strict(
        "8.5",
        "CONNECT with :scheme and :path",
        lambda t: raw(HEADERS, END_HEADERS, 1, t.with_field(":method", "CONNECT")),
        MALFORMED,
    ),
]

CASES: Final[list[Case]] = [*MESSAGE_CASES, *FIELD_CASES, *PSEUDO_CASES]


@each_section(CASES)
async def test_servers_do_as_the_rfc_says_of_messages(name: str, section: str, tmp_path: Path) -> None:
    assert not await failures(name, (case for case in CASES if case.section == section), tmp_path)
