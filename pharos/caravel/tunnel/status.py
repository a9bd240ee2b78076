"""How a connection stands, for people and programs."""

from __future__ import annotations

from collections import deque
from typing import Any, Final

import attrs

from pharos.caravel.events import Phase
from pharos.wire.units import SECONDS

SAMPLE_EVERY: Final = 1 * SECONDS
RATE_OVER: Final = 3
"""Samples: rates that jump each second nobody can read, and those of a minute are of the past."""


@attrs.frozen(kw_only=True)
class TunnelStatus:
    """A connection at one moment."""

    phase: Phase
    detail: str = ""
    """A sentence's part for people: why it is so."""
    node: str = ""
    """The id of the node that carries now, or did last; empty before the first."""
    name: str = ""
    protocol: str = ""
    since: float | None = None
    """Since when it has been up by this way, Unix seconds; None while it is not."""
    endpoint: tuple[str, int] | None = None
    """Of the node, outside the tunnel."""
    handshake_age: float | None = None
    """Seconds; None where the protocol has no sessions."""
    addresses: tuple[str, ...] = ()
    """Of this device, inside the tunnel."""
    received: int = 0
    """Octets since the connection was opened, over all nodes."""
    sent: int = 0
    receive_rate: float = 0.0
    """Octets a second, over the last few."""
    send_rate: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """Return it as a document."""
        return {
            **attrs.asdict(self),
            "phase": self.phase.value,
            "endpoint": None if self.endpoint is None else list(self.endpoint),
            "addresses": list(self.addresses),
        }


class Rates:
    """Octets a second, from samples of counters that only grow."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int, int]] = deque(maxlen=RATE_OVER + 1)

    def note(self, now: float, received: int, sent: int) -> None:
        """Take a sample. ``now``: seconds of any clock that does not go back."""
        self._samples.append((now, received, sent))

    def read(self) -> tuple[float, float]:
        """Return what is received and sent."""
        if len(self._samples) < 2:
            return 0.0, 0.0
        (begun, received, sent), (now, received_now, sent_now) = self._samples[0], self._samples[-1]
        seconds = now - begun
        if seconds <= 0:
            return 0.0, 0.0
        return max(0.0, (received_now - received) / seconds), max(0.0, (sent_now - sent) / seconds)
