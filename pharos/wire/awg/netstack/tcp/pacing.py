"""Not all at once: a window is spread over its round trip, for bursts overflow queues and mislead receivers.

Linux measures what a reader takes between two bursts, and does not open its window for who sends nothing but bursts.
"""

from __future__ import annotations

import math
import sys
from typing import Final

from pharos.wire.awg.netstack.tcp.cubic import INITIAL_SEGMENTS, Cubic
from pharos.wire.units import MILLISECONDS

_LEAST_TRIP: Final = 5 * MILLISECONDS
"""A shorter round trip is a turn of the program's own loop or two: there is nothing to spread."""
_SLOW_START_GAIN: Final = 2.0
_GAIN: Final = 1.25
"""Of the window per round trip, so that pacing is not what limits it (RFC 9002 §7.7; Linux has 2 and 1.2)."""
_PARTS: Final = 8
"""Of a window, that are sent one after the other."""
_MOST_LATE: Final = 0.5
"""Of a window, that whoever is woken too late may make up for at once."""


class Pacer:
    """Says how much may go now."""

    __slots__ = ("_drained_at", "_rate", "at")

    def __init__(self) -> None:
        self._drained_at = -math.inf
        """When all that was sent would be gone at the rate."""
        self._rate = math.inf
        self.at = math.inf
        """When there may be more, for what has to wait."""

    def allowance(self, cubic: Cubic, trip: float | None, now: float) -> int:
        """Return the octets that may go at once; ``trip`` is the smoothed round trip."""
        late, self.at = max(0.0, now - self.at), math.inf
        if trip is None or trip < _LEAST_TRIP:
            self._rate = math.inf
            return sys.maxsize
        # A recovery may leave none for a moment.
        window = max(cubic.window, cubic.mss)
        self._rate = rate = (_SLOW_START_GAIN if window < cubic.threshold else _GAIN) * window / trip
        part = max(INITIAL_SEGMENTS * cubic.mss, window / _PARTS)
        ahead = max(0.0, self._drained_at - now) * rate
        # The clock's last digits are not to cost a segment.
        return int(part - ahead + min(late * rate, _MOST_LATE * window) + 1)

    def sent(self, octets: int, now: float) -> None:
        """Count octets that went."""
        if self._rate < math.inf:
            self._drained_at = max(self._drained_at, now) + octets / self._rate

    def wait(self, cubic: Cubic, now: float) -> None:
        """There is more than is allowed: come back when half of a part may go."""
        part = max(INITIAL_SEGMENTS * cubic.mss, cubic.window / _PARTS)
        self.at = max(now, self._drained_at - part / 2 / self._rate)
