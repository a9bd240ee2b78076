"""The rules that a set of AmneziaWG parameters obeys; upstream keeps only some of them, we keep all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import attrs

from pharos.wire.awg.findings import quote
from pharos.wire.awg.ipackets import IPacket, TemplateError, parse_ipacket
from pharos.wire.awg.messages import CORE_BYTES, KEEPALIVE_BYTES, MessageKind
from pharos.wire.awg.ranges import MAX_U32, Range

if TYPE_CHECKING:
    from pharos.wire.awg.params import UncheckedParameters

MAX_JUNK_COUNT: Final = 128
# A datagram of handshake or junk stays under IPv6's minimum MTU (RFC 8200 §5), so that none is ever fragmented.
MAX_DATAGRAM_BYTES: Final = 1280
# Peers up to 0.2.15 read 0 to 4 as "not set"; the generator also keeps the sign bit clear, as Amnezia's own does.
MIN_CUSTOM_HEADER: Final = 5
MAX_GENERATED_HEADER: Final = 2**31 - 1
HEADER_PROTECTION_KEY_BYTES: Final = 32
# Header protection takes ChaCha20's 96-bit nonce from the padding (RFC 8439 §2.3).
MIN_PROTECTED_PADDING: Final = 12
# The added zeros are inside one packet, whose length field is 16 bits wide.
MAX_CONTENT_PADDING: Final = 2**16 - 1

SHORTEST_BYTES: Final = CORE_BYTES | {MessageKind.TRANSPORT: KEEPALIVE_BYTES}
"""148, 92, 64 and 32: the messages before padding; a transport message as a keepalive."""
JUNK: Final = ("jc", "jmin", "jmax")
HEADERS: Final = ("h1", "h2", "h3", "h4")
I_PACKETS: Final = ("i1", "i2", "i3", "i4", "i5")
PADDINGS: Final = ("s1", "s2", "s3", "s4")
TIMINGS: Final = (
    "rekey_after_time",
    "rekey_timeout",
    "reject_after_time",
    "keepalive_timeout",
    "max_handshake_attempts",
)
RANGES: Final = (*HEADERS, "content_padding_addition", *TIMINGS)
FLAGS: Final = ("random_trailers", "disable_cookies")


@attrs.frozen
class Violation:
    """A rule broken by a value."""

    key: str
    value: str
    rule: str

    def __str__(self) -> str:
        return f"{self.key} = {self.value}: {self.rule}"


def violations(parameters: UncheckedParameters) -> Iterator[Violation]:
    """Yield each rule that is broken, those of a single value first; what needs whole values waits for them."""
    types = list(_types(parameters))
    yield from types
    if types:
        return
    singles = [*_numbers(parameters), *_ranges(parameters), *_protection_key(parameters)]
    yield from singles
    wrong = {violation.key for violation in singles}
    if not wrong & {"jmin", "jmax"} and parameters.jmin > parameters.jmax:
        yield Violation("jmin", str(parameters.jmin), f"must not be above jmax = {parameters.jmax}")
    yield from _sizes(parameters, wrong)
    yield from _headers(parameters, wrong)
    if parameters.header_protection_key:
        yield from _protected_paddings(parameters, wrong)


def _types(parameters: UncheckedParameters) -> Iterator[Violation]:
    for key in (*JUNK, *PADDINGS):
        value: object = getattr(parameters, key)
        if not isinstance(value, int) or isinstance(value, bool):
            yield Violation(key, quote(repr(value)), "must be a whole number")
    for key in RANGES:
        value = getattr(parameters, key)
        optional = value is None and key not in HEADERS
        if not optional and not isinstance(value, Range):
            yield Violation(key, quote(repr(value)), "must be a whole number, or a range of two as in 5-9")
    for key in I_PACKETS:
        value = getattr(parameters, key)
        if value is not None and not isinstance(value, IPacket):
            yield _template(key, value)
    for key in FLAGS:
        value = getattr(parameters, key)
        if not isinstance(value, bool):
            yield Violation(key, quote(repr(value)), "must be true or false")
    value = getattr(parameters, "header_protection_key")  # noqa: B009 -- an object, not yet bytes
    if not isinstance(value, bytes):
        yield Violation("header_protection_key", "(hidden)", "must be bytes")


def _template(key: str, value: object) -> Violation:
    try:
        parse_ipacket(value if isinstance(value, str) else "")
    except TemplateError as error:
        return Violation(key, error.place, error.rule)
    raise AssertionError("a template that can be read has been read")


def _numbers(parameters: UncheckedParameters) -> Iterator[Violation]:
    limits = {"jc": MAX_JUNK_COUNT, "jmin": MAX_DATAGRAM_BYTES - 1, "jmax": MAX_DATAGRAM_BYTES - 1}
    limits |= {f"s{kind.value}": MAX_DATAGRAM_BYTES - size for kind, size in SHORTEST_BYTES.items()}
    for key, limit in limits.items():
        value = getattr(parameters, key)
        if not 0 <= value <= limit:
            yield Violation(key, str(value), f"must be from 0 to {limit}")


def _ranges(parameters: UncheckedParameters) -> Iterator[Violation]:
    for kind in MessageKind:
        key, header = f"h{kind.value}", parameters.header_range(kind)
        yield from _range(key, header, 0, MAX_U32)
        if header.low < MIN_CUSTOM_HEADER and header != Range(kind, kind) and header.low >= 0:
            yield Violation(key, str(header), f"must be {kind.value}, as in WireGuard, or from {MIN_CUSTOM_HEADER} up")
    if parameters.content_padding_addition is not None:
        yield from _range("content_padding_addition", parameters.content_padding_addition, 0, MAX_CONTENT_PADDING)
    for key in TIMINGS:
        value = getattr(parameters, key)
        if value is not None:
            # Zero on its own says "not set"; as the end of a range nobody can tell what it means.
            yield from _range(key, value, 1, MAX_U32)


def _range(key: str, value: Range, low: int, high: int) -> Iterator[Violation]:
    if value.low > value.high:
        yield Violation(key, str(value), "its first number must not be above its second")
    elif value.low < low or value.high > high:
        yield Violation(key, str(value), f"must be from {low} to {high}")


def _protection_key(parameters: UncheckedParameters) -> Iterator[Violation]:
    # The value is secret and never shown.
    key = parameters.header_protection_key
    if key and len(key) != HEADER_PROTECTION_KEY_BYTES:
        yield Violation("header_protection_key", f"({len(key)} bytes)", "must be 32 bytes long")
    elif key and not any(key):
        yield Violation("header_protection_key", "(all zero)", "must not be zero, which peers read as none")


def _sizes(parameters: UncheckedParameters, wrong: set[str]) -> Iterator[Violation]:
    # Peers up to 0.2.15 tell the kinds apart by size alone.
    seen: dict[int, str] = {}
    for kind, size in SHORTEST_BYTES.items():
        key = f"s{kind.value}"
        padding = parameters.padding(kind)
        padded = size + padding
        if key in wrong:
            continue
        if padded in seen:
            yield Violation(
                key,
                str(padding),
                f"makes its message {padded} bytes long, as long as that of {seen[padded]}; padded sizes must differ",
            )
        seen[padded] = key


def _headers(parameters: UncheckedParameters, wrong: set[str]) -> Iterator[Violation]:
    seen: dict[str, Range] = {}
    for kind in MessageKind:
        key, header = f"h{kind.value}", parameters.header_range(kind)
        if key in wrong:
            continue
        for other, taken in seen.items():
            if header.overlaps(taken):
                rule = f"must differ from {other}" if header == taken else f"must not overlap {other} = {taken}"
                yield Violation(key, str(header), rule)
        seen[key] = header


def _protected_paddings(parameters: UncheckedParameters, wrong: set[str]) -> Iterator[Violation]:
    for key in PADDINGS:
        value = getattr(parameters, key)
        if key not in wrong and value < MIN_PROTECTED_PADDING:
            yield Violation(
                key, str(value), f"must be at least {MIN_PROTECTED_PADDING} with a header_protection_key: its nonce"
            )
