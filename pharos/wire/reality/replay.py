"""Hellos that a node has let in, so that a recorded one is a stranger's the second time."""

from typing import Final

from pharos.wire.reality.auth import Gate

MAX_SEEN: Final = 2**16
"""Hellos: 270 a second over the four minutes that one is good for by default, in some 9 MiB. Only who holds the node's
public key and a short id can fill it, and then the oldest go first."""


class SeenHellos:
    """Remembers the random values of hellos for as long as the gate would let them in again."""

    def __init__(self, *, most: int = MAX_SEEN) -> None:
        self._most = most
        self._until: dict[bytes, float] = {}

    def __len__(self) -> int:
        return len(self._until)

    def is_new(self, random: bytes, gate: Gate, *, now: float) -> bool:
        """Say whether a hello that the gate has let in comes for the first time, and remember it.

        The mark covers all of the hello, so that no other one has this random value. ``now``: Unix seconds.
        """
        self._forget(now)
        if random in self._until:
            return False
        # A clock may be ahead by the whole difference, and the hello good until it is behind by as much.
        keep = 2 * gate.max_time_difference if gate.max_time_difference else float("inf")
        self._until[random] = now + keep
        while len(self._until) > self._most:
            del self._until[next(iter(self._until))]
        return True

    def _forget(self, now: float) -> None:
        while self._until and self._until[oldest := next(iter(self._until))] < now:
            del self._until[oldest]
