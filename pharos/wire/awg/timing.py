"""WireGuard's constants of time and count (wireguard.pdf §6.1), and AmneziaWG 3.0's ranges in their stead."""

from __future__ import annotations

from typing import Final, TypeAlias

import attrs

from pharos.wire.awg.params import ObfuscationParameters
from pharos.wire.awg.randomness import Random, uniform
from pharos.wire.awg.ranges import Range
from pharos.wire.units import MILLISECONDS, SECONDS

REKEY_AFTER_MESSAGES: Final = 2**60
# The largest window any implementation keeps is held back from the end of the counter.
REJECT_AFTER_MESSAGES: Final = 2**64 - 2**13 - 1
HANDSHAKE_JITTER: Final = 333 * MILLISECONDS
"""Added at random to a retry, so that two ends that began together do not go on colliding."""
MIN_INITIATION_GAP: Final = 20 * MILLISECONDS
"""A peer's initiation nearer than this to the one before is dropped, for each costs us a handshake."""
MAX_STAGED: Final = 128
"""Packets kept for a peer while a handshake runs, about 180 kB; the oldest give way, as in wireguard-go."""


@attrs.frozen
class Span:
    """Seconds from ``low`` to ``high``, one moment of which is drawn at each arming."""

    low: float
    high: float

    def draw(self, random: Random) -> float:
        """Draw to the millisecond; a span of one moment costs no randomness."""
        if self.low == self.high:
            return self.low
        return self.low + uniform(random, 0, round((self.high - self.low) / MILLISECONDS)) * MILLISECONDS


SpanLike: TypeAlias = "Span | Range | float"


def to_span(value: SpanLike) -> Span:
    """Bring a time or a range of whole seconds to one form."""
    if isinstance(value, Span):
        return value
    if isinstance(value, Range):
        return Span(value.low * SECONDS, value.high * SECONDS)
    return Span(value, value)


def _to_range(value: Range | int) -> Range:
    return value if isinstance(value, Range) else Range(value, value)


@attrs.frozen(kw_only=True)
class Timing:
    """The timers a tunnel may set otherwise, all in seconds; the defaults are WireGuard's.

    Of each span the end that keeps us and any peer out of trouble bounds what the others are computed from.
    """

    rekey_after: Span = attrs.field(default=to_span(120 * SECONDS), converter=to_span)
    """Age at which the initiator of a session, when it sends, begins the next handshake."""
    reject_after: Span = attrs.field(default=to_span(180 * SECONDS), converter=to_span)
    """Age at which a session carries nothing more, either way: its later end, for the peer may have drawn that."""
    rekey_timeout: Span = attrs.field(default=to_span(5 * SECONDS), converter=to_span)
    """Time after which an initiation is repeated; the earlier end is the least time between two."""
    keepalive: Span = attrs.field(default=to_span(10 * SECONDS), converter=to_span)
    """Silence after which received data is answered by a keepalive."""
    max_attempts: Range = attrs.field(default=Range(18, 18), converter=_to_range)
    """Initiations sent in vain before giving up: 90 s at 5 s each."""

    @classmethod
    def of(cls, parameters: ObfuscationParameters) -> Timing:
        """Take what the parameters say, and WireGuard's values for what they leave open."""
        given = {
            "rekey_after": parameters.rekey_after_time,
            "reject_after": parameters.reject_after_time,
            "rekey_timeout": parameters.rekey_timeout,
            "keepalive": parameters.keepalive_timeout,
            "max_attempts": parameters.max_handshake_attempts,
        }
        return cls(**{name: value for name, value in given.items() if value is not None})

    @property
    def session_lifetime(self) -> float:
        """Seconds that a session carries packets."""
        return self.reject_after.high

    @property
    def initiation_gap(self) -> float:
        """Least seconds between two initiations to a peer that something other than a timer asked for."""
        return self.rekey_timeout.low

    def draw_rekey_on_receive(self, random: Random) -> float:
        """Age at which the initiator, when it receives, begins the next handshake even if it never sends."""
        return max(0.0, self.reject_after.draw(random) - self.keepalive.low - self.rekey_timeout.low)

    def draw_no_answer(self, random: Random) -> float:
        """Time after which data sent with nothing authentic back means that the session is gone at the peer."""
        return self.keepalive.draw(random) + self.rekey_timeout.draw(random)

    @property
    def forget_after(self) -> float:
        """Time after the last handshake at which all its keys are dropped."""
        return 3 * self.reject_after.high
