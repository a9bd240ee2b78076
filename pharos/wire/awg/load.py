"""When handshakes cost too much, and who may still have one (wireguard.pdf §5.3)."""

from typing import Final

from pharos.wire.awg.endpoint import Address, network_of
from pharos.wire.awg.timers import NEVER
from pharos.wire.units import SECONDS

HANDSHAKES_PER_SECOND: Final = 1000
"""A quarter of a core at 250 µs each; what comes faster piles up in an imagined queue."""
BUSY_BACKLOG: Final = 128
"""Of that queue, as in wireguard-go: an honest burst of so many costs 32 ms at most."""
BUSY_HOLD: Final = 1 * SECONDS
"""How long we stay under load after the last such moment, so that a flood meets one answer and not two in turn."""

PER_NETWORK_RATE: Final = 20
"""Handshakes a second that one network may have while we are under load."""
PER_NETWORK_BURST: Final = 5
MAX_NETWORKS: Final = 4096
"""Buckets kept, about 1 MB; only addresses that proved they receive get one."""


class LoadGauge:
    """Tells from the times at which handshake messages arrive whether we are under load."""

    def __init__(self) -> None:
        self._backlog = 0.0
        self._updated_at = 0.0
        self._busy_until = -NEVER

    def arrival(self, now: float) -> bool:
        """Count one message that showed it knows our key; say whether we are under load."""
        self._work_off(now)
        # Capped at the threshold: what a flood sent beyond it was never worked on, so it leaves no debt.
        self._backlog = min(self._backlog + 1, float(BUSY_BACKLOG))
        if self._backlog >= BUSY_BACKLOG:
            self._busy_until = now + BUSY_HOLD
        return now < self._busy_until

    def take(self, now: float) -> bool:
        """Count one message if the queue has room for it; say whether it had."""
        self._work_off(now)
        if self._backlog + 1 > BUSY_BACKLOG:
            return False
        self._backlog += 1
        return True

    def _work_off(self, now: float) -> None:
        worked_off = max(0.0, now - self._updated_at) * HANDSHAKES_PER_SECOND
        self._backlog = max(0.0, self._backlog - worked_off)
        self._updated_at = now


class NetworkLimiter:
    """A token bucket per source network."""

    def __init__(self) -> None:
        # Network → (tokens, when); in order of last use, so that the stalest is first.
        self._buckets: dict[bytes, tuple[float, float]] = {}

    def allow(self, source: Address, now: float) -> bool:
        """Take a token of the source's network; False if it has none."""
        network = network_of(source)
        tokens, updated_at = self._buckets.pop(network, (float(PER_NETWORK_BURST), now))
        tokens = min(float(PER_NETWORK_BURST), tokens + max(0.0, now - updated_at) * PER_NETWORK_RATE)
        allowed = tokens >= 1
        if len(self._buckets) >= MAX_NETWORKS:
            del self._buckets[next(iter(self._buckets))]
        self._buckets[network] = (tokens - 1 if allowed else tokens, now)
        return allowed
