"""What paths take, as far as routers have told (RFC 1191 §3, RFC 8201 §5.2)."""

from __future__ import annotations

from typing import Final

from pharos.wire.units import MINUTES

MAX_PATHS: Final = 256
"""Remembered; more are forgotten, oldest first, and learnt again."""
FORGET_AFTER: Final = 10 * MINUTES
"""A path may have become better; both RFCs' advice."""


class PathMtus:
    """The MTU of each destination, never more than that of the way out."""

    def __init__(self, mtu: int) -> None:
        self.mtu = mtu
        self._learnt: dict[bytes, tuple[int, float]] = {}

    def get(self, destination: bytes, now: float) -> int:
        """Return how many bytes a packet to a packed address may have."""
        if not self._learnt:
            return self.mtu
        found, until = self._learnt.get(destination, (self.mtu, 0.0))
        if now < until:
            return found
        self._learnt.pop(destination, None)
        return self.mtu

    def learn(self, destination: bytes, mtu: int, now: float) -> bool:
        """Take what a router says; says whether it is less than what was known."""
        if mtu >= self.get(destination, now):
            return False
        if len(self._learnt) >= MAX_PATHS:
            del self._learnt[next(iter(self._learnt))]
        self._learnt[destination] = (mtu, now + FORGET_AFTER)
        return True
