"""Whether a process grows: pure functions over samples, so that a process that leaks on purpose can prove the judge.

Each incarnation of a process, from its start to its end, is judged for itself, where its load is steady: after its
warm-up, and after the last fault. A straight line is laid through its memory, and the lowest numbers of descriptors and
threads of the two halves are compared. What lived too short for that is counted. What faults leave behind in whom they
do not kill has a ceiling, which holds for the whole life.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Sequence
from typing import Final

import attrs

MB: Final = 1_000_000
WARM_UP: Final = 1 / 3
"""Of an incarnation's life."""
WARM_UP_LEAST: Final = 150.0
"""Seconds. A node under load takes arenas of a MiB until the oldest generation of its garbage is full for the first
time (pharos.wire.daemon.tune_collector): from 64 to 75 MB within three to seven minutes, and nothing from then on."""
SHORTEST: Final = 45.0
"""Seconds after the warm-up; a line through less says nothing."""
FEWEST: Final = 8
"""Samples after the warm-up."""
TEN_MINUTES: Final = 600.0
LINE_SHARE: Final = 0.02
"""Of the memory, in ten minutes."""
LINE_LEAST: Final = 2 * MB
"""In ten minutes: below this a process of 40 MB would be judged by single pages of its allocator."""
NOISE: Final = 3 * MB
"""What memory may rise within what was seen: a few arenas, which Python takes by the MiB."""
CEILING: Final = 1.3
"""Times what a process had when it was `GROWN_UP`; measured: 1.15 at most, in storms of ten minutes."""
GROWN_UP: Final = 60.0
"""Seconds, of age."""
SPARE: Final = 2
"""Descriptors or threads by which a floor may be higher: a link that redials has two sockets for a moment."""


@attrs.frozen(kw_only=True)
class Sample:
    """What one process had at one moment."""

    at: float
    """Seconds on any clock that only goes forward."""
    memory: int
    """Resident, in bytes."""
    descriptors: int
    threads: int


@attrs.define(kw_only=True)
class Life:
    """One incarnation of a process."""

    name: str
    pid: int
    samples: list[Sample] = attrs.field(factory=list)

    def settled(self, since: float) -> list[Sample]:
        """Return its samples after its warm-up and after a moment."""
        if not self.samples:
            return []
        begin, end = self.samples[0].at, self.samples[-1].at
        warm = max(begin + (end - begin) * WARM_UP, begin + WARM_UP_LEAST, since)
        return [sample for sample in self.samples if sample.at >= warm]

    def is_judged(self, since: float = -math.inf) -> bool:
        """Tell whether there is enough of it after a moment."""
        settled = self.settled(since)
        return len(settled) >= FEWEST and settled[-1].at - settled[0].at >= SHORTEST

    def over_the_ceiling(self) -> list[str]:
        """Return what it had too much of at any time."""
        grown_up = [sample for sample in self.samples if sample.at >= self.samples[0].at + GROWN_UP]
        if not grown_up:
            return []
        most, limit = max(sample.memory for sample in grown_up), CEILING * grown_up[0].memory
        return [f"{self.name}: had {most / MB:.0f} MB, {limit / MB:.0f} may be"] if most > limit else []


@attrs.frozen(kw_only=True)
class Growth:
    """What an incarnation that lived long enough did in its settled time."""

    name: str
    seconds: float
    memory: float
    """Its middle, in bytes."""
    rise: float
    """Bytes in ten minutes, by the line."""
    descriptors: int
    """By how many the floor of the second half is above that of the first."""
    threads: int
    most_descriptors: int

    def faults(self) -> list[str]:
        """Return what grows."""
        found = []
        limit = max(LINE_LEAST, LINE_SHARE * self.memory)
        if self.rise > limit and self.rise * self.seconds / TEN_MINUTES > NOISE:
            found.append(
                f"{self.name}: memory rises by {self.rise / MB:.1f} MB in ten minutes, {limit / MB:.1f} may be"
            )
        for what, by in (("descriptors", self.descriptors), ("threads", self.threads)):
            if by > SPARE:
                found.append(f"{self.name}: its fewest {what} are {by} more than before")
        return found


def grow(life: Life, since: float = -math.inf) -> Growth:
    """Measure an incarnation that is judged."""
    settled = life.settled(since)
    times = [sample.at for sample in settled]
    # Not least squares: one burst, or one heap that was given back, must not turn the line.
    slope = _theil_sen(times, [float(sample.memory) for sample in settled])
    middle = len(settled) // 2
    return Growth(
        name=life.name,
        seconds=times[-1] - times[0],
        memory=statistics.median(sample.memory for sample in settled),
        rise=slope * TEN_MINUTES,
        descriptors=_floor_rise(settled, middle, lambda sample: sample.descriptors),
        threads=_floor_rise(settled, middle, lambda sample: sample.threads),
        most_descriptors=max(sample.descriptors for sample in settled),
    )


def judge(lives: Sequence[Life], since: float = -math.inf) -> tuple[list[Growth], list[str]]:
    """Return how the incarnations did that lived long enough after the last fault, ``since``, and what grows."""
    grown = [grow(life, since) for life in lives if life.is_judged(since)]
    faults = [fault for growth in grown for fault in growth.faults()]
    return grown, faults + [fault for life in lives for fault in life.over_the_ceiling()]


def _floor_rise(settled: Sequence[Sample], middle: int, of: Callable[[Sample], int]) -> int:
    return min(map(of, settled[middle:])) - min(map(of, settled[:middle]))


def _theil_sen(times: Sequence[float], values: Sequence[float]) -> float:
    """Return the median of the slopes between all pairs (Sen 1968), of at most some two hundred points."""
    step = -(-len(times) // 200)
    points = list(zip(times[::step], values[::step], strict=True))
    slopes = [(v2 - v1) / (t2 - t1) for (t1, v1), (t2, v2) in itertools.combinations(points, 2) if t2 > t1]
    return statistics.median(slopes) if slopes else 0.0
