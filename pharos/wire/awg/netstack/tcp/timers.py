"""The one timer of a sender: for what it runs, and until when (RFC 6298 §5, RFC 8985 §7 and §8, RFC 9293 §3.8.6.1)."""

from __future__ import annotations

import enum
import math
from typing import Final

from pharos.wire.awg.netstack.tcp.rtt import RoundTrips
from pharos.wire.units import MILLISECONDS, SECONDS

_WORST_DELAYED_ACK: Final = 200 * MILLISECONDS
"""How late a lone segment may be acknowledged (RFC 8985 §7.2)."""
_UNMEASURED_PROBE: Final = 1 * SECONDS


class Timer(enum.Enum):
    """What is to be done when it goes off."""

    NONE = "nothing is awaited"
    REORDERING = "look whether what was late is lost"
    PROBE = "ask for the tail by sending something (TLP)"
    RETRANSMISSION = "send again"
    PERSIST = "ask a peer without a window whether it has one"


class SenderTimer:
    """Armed by whoever knows what is under way."""

    __slots__ = ("_since", "at", "kind")

    def __init__(self) -> None:
        self.kind = Timer.NONE
        self.at = math.inf
        self._since = 0.0
        """What the retransmission timer counts from."""

    def restart(self, now: float) -> None:
        """Count from now on: something was delivered, or the first of a flight was sent."""
        self._since = now

    def stop(self) -> None:
        """Nothing is awaited."""
        self.kind, self.at = Timer.NONE, math.inf

    def await_reordering(self, at: float) -> None:
        """What is not here by then is lost."""
        self.kind, self.at = Timer.REORDERING, at

    def await_acknowledgement(self, trips: RoundTrips) -> None:
        """Set the retransmission timer."""
        self.kind, self.at = Timer.RETRANSMISSION, self._since + trips.rto

    def await_tail(self, now: float, trips: RoundTrips, *, lone: bool) -> None:
        """Set a probe, before the retransmission timer (RFC 8985 §7.2); lone: one segment is under way."""
        delay = _UNMEASURED_PROBE
        if trips.smoothed is not None:
            delay = 2 * trips.smoothed + (_WORST_DELAYED_ACK if lone else 2 * MILLISECONDS)
        self.await_acknowledgement(trips)
        if now + delay < self.at:
            self.kind, self.at = Timer.PROBE, now + delay

    def await_window(self, now: float, trips: RoundTrips) -> None:
        """Set the next question."""
        self.kind, self.at = Timer.PERSIST, now + trips.rto
