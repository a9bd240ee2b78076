"""AmneziaWG's obfuscation parameters, generation 1.0, and the rules they obey.

The parameters S1, S2 and H1–H4 must be the same at both ends; Jc, Jmin and Jmax concern only the end that sends.
"""

from collections.abc import Mapping
from typing import Final

import attrs

from pharos.wire.awg.messages import CORE_BYTES, MessageKind
from pharos.wire.awg.randomness import Random, uniform
from pharos.wire.errors import ParameterError

MAX_JUNK_COUNT: Final = 128
# A datagram of handshake or junk stays under IPv6's minimum MTU (RFC 8200 §5), so that none is ever fragmented.
MAX_DATAGRAM_BYTES: Final = 1280
MAX_U32: Final = 2**32 - 1
# Peers up to 0.2.15 read 0 to 4 as "not set"; the generator also keeps the sign bit clear, as Amnezia's own does.
MIN_CUSTOM_HEADER: Final = 5
MAX_GENERATED_HEADER: Final = 2**31 - 1


@attrs.frozen(kw_only=True)
class ObfuscationParameters:
    """How this tunnel's datagrams look from outside; the defaults are plain WireGuard.

    Raises: ParameterError — a value breaks a rule; the message names key, value and rule.
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
    h1: int = 1
    """Type field of an initiation."""
    h2: int = 2
    """Type field of a response."""
    h3: int = 3
    """Type field of a cookie reply."""
    h4: int = 4
    """Type field of a transport message."""

    def __attrs_post_init__(self) -> None:
        for field in attrs.fields(ObfuscationParameters):
            value = getattr(self, field.name)
            if not isinstance(value, int) or isinstance(value, bool):
                raise ParameterError(f"{field.name} = {value!r}: must be a whole number")
        _check_range("jc", self.jc, 0, MAX_JUNK_COUNT)
        _check_range("jmin", self.jmin, 0, MAX_DATAGRAM_BYTES - 1)
        _check_range("jmax", self.jmax, 0, MAX_DATAGRAM_BYTES - 1)
        if self.jmin > self.jmax:
            raise ParameterError(f"jmin = {self.jmin}: must not be above jmax = {self.jmax}")
        _check_range("s1", self.s1, 0, MAX_DATAGRAM_BYTES - CORE_BYTES[MessageKind.INITIATION])
        _check_range("s2", self.s2, 0, MAX_DATAGRAM_BYTES - CORE_BYTES[MessageKind.RESPONSE])
        self._check_sizes()
        self._check_headers()

    def padding(self, kind: MessageKind) -> int:
        """Random bytes before a message of this kind."""
        return {MessageKind.INITIATION: self.s1, MessageKind.RESPONSE: self.s2}.get(kind, 0)

    def header(self, kind: MessageKind) -> int:
        """The type field of this kind."""
        return (self.h1, self.h2, self.h3, self.h4)[kind - 1]

    def as_mapping(self) -> dict[str, int]:
        """Every parameter by its lower-case name, ready for JSON."""
        return attrs.asdict(self)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, int]) -> "ObfuscationParameters":
        """Take a mapping of lower-case names; one that is absent or zero means plain WireGuard's value.

        Raises: ParameterError — a name is unknown or a value breaks a rule.
        """
        known = attrs.fields_dict(cls)
        for name, value in mapping.items():
            if name not in known:
                raise ParameterError(f"{name} = {value!r}: no such parameter in AmneziaWG 1.0")
        return cls(**{name: value for name, value in mapping.items() if value != 0})

    def _check_sizes(self) -> None:
        # Peers up to 0.2.15 tell the kinds apart by size alone.
        seen: dict[int, str] = {}
        for kind, size in CORE_BYTES.items():
            padded = size + self.padding(kind)
            name = f"s{kind.value}"
            if padded in seen:
                raise ParameterError(
                    f"{name} = {self.padding(kind)}: makes its message {padded} bytes long, "
                    f"as long as that of {seen[padded]}; padded sizes must differ"
                )
            seen[padded] = name

    def _check_headers(self) -> None:
        seen: dict[int, str] = {}
        for kind in MessageKind:
            name, value = f"h{kind.value}", self.header(kind)
            _check_range(name, value, 0, MAX_U32)
            if value < MIN_CUSTOM_HEADER and value != kind:
                raise ParameterError(
                    f"{name} = {value}: must be {kind.value}, as in WireGuard, or from {MIN_CUSTOM_HEADER} up"
                )
            if value in seen:
                raise ParameterError(f"{name} = {value}: must differ from {seen[value]}")
            seen[value] = name


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ParameterError(f"{name} = {value}: must be from {low} to {high}")


PLAIN: Final = ObfuscationParameters()
"""WireGuard itself."""


def generate(random: Random) -> ObfuscationParameters:
    """Make a good set of parameters for a new tunnel.

    Four to ten junk datagrams blur the first flight at the price of a few hundred bytes; the paddings keep
    Amnezia's own range; no size of WireGuard's (148, 92, 64) is left, and the four headers are all custom.
    """
    plain_sizes = set(CORE_BYTES.values())
    s1 = uniform(random, 15, 149)
    while True:
        s2 = uniform(random, 15, 149)
        padded = s2 + CORE_BYTES[MessageKind.RESPONSE]
        if padded not in plain_sizes and padded != s1 + CORE_BYTES[MessageKind.INITIATION]:
            break
    headers: list[int] = []
    while len(headers) < len(MessageKind):
        header = uniform(random, MIN_CUSTOM_HEADER, MAX_GENERATED_HEADER)
        if header not in headers:
            headers.append(header)
    jmin = uniform(random, 16, 64)
    return ObfuscationParameters(
        jc=uniform(random, 4, 10),
        jmin=jmin,
        jmax=jmin + uniform(random, 32, 192),
        s1=s1,
        s2=s2,
        h1=headers[0],
        h2=headers[1],
        h3=headers[2],
        h4=headers[3],
    )
