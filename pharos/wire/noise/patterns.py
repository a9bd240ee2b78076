"""Handshake patterns as a table, and the protocol name that picks one (Noise rev 34 §7, §8, §9, §18)."""

import enum
import re
from collections.abc import Iterable
from typing import Final

import attrs

from pharos.wire.errors import LocalProtocolError

SUFFIX: Final = "25519_ChaChaPoly_BLAKE2s"
"""The one choice of DH, cipher and hash that this code knows."""


class Token(enum.Enum):
    """One step of a message pattern (§7.1, psk: §9)."""

    E = "e"
    S = "s"
    EE = "ee"
    ES = "es"
    SE = "se"
    SS = "ss"
    PSK = "psk"


@attrs.frozen(kw_only=True)
class Pattern:
    """What each side knows beforehand, and the messages in turn, the initiator's first."""

    initiator_known: bool
    """The responder knows the initiator's static key (a pre-message ``-> s``)."""

    responder_known: bool
    """The initiator knows the responder's static key (a pre-message ``<- s``)."""

    messages: tuple[tuple[Token, ...], ...]

    @property
    def psks(self) -> int:
        """How many pre-shared keys the pattern mixes in."""
        return sum(message.count(Token.PSK) for message in self.messages)

    def needs_static(self, *, initiator: bool) -> bool:
        """Say whether this side must own a static key."""
        known = self.initiator_known if initiator else self.responder_known
        return known or self.sends_static(initiator=initiator)

    def sends_static(self, *, initiator: bool) -> bool:
        """Say whether this side's static key travels in the handshake."""
        return any(Token.S in message for message in self.messages[0 if initiator else 1 :: 2])


# Name: pre-messages ("i" the initiator's static key is known, "r" the responder's), then the messages.
# One-way §7.4, interactive §7.5, deferred §18.1.
_TABLE: Final[dict[str, tuple[str, str]]] = {
    "N": ("r", "e es"),
    "K": ("ir", "e es ss"),
    "X": ("r", "e es s ss"),
    "NN": ("", "e, e ee"),
    "NK": ("r", "e es, e ee"),
    "NX": ("", "e, e ee s es"),
    "KN": ("i", "e, e ee se"),
    "KK": ("ir", "e es ss, e ee se"),
    "KX": ("i", "e, e ee se s es"),
    "XN": ("", "e, e ee, s se"),
    "XK": ("r", "e es, e ee, s se"),
    "XX": ("", "e, e ee s es, s se"),
    "IN": ("", "e s, e ee se"),
    "IK": ("r", "e es s ss, e ee se"),
    "IX": ("", "e s, e ee se s es"),
    "NK1": ("r", "e, e ee es"),
    "NX1": ("", "e, e ee s, es"),
    "X1N": ("", "e, e ee, s, se"),
    "X1K": ("r", "e es, e ee, s, se"),
    "XK1": ("r", "e, e ee es, s se"),
    "X1K1": ("r", "e, e ee es, s, se"),
    "X1X": ("", "e, e ee s es, s, se"),
    "XX1": ("", "e, e ee s, es s se"),
    "X1X1": ("", "e, e ee s, es s, se"),
    "K1N": ("i", "e, e ee, se"),
    "K1K": ("ir", "e es, e ee, se"),
    "KK1": ("ir", "e, e ee se es"),
    "K1K1": ("ir", "e, e ee es, se"),
    "K1X": ("i", "e, e ee s es, se"),
    "KX1": ("i", "e, e ee se s, es"),
    "K1X1": ("i", "e, e ee s, se es"),
    "I1N": ("", "e s, e ee, se"),
    "I1K": ("r", "e es s, e ee, se"),
    "IK1": ("r", "e s, e ee se es"),
    "I1K1": ("r", "e s, e ee es, se"),
    "I1X": ("", "e s, e ee s es, se"),
    "IX1": ("", "e s, e ee se s, es"),
    "I1X1": ("", "e s, e ee s, se es"),
}
PATTERNS: Final = tuple(_TABLE)
"""Names of the patterns without modifiers."""

_NAME: Final = re.compile(rf"Noise_([NKXI1]+)((?:psk[0-9])?(?:\+psk[0-9])*)_{SUFFIX}")


def parse_protocol_name(name: str) -> Pattern:
    """Build the pattern of a full name such as ``Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s``.

    Raises: LocalProtocolError — unknown pattern, modifier or algorithms.
    """
    match = _NAME.fullmatch(name)
    if match is None or match[1] not in _TABLE or match[2].startswith("+"):
        raise LocalProtocolError(f"{name!r} is no Noise protocol known here")
    known, text = _TABLE[match[1]]
    messages = [[Token(word) for word in message.split()] for message in text.split(",")]
    _apply_psks(name, messages, (int(place) for place in re.findall(r"psk([0-9])", match[2])))
    return Pattern(
        initiator_known="i" in known,
        responder_known="r" in known,
        messages=tuple(tuple(message) for message in messages),
    )


def _apply_psks(name: str, messages: list[list[Token]], places: Iterable[int]) -> None:
    """Insert each ``pskN``: 0 begins the first message, N ends the Nth (§9.4)."""
    seen: set[int] = set()
    for place in places:
        if place > len(messages) or place in seen:
            raise LocalProtocolError(f"{name!r} has no place for psk{place}")
        seen.add(place)
        if place == 0:
            messages[0].insert(0, Token.PSK)
        else:
            messages[place - 1].append(Token.PSK)
