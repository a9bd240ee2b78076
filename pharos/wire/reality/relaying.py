"""What a node bears of whoever has not shown that it is one of ours."""

from __future__ import annotations

from typing import Final

import attrs
import trio

from pharos.wire.reality.throttle import Bucket
from pharos.wire.units import HOURS, KIB, MIB, MINUTES, SECONDS

BROKEN: Final = (trio.BrokenResourceError, trio.ClosedResourceError)
STRANGER_READ: Final = 16 * KIB
"""Octets at a time: 1,024 strangers who take nothing hold 32 MiB in here, both ways together."""


@attrs.frozen(kw_only=True)
class RelayLimits:
    """Times in seconds, rates in octets a second."""

    at_once: int = 1024
    """Connections; each takes two descriptors of 16,384. One more ends the oldest, so that a crowd of strangers keeps
    no device out."""
    dial_timeout: float = 10 * SECONDS
    """For the target to take the connection."""
    idle_timeout: float = 10 * MINUTES
    """Without an octet in either direction. Sites close after 1 to 7 minutes, and it is their end that has to show."""
    lifetime: float = 2 * HOURS
    """Of a whole connection."""
    handshake_timeout: float = 2 * MINUTES
    """From our flight to the client's Finished. Targets give up before that, and the node with them."""
    rate: float = 512 * KIB
    """Each way and connection, behind the first ``burst`` octets: a node is no free way to a large site."""
    burst: float = 8 * MIB
    """A page with its pictures; a probe that fetches one sees no difference."""
    total_rate: float = 4 * MIB
    """Of all strangers together."""
    total_burst: float = 64 * MIB


class RelayBuckets:
    """The buckets of one connection, and the one that all have in common."""

    def __init__(self, limits: RelayLimits, total: Bucket, *, now: float) -> None:
        self._of_client, self._of_target = (Bucket(limits.rate, now=now, burst=limits.burst) for _ in range(2))
        self._total = total

    async def wait_for_client(self, size: int) -> None:
        await wait_for(size, self._of_client, self._total)

    async def wait_for_target(self, size: int) -> None:
        await wait_for(size, self._of_target, self._total)


async def wait_for(size: int, *buckets: Bucket) -> None:
    """Wait until so many octets may pass all of the buckets."""
    now = trio.current_time()
    wait = max([bucket.take(size, now=now) for bucket in buckets], default=0.0)
    if wait:
        await trio.sleep(wait)
