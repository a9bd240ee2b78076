"""How long a round trip takes, and when to stop waiting for one (RFC 6298)."""

from __future__ import annotations

import math
from typing import Final

from pharos.wire.units import MILLISECONDS, MINUTES, SECONDS

INITIAL_RTO: Final = 1 * SECONDS
"""Before anything was measured (RFC 6298 §2.1)."""
MIN_VARIATION: Final = 200 * MILLISECONDS
"""What is waited beyond a round trip at least. RFC 6298 §2.4 wants a second; all of today's stacks take this."""
MAX_RTO: Final = 60 * SECONDS
_MAX_BACKOFF: Final = 16
_LEAST_FOR: Final = 5 * MINUTES
"""How long the shortest round trip is remembered, for paths change (RFC 8985 §6.2)."""


class RoundTrips:
    """Estimates, in seconds."""

    __slots__ = ("_least", "_least_before", "_least_since", "backoff", "least", "smoothed", "variation")

    def __init__(self) -> None:
        self.smoothed: float | None = None
        self.variation = 0.0
        self.backoff = 0
        """How often the timer went off since anything was acknowledged."""
        self.least = math.inf
        self._least = self._least_before = math.inf
        self._least_since = -math.inf

    @property
    def rto(self) -> float:
        """What the retransmission timer is set to, as often doubled as it went off."""
        base = INITIAL_RTO if self.smoothed is None else self.smoothed + max(MIN_VARIATION, 4 * self.variation)
        return min(base * (1 << min(self.backoff, _MAX_BACKOFF)), MAX_RTO)

    def measure(self, sample: float, now: float) -> None:
        """Take a round trip of something that was sent once only (Karn's algorithm, RFC 6298 §3)."""
        if self.smoothed is None:
            self.smoothed, self.variation = sample, sample / 2
        else:
            self.variation += (abs(self.smoothed - sample) - self.variation) / 4
            self.smoothed += (sample - self.smoothed) / 8
        if now - self._least_since > _LEAST_FOR:
            self._least_before, self._least, self._least_since = self._least, sample, now
        elif sample < self._least:
            self._least = sample
        self.least = min(self._least, self._least_before)
