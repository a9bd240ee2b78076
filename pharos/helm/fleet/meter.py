"""How much one node may tell: a node that lies or is broken must not drown what the others say. Pure."""

from __future__ import annotations

from typing import Final

import attrs

# Ten thousand devices that all come back to one node at once, and a thousand handshakes a second for ever after: a
# node of 2,000 devices makes 17 (each every two minutes).
BURST: Final = 10_000.0
RATE: Final = 1_000.0
# A node's clock may be so far ahead before its times are not believed (security.md row 69: ±5 min).
MOST_AHEAD: Final = 300_000_000
"""Microseconds."""


@attrs.define
class Meter:
    """A bucket of events."""

    _tokens: float = attrs.field(factory=lambda: BURST)
    _at: float | None = None
    dropped: int = 0
    """Events that were refused so far."""

    def admit(self, wanted: int, now: float) -> int:
        """Return how many of ``wanted`` events may pass at ``now``, seconds of the monotonic clock."""
        if self._at is not None:
            self._tokens = min(BURST, self._tokens + (now - self._at) * RATE)
        self._at = now
        admitted = min(wanted, int(self._tokens))
        self._tokens -= admitted
        self.dropped += wanted - admitted
        return admitted


def believable(at: int, now: int) -> int:
    """Return a node's time of an event, or ours where it says that the event is yet to come. Microseconds."""
    return at if at <= now + MOST_AHEAD else now


# Each time a node says that its REALITY is elsewhere, every profile of the fleet is sealed anew.
MOVES_EVERY: Final = 600.0
"""Seconds."""


@attrs.define
class Healing:
    """How often a node that drifts is put right: at once at first, and then once a minute, for it may never hold."""

    every: float = attrs.field(default=60.0, kw_only=True)
    """Seconds."""
    _allowed: float = 3.0
    _at: float | None = None

    def may(self, now: float) -> bool:
        """Take one healing if there is one left."""
        if self._at is not None:
            self._allowed = min(3.0, self._allowed + (now - self._at) / self.every)
        self._at = now
        if self._allowed < 1.0:
            return False
        self._allowed -= 1.0
        return True
