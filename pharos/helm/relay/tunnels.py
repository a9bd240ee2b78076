"""How many tunnels one beacon needs: another before the last is full, one fewer once that would do. Sans-IO."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import attrs

from pharos.wire.rpc.limits import TUNNEL_STREAMS
from pharos.wire.units import MINUTES

# One of them may be on its way out: eleven times 500 passages are more than the 5,000 devices that hold one through a
# beacon (passage.md §4; beyond that devices poll).
MAX_TUNNELS: Final = 12

# 80 %. The places left are for who arrives while the next tunnel is dialled: a quarter of a second at the 400 a second
# of a beacon, three round trips of 80 ms. Whoever comes later waits at the beacon.
NEARLY_FULL: Final = TUNNEL_STREAMS * 8 // 10
# Without the tunnel to be closed the others are half full on average, far from where one is opened.
ROOMY: Final = TUNNEL_STREAMS // 2
# For so long there has to be one too many. A fleet that lost its beacon needs 90 s to come back (security.md §3).
SURPLUS_TIME: Final = 5 * MINUTES


@attrs.frozen
class TunnelLoad:
    """One tunnel as it is now."""

    passages: int
    draining: bool = False
    """It takes no new passages and ends with its last."""


@attrs.frozen(kw_only=True)
class Plan:
    """What to do now."""

    dial: bool = False
    """Whether one more tunnel is wanted."""
    drain: int | None = None
    """Index of the tunnel that shall take no more passages."""
    review_at: float = math.inf
    """When to ask again, if nothing changes before."""


class TunnelPlanner:
    """Decides for one beacon, which hands each new passage to its emptiest tunnel."""

    def __init__(self) -> None:
        self._surplus_since: float | None = None

    def plan(self, tunnels: Sequence[TunnelLoad], now: float) -> Plan:
        """Say what to do. ``now`` is in seconds and never goes back.

        One tunnel drains at a time, so that eleven are always there for a fleet that comes back all at once.
        """
        accepting = [number for number, tunnel in enumerate(tunnels) if not tunnel.draining]
        passages = [tunnels[number].passages for number in accepting]
        surplus = (
            len(accepting) > 1 and len(accepting) == len(tunnels) and sum(passages) <= ROOMY * (len(accepting) - 1)
        )
        if not surplus:
            self._surplus_since = None
            return Plan(dial=min(passages, default=NEARLY_FULL) >= NEARLY_FULL and len(tunnels) < MAX_TUNNELS)
        if self._surplus_since is None:
            self._surplus_since = now
        if now < self._surplus_since + SURPLUS_TIME:
            return Plan(review_at=self._surplus_since + SURPLUS_TIME)
        self._surplus_since = None
        return Plan(drain=min(accepting, key=lambda number: tunnels[number].passages))
