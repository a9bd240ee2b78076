"""When slow start has filled the path, before anything is lost (HyStart++, RFC 9406)."""

from __future__ import annotations

import math
from typing import Final

from pharos.wire.units import MILLISECONDS

# RFC 9406 §4.3, all of them.
MIN_THRESHOLD: Final = 4 * MILLISECONDS
MAX_THRESHOLD: Final = 16 * MILLISECONDS
_DIVISOR: Final = 8
_SAMPLES: Final = 8
GROWTH_DIVISOR: Final = 4
_CONSERVATIVE_ROUNDS: Final = 5


class HyStart:
    """Watches the round trips of slow start, round by round."""

    __slots__ = ("_baseline", "_least", "_least_before", "_rounds", "_samples", "_window_end", "conservative")

    def __init__(self) -> None:
        self._window_end = -1
        self._least = self._least_before = self._baseline = math.inf
        self._samples = self._rounds = 0
        self.conservative = False
        """Whether the window grows at a quarter of the pace, until it is clear what the delay meant."""

    def acknowledged(self, una: int, nxt: int, sample: float | None) -> bool:
        """Take an acknowledgement and perhaps a round trip; return whether slow start is over."""
        if una > self._window_end:
            self._window_end = nxt
            self._least_before, self._least, self._samples = self._least, math.inf, 0
            if self.conservative:
                self._rounds += 1
                if self._rounds >= _CONSERVATIVE_ROUNDS:
                    return True
        if sample is None:
            return False
        self._least = min(self._least, sample)
        self._samples += 1
        if self._samples < _SAMPLES:
            return False
        if self.conservative:
            # The delay was a passing one.
            if self._least < self._baseline:
                self.conservative, self._baseline = False, math.inf
        elif self._least_before < math.inf and self._least < math.inf:
            threshold = max(MIN_THRESHOLD, min(self._least_before / _DIVISOR, MAX_THRESHOLD))
            if self._least >= self._least_before + threshold:
                self._baseline, self.conservative, self._rounds = self._least, True, 0
        return False
