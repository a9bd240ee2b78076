"""Who commands this node: one helm at a time, so that a second one with the same keys cannot push beside the first.

Pure; ``now`` is the monotonic clock in seconds. It is not kept over a restart: the fence is what outlives us.
"""

from __future__ import annotations

import math

from pharos.wire.errors import LocalProtocolError
from pharos.wire.leases import LeaseClaim


class LeaseHeldError(LocalProtocolError):
    """Another helm holds this node; the message says for how long."""


class Lease:
    """The lease of one node."""

    def __init__(self) -> None:
        self._holder = b""
        self._until = -math.inf

    def claim(self, claim: LeaseClaim | None, now: float) -> None:
        """Give or renew the lease; None is a helm that does not ask for one, and may command while nobody holds it.

        Raises: LeaseHeldError
        """
        free = now >= self._until
        if claim is None:
            if not free:
                raise self._held(now)
            return
        # By the record that it started from, it has taken the place of the holder that we know.
        if not free and self._holder not in (claim.holder, claim.previous, *claim.earlier):
            raise self._held(now)
        self._holder, self._until = claim.holder, now + claim.seconds

    def _held(self, now: float) -> LeaseHeldError:
        return LeaseHeldError(f"another helm holds this node for {math.ceil(self._until - now)} s")
