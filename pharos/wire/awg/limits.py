"""How much one peer may send or be sent: a token bucket of bytes each way."""

from collections.abc import Sequence
from typing import Final

from pharos.wire.awg.batches import Packet
from pharos.wire.units import KIB, MILLISECONDS

BURST_TIME: Final = 100 * MILLISECONDS
"""What a bucket holds, in time at its rate: short enough to be smooth, longer than a round of the pump."""
MIN_BURST_BYTES: Final = 128 * KIB
"""Two super packets of TCP: with less a stream would lose the end of each and never reach its rate."""


class TokenBucket:
    """Lets ``rate`` bytes a second pass; what comes faster is for the caller to drop, which TCP understands."""

    __slots__ = ("_at", "_burst", "_tokens", "rate")

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        self._burst = max(rate * BURST_TIME, float(MIN_BURST_BYTES))
        self._tokens = self._burst
        self._at = now

    def allow(self, size: int, now: float) -> bool:
        """Take ``size`` tokens; False, and none taken, if there are not as many."""
        if now > self._at:
            self._tokens = min(self._burst, self._tokens + (now - self._at) * self.rate)
            self._at = now
        if size > self._tokens:
            return False
        self._tokens -= size
        return True

    def admit(self, packets: Sequence[Packet], now: float) -> list[Packet]:
        """Return those of ``packets`` that may pass, in order."""
        return [packet for packet in packets if self.allow(len(packet), now)]


def make_bucket(rate: float, now: float) -> TokenBucket | None:
    """None for a rate of zero, which stands for no limit."""
    return TokenBucket(rate, now) if rate else None
