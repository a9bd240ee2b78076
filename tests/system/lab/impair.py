"""A bad line, as a machine without I/O: frames in, frames out, later, fewer, in another order, or more slowly.

What the kernel's netem does (tc-netem(8)), for kernels without it. Time is in seconds of any monotonic clock.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable

import attrs


def _share(_instance: object, attribute: attrs.Attribute[float], value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{attribute.name} = {value} is not a share of one")


@attrs.frozen(kw_only=True)
class Impairment:
    """How bad one direction of a line is."""

    delay: float = attrs.field(default=0.0, validator=attrs.validators.ge(0))
    """Seconds that each frame takes."""
    jitter: float = attrs.field(default=0.0, validator=attrs.validators.ge(0))
    """Seconds, uniform, more or less than the delay; frames keep their order."""
    loss: float = attrs.field(default=0.0, validator=_share)
    """Share of frames that vanish, each by itself."""
    reorder: float = attrs.field(default=0.0, validator=_share)
    """Share of frames that skip the delay, and so overtake those before them."""
    rate: float = attrs.field(default=math.inf, validator=attrs.validators.gt(0))
    """Bytes per second."""
    queue: int = 128 * 1024
    """Bytes that may wait for the line; what comes on top is dropped."""

    def __attrs_post_init__(self) -> None:
        if self.jitter > self.delay:
            raise ValueError("jitter is larger than the delay it varies")
        if self.reorder and not self.delay:
            raise ValueError("without a delay there is nobody to overtake")


@attrs.define
class Counts:
    """What became of the frames."""

    passed: int = 0
    lost: int = 0
    overflowed: int = 0
    reordered: int = 0
    """Of those that passed, or will."""


class Line:
    """One direction of a line. ``random`` is uniform in [0, 1)."""

    def __init__(self, impairment: Impairment, random: Callable[[], float]) -> None:
        self.impairment = impairment
        self.counts = Counts()
        self._random = random
        self._waiting: list[tuple[float, int, bytes]] = []
        self._number = 0
        self._free_at = -math.inf
        self._newest_at = -math.inf

    @property
    def next_at(self) -> float:
        """When the next frame is due; infinite when none waits."""
        return self._waiting[0][0] if self._waiting else math.inf

    def push(self, frame: bytes, now: float) -> None:
        """Take a frame that arrives at the line's beginning."""
        bad = self.impairment
        # Three dice for every frame, so that one setting does not change the luck of another.
        lost, overtakes, shift = self._random(), self._random(), self._random()
        if lost < bad.loss:
            self.counts.lost += 1
            return
        begins = max(now, self._free_at)
        if (begins - now) * bad.rate + len(frame) > bad.queue and begins > now:
            self.counts.overflowed += 1
            return
        self._free_at = sent = begins + len(frame) / bad.rate
        if overtakes < bad.reorder:
            self.counts.reordered += 1
            at = sent
        else:
            at = self._newest_at = max(self._newest_at, sent + bad.delay + bad.jitter * (2 * shift - 1))
        self._number += 1
        heapq.heappush(self._waiting, (at, self._number, frame))

    def pop(self, now: float) -> list[bytes]:
        """Return the frames that have arrived at the line's end, in the order in which they did."""
        arrived = []
        while self.next_at <= now:
            arrived.append(heapq.heappop(self._waiting)[2])
        self.counts.passed += len(arrived)
        return arrived
