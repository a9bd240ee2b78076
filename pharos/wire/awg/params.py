"""AmneziaWG's obfuscation parameters, generations 1.0 to 3.1; the rules they obey are in ``rules``.

S1–S4, H1–H4, HeaderProtectionKey and RandomTrailers must be the same at both ends; the rest concerns only the end
that sends.
"""

from __future__ import annotations

import base64
import contextlib
import enum
from collections.abc import Mapping
from typing import Any, Final, cast

import attrs

from pharos.wire.awg import rules
from pharos.wire.awg.findings import quote
from pharos.wire.awg.ipackets import IPacket, TemplateError, parse_ipacket
from pharos.wire.awg.messages import MessageKind
from pharos.wire.awg.ranges import Range, parse_range
from pharos.wire.errors import ParameterError


class Generation(enum.IntEnum):
    """A generation of the protocol; each knows the parameters of those before it."""

    WIREGUARD = 0
    V1_0 = 10
    """Jc, Jmin, Jmax, S1, S2 and single H values."""
    V1_5 = 15
    """I packets."""
    V2_0 = 20
    """S3, S4 and ranges of H."""
    V3_0 = 30
    """HeaderProtectionKey, ContentPaddingAddition and the ranges of the timers."""
    V3_1 = 31
    """RandomTrailers and DisableCookies."""

    def __str__(self) -> str:
        return "WireGuard" if self is Generation.WIREGUARD else f"{self // 10}.{self % 10}"


# A text that says nothing stays as it is: the rules then name its key, which a converter does not know.
def _to_range(value: Range | int | str) -> Range:
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            return parse_range(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return Range(value, value)
    return cast(Range, value)


def _to_optional_range(value: Range | int | str | None) -> Range | None:
    found = None if value is None else _to_range(value)
    # Zero means "not set" to every tool.
    return None if found == Range(0, 0) else found


def _to_ipacket(value: IPacket | str | None) -> IPacket | None:
    if isinstance(value, str):
        with contextlib.suppress(TemplateError):
            return parse_ipacket(value)
    return cast("IPacket | None", value)


@attrs.frozen(kw_only=True)
class UncheckedParameters:
    """A set of parameters as it was written; ``rules.violations`` says what is wrong with it.

    Ranges and I packets may be given as text; one that cannot be read stays a text.
    """

    jc: int = 0
    """Junk datagrams sent before each initiation."""
    jmin: int = 0
    """Bytes of the smallest junk datagram."""
    jmax: int = 0
    """Bytes of the largest junk datagram, itself included."""
    s1: int = 0
    """Random bytes before an initiation."""
    s2: int = 0
    """Random bytes before a response."""
    s3: int = 0
    """Random bytes before a cookie reply."""
    s4: int = 0
    """Random bytes before a transport message; the tunnel's MTU is less by as many."""
    h1: Range = attrs.field(default=Range(1, 1), converter=_to_range)
    """Type fields of an initiation; each message draws its own."""
    h2: Range = attrs.field(default=Range(2, 2), converter=_to_range)
    """Type fields of a response."""
    h3: Range = attrs.field(default=Range(3, 3), converter=_to_range)
    """Type fields of a cookie reply."""
    h4: Range = attrs.field(default=Range(4, 4), converter=_to_range)
    """Type fields of a transport message."""
    i1: IPacket | None = attrs.field(default=None, converter=_to_ipacket)
    """Sent before the junk of each initiation; likewise the next four."""
    i2: IPacket | None = attrs.field(default=None, converter=_to_ipacket)
    i3: IPacket | None = attrs.field(default=None, converter=_to_ipacket)
    i4: IPacket | None = attrs.field(default=None, converter=_to_ipacket)
    i5: IPacket | None = attrs.field(default=None, converter=_to_ipacket)
    header_protection_key: bytes = attrs.field(default=b"", repr=False)
    """32 bytes that encrypt handshake messages and transport headers; empty for none."""
    content_padding_addition: Range | None = attrs.field(default=None, converter=_to_optional_range)
    """Zero bytes after each inner packet, instead of those that fill it to a multiple of 16."""
    rekey_after_time: Range | None = attrs.field(default=None, converter=_to_optional_range)
    """Seconds, as the three after it; None is WireGuard's own value."""
    rekey_timeout: Range | None = attrs.field(default=None, converter=_to_optional_range)
    reject_after_time: Range | None = attrs.field(default=None, converter=_to_optional_range)
    keepalive_timeout: Range | None = attrs.field(default=None, converter=_to_optional_range)
    max_handshake_attempts: Range | None = attrs.field(default=None, converter=_to_optional_range)
    """Initiations sent in vain before giving up."""
    random_trailers: bool = False
    """Random bytes after handshake messages, and zeros inside transport messages, up to the largest datagram seen."""
    disable_cookies: bool = False
    """Never answer with a cookie reply, under load either."""

    def padding(self, kind: MessageKind) -> int:
        """Random bytes before a message of this kind."""
        return (self.s1, self.s2, self.s3, self.s4)[kind - 1]

    def header_range(self, kind: MessageKind) -> Range:
        """The type fields of this kind."""
        return (self.h1, self.h2, self.h3, self.h4)[kind - 1]

    @property
    def ipackets(self) -> tuple[IPacket, ...]:
        """The I packets that are set, in the order in which they are sent."""
        packets = (self.i1, self.i2, self.i3, self.i4, self.i5)
        return tuple(packet for packet in packets if packet is not None)

    @property
    def needs(self) -> dict[str, Generation]:
        """The generation that each parameter which is set came with; ranges of H came with 2.0."""
        found: dict[str, Generation] = {}
        for field in attrs.fields(UncheckedParameters):
            value = getattr(self, field.name)
            if value != field.default:
                ranged = field.name in rules.HEADERS and value.span > 1
                found[field.name] = Generation.V2_0 if ranged else GENERATION_OF[field.name]
        return found

    @property
    def generation(self) -> Generation:
        """The least generation that knows every parameter which is set."""
        return max(self.needs.values(), default=Generation.WIREGUARD)

    def as_mapping(self) -> dict[str, Any]:
        """Parameters by lower-case name, ready for JSON: all of generation 1.0, and those of a later one if set."""
        mapping: dict[str, Any] = {}
        for field in attrs.fields(UncheckedParameters):
            value = getattr(self, field.name)
            if field.name in _ALWAYS or value != field.default:
                mapping[field.name] = _as_json(value)
        return mapping


@attrs.frozen(kw_only=True)
class ObfuscationParameters(UncheckedParameters):
    """How this tunnel's datagrams look from outside; the defaults are plain WireGuard.

    Raises: ParameterError — a value breaks a rule; the message names key, value and rule.
    """

    def __attrs_post_init__(self) -> None:
        for violation in rules.violations(self):
            raise ParameterError(str(violation))

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> ObfuscationParameters:
        """Take a mapping of lower-case names, as ``as_mapping`` makes them.

        One that is absent, zero or empty means plain WireGuard's value.

        Raises: ParameterError — a name is unknown or a value breaks a rule.
        """
        known = attrs.fields_dict(cls)
        for name, value in mapping.items():
            if name not in known:
                raise ParameterError(
                    f"{quote(name)} = {quote(repr(value))}: no such parameter in AmneziaWG up to {Generation.V3_1}"
                )
        values = {name: value for name, value in mapping.items() if value is not None and value not in _ABSENT}
        if "header_protection_key" in values:
            values["header_protection_key"] = _protection_key(values["header_protection_key"])
        return cls(**values)


_ABSENT: Final = (0, "", "0")
_ALWAYS: Final = frozenset(("jc", "jmin", "jmax", "s1", "s2", "h1", "h2", "h3", "h4"))

GENERATION_OF: Final = (
    dict.fromkeys(_ALWAYS, Generation.V1_0)
    | dict.fromkeys(("i1", "i2", "i3", "i4", "i5"), Generation.V1_5)
    | dict.fromkeys(("s3", "s4"), Generation.V2_0)
    | dict.fromkeys(("header_protection_key", "content_padding_addition", *rules.TIMINGS), Generation.V3_0)
    | dict.fromkeys(rules.FLAGS, Generation.V3_1)
)
"""The generation that brought each parameter."""

PLAIN: Final = ObfuscationParameters()
"""WireGuard itself."""


def _as_json(value: object) -> object:
    match value:
        case Range():
            return value.as_json()
        case IPacket():
            return str(value)
        case bytes():
            return base64.b64encode(value).decode()
        case _:
            return value


def _protection_key(text: object) -> bytes:
    try:
        return base64.b64decode(text, validate=True)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise ParameterError("header_protection_key: must be 32 bytes in base64") from None
