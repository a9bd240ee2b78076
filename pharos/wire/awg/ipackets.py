"""I packets: up to five datagrams before the junk of a handshake, each built by a small template.

``spec = { "<" tag [ " " argument ] ">" }``, for example ``<b 0x4500><r 16><t>``. Upstream passes over text outside
the tags; here it is an error, for what is sent should be what was written.
"""

from __future__ import annotations

import enum
import re
import string
from struct import Struct
from typing import Final

import attrs

from pharos.wire.awg.randomness import Random

MAX_I_PACKETS: Final = 5
# What UDP carries over IPv4: 65535 less 20 for IP and 8 for UDP.
MAX_I_PACKET_BYTES: Final = 65_507
# AmneziaWG 1.5 draws no more at once.
MAX_RANDOM_BYTES_1_5: Final = 1_000
# The longest way to write one byte is a part of its own, <b 0xff>: eight characters.
MAX_SPEC_CHARACTERS: Final = 8 * MAX_I_PACKET_BYTES
_PART: Final = re.compile(r"<(?:(t|c)|(b) 0x((?:[0-9A-Fa-f]{2})+)|(r|rc|rd) ([1-9][0-9]{0,4}))>", re.ASCII)
_GRAMMAR_RULE: Final = "must be a sequence of <b 0xHEX>, <r N>, <rc N>, <rd N>, <t> and <c>, with nothing between them"
_U32: Final = Struct(">I")
_LETTERS: Final = string.ascii_letters.encode()
_DIGITS: Final = string.digits.encode()


class TemplateError(ValueError):
    """A template breaks its grammar or its limits."""

    def __init__(self, place: str, rule: str) -> None:
        super().__init__(f"{place}: {rule}")
        self.place = place
        """What was found, quoted."""
        self.rule = rule


class Tag(enum.Enum):
    """What one part of an I packet is made of."""

    STATIC = "b"
    RANDOM = "r"
    LETTERS = "rc"
    DIGITS = "rd"
    TIME = "t"
    """Unix time in seconds, u32 big-endian; AmneziaWG 1.5 wrote 8 bytes."""
    COUNTER = "c"
    """Number of the I packet, u32 big-endian; only the kernel module and AmneziaWG 1.5 know it."""


@attrs.frozen
class Part:
    """One tag of a template."""

    tag: Tag
    size: int
    """Bytes it makes."""
    octets: bytes = b""
    """What a static part says."""

    def __str__(self) -> str:
        match self.tag:
            case Tag.STATIC:
                return f"<b 0x{self.octets.hex()}>"
            case Tag.TIME | Tag.COUNTER:
                return f"<{self.tag.value}>"
            case _:
                return f"<{self.tag.value} {self.size}>"


@attrs.frozen
class IPacket:
    """The template of one I packet, of at least one part."""

    parts: tuple[Part, ...]

    def __str__(self) -> str:
        """The text that parses to this template."""
        return "".join(map(str, self.parts))

    @property
    def size(self) -> int:
        """Bytes of the datagram."""
        return sum(part.size for part in self.parts)

    def build(self, random: Random, *, unix_time: int, counter: int) -> bytes:
        """Make the datagram; time and counter wrap at 32 bits."""
        return b"".join(_build(part, random, unix_time, counter) for part in self.parts)


def parse_ipacket(text: str) -> IPacket:
    """Read a template.

    Raises: TemplateError — it is empty, breaks the grammar, or makes more than a datagram holds.
    """
    if not text or len(text) > MAX_SPEC_CHARACTERS:
        raise TemplateError(f"({len(text)} characters)", f"must have from 1 to {MAX_SPEC_CHARACTERS} characters")
    parts: list[Part] = []
    at = size = 0
    while at < len(text):
        found = _PART.match(text, at)
        if found is None:
            raise TemplateError(_around(text, at), _GRAMMAR_RULE)
        parts.append(_part(found))
        size += parts[-1].size
        if size > MAX_I_PACKET_BYTES:
            raise TemplateError(_around(text, 0), f"must make at most {MAX_I_PACKET_BYTES} bytes")
        at = found.end()
    return IPacket(tuple(parts))


def _part(found: re.Match[str]) -> Part:
    bare, static, octets, drawn, count = found.groups()
    if bare is not None:
        return Part(Tag(bare), _U32.size)
    if static is not None:
        return Part(Tag.STATIC, len(octets) // 2, bytes.fromhex(octets))
    return Part(Tag(drawn), int(count))


def _around(text: str, at: int) -> str:
    """Quote the place of an error; a whole template can be a screenful."""
    shown = text[at : at + 24]
    return repr(("…" if at else "") + shown + ("…" if at + 24 < len(text) else ""))


def _build(part: Part, random: Random, unix_time: int, counter: int) -> bytes:
    match part.tag:
        case Tag.STATIC:
            return part.octets
        case Tag.RANDOM:
            return random(part.size)
        case Tag.LETTERS:
            return _characters(random, part.size, _LETTERS)
        case Tag.DIGITS:
            return _characters(random, part.size, _DIGITS)
        case Tag.TIME:
            return _U32.pack(unix_time & 0xFFFFFFFF)
        case Tag.COUNTER:
            return _U32.pack(counter & 0xFFFFFFFF)


def _characters(random: Random, count: int, alphabet: bytes) -> bytes:
    """Draw evenly: bytes above the last whole multiple of the alphabet's size are thrown away."""
    size = len(alphabet)
    fair = 256 // size * size
    table = bytes(alphabet[octet % size] for octet in range(256))
    thrown = bytes(range(fair, 256))
    drawn = b""
    while len(drawn) < count:
        drawn += random(count - len(drawn)).translate(table, thrown)
    return drawn
