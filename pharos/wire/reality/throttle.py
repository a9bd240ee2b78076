"""How fast octets may pass: a bucket that may be overdrawn once, and is waited for then."""

from __future__ import annotations

from typing import Final

from pharos.wire.units import KIB, MILLISECONDS

BURST_TIME: Final = 100 * MILLISECONDS
"""What a bucket holds, in time at its rate, if nothing else is said."""
MIN_BURST: Final = 128 * KIB
"""Octets: one reading of a stream, so that a small one does not wait."""


class Bucket:
    """Lets ``rate`` octets a second pass, and ``burst`` at once after a pause. A rate of 0 is no limit. Sans-IO.

    It may be shared: each taker waits for its own debt and for that of those before it.
    """

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, rate: float, *, now: float, burst: float = 0) -> None:
        self._rate = rate
        self._burst = burst or max(rate * BURST_TIME, MIN_BURST)
        self._tokens = self._burst
        self._at = now

    @property
    def rate(self) -> float:
        return self._rate

    def set_rate(self, rate: float, *, now: float) -> None:
        """Let as many pass from now on; what was taken before is paid at the new rate."""
        self.take(0, now=now)
        self._rate = rate
        self._burst = max(rate * BURST_TIME, MIN_BURST)
        self._tokens = min(self._tokens, self._burst)

    def take(self, size: int, *, now: float) -> float:
        """Take tokens for so many octets; returns for how long to wait before they pass, in seconds."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if not self._rate:
            return 0.0
        self._tokens -= size
        return max(0.0, -self._tokens / self._rate)
