"""Which points a chart has, and what stands at each: a hole where nobody looked, never a line through it."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import Final

import attrs

from pharos.helm.model.telemetry import Metric
from pharos.helm.telemetry.rollups import HOUR, MINUTE, Level
from pharos.wire.units import DAYS

# A screen has some 2,000 pixels across, and a line wants a few of them for each point.
MOST_POINTS: Final = 500
LONGEST: Final = round(730 * DAYS) * 1_000_000
"""Microseconds: as long as anything can be kept."""
SECOND: Final = 1_000_000

_STEPS: Final = (
    30 * SECOND,
    *(minutes * MINUTE for minutes in (1, 2, 5, 10, 15, 30)),
    *(hours * HOUR for hours in (1, 2, 3, 6, 12, 24, 48)),
)


class Shape(enum.Enum):
    """How samples of a metric become one point."""

    RATE = "rate"
    """Increments: their sum, per second; of several series the sum."""
    LEVEL = "level"
    """Their mean; of several series the sum."""
    MEAN = "mean"
    """Their mean; of several series the mean."""


SHAPES: Final[Mapping[Metric, Shape]] = {
    Metric.RECEIVED: Shape.RATE,
    Metric.SENT: Shape.RATE,
    Metric.HANDSHAKES: Shape.RATE,
    Metric.PEERS: Shape.LEVEL,
    Metric.SESSIONS: Shape.LEVEL,
    Metric.LATENCY: Shape.MEAN,
}
"""What has a chart."""
UNITS: Final[Mapping[Metric, str]] = {
    Metric.RECEIVED: "bytes/s",
    Metric.SENT: "bytes/s",
    Metric.HANDSHAKES: "1/s",
    Metric.PEERS: "devices",
    Metric.SESSIONS: "sessions",
    Metric.LATENCY: "us",
}
UNSEEN: Final[Mapping[Metric, Metric]] = {
    Metric.RECEIVED: Metric.RECEIVED_UNSEEN,
    Metric.SENT: Metric.SENT_UNSEEN,
}
"""What counts into a total and stands at no point."""
THROUGH_REALITY: Final[Mapping[Metric, Metric]] = {
    Metric.RECEIVED: Metric.RECEIVED_REALITY,
    Metric.SENT: Metric.SENT_REALITY,
    Metric.RECEIVED_UNSEEN: Metric.RECEIVED_REALITY_UNSEEN,
    Metric.SENT_UNSEEN: Metric.SENT_REALITY_UNSEEN,
}
"""What of a metric came through REALITY; the rest came through AmneziaWG."""
OF_DEVICES: Final = frozenset(UNSEEN)
"""What is sampled for each device and not for nodes only."""


@attrs.frozen(kw_only=True)
class Window:
    """A chart's time axis, in microseconds since 1970."""

    since: int
    step: int
    points: int
    level: Level
    """Where the points come from."""

    @property
    def until(self) -> int:
        """Where the last point's time ends."""
        return self.since + self.step * self.points


@attrs.frozen
class Slot:
    """What the samples of one point come to, over all series that it is about."""

    low: int
    high: int
    total: int
    level: float
    """The sum of the means of each series."""
    mean: float
    """The mean of them."""


@attrs.frozen
class Point:
    """One point; None where nobody looked, or nothing was sampled."""

    value: float | None
    low: float | None
    high: float | None


def choose_window(since: int, until: int, *, now: int, kept: Mapping[Level, int], most: int = MOST_POINTS) -> Window:
    """Return the finest axis that has at most ``most`` points, and whose level still holds all of the time.

    Aligned to the step, so that neighbouring charts, and the same one a moment later, share their points.
    """
    for step in _STEPS:
        level = Level.RAW if step < MINUTE else Level.MINUTES if step < HOUR else Level.HOURS
        begin = since - since % step
        points = max(-(-(until - begin) // step), 1)
        if points <= most and (begin >= now - kept[level] or level is Level.HOURS):
            return Window(since=begin, step=step, points=points, level=level)
    raise ValueError("a chart is at most two years long")


def points(
    window: Window, shape: Shape, slots: Mapping[int, Slot], gaps: Iterable[tuple[int, int]], *, now: int
) -> list[Point]:
    """Return the points of a chart; ``gaps`` are times at which nobody looked, and the future is one too."""
    blind = _blind(window, [*gaps, (now, window.until)])
    return [_point(window, shape, slots.get(number), unseen) for number, unseen in enumerate(blind)]


def rest_of(slots: Mapping[int, Slot], part: Mapping[int, Slot]) -> dict[int, Slot]:
    """Return the slots of a rate without a part of it."""
    return {
        number: attrs.evolve(slot, total=max(slot.total - part[number].total, 0)) if number in part else slot
        for number, slot in slots.items()
    }


def _point(window: Window, shape: Shape, slot: Slot | None, blind: int) -> Point:
    # Half a step is enough to tell a rate by.
    if blind * 2 > window.step:
        return Point(None, None, None)
    if shape is Shape.RATE:
        # A counter that did not grow has no sample.
        total = 0 if slot is None else slot.total
        return Point(total * SECOND / (window.step - blind), None, None)
    if slot is None:
        return Point(None, None, None)
    return Point(slot.level if shape is Shape.LEVEL else slot.mean, slot.low, slot.high)


def _blind(window: Window, gaps: list[tuple[int, int]]) -> list[int]:
    """Return for each point how many microseconds of it nobody saw; gaps may overlap."""
    blind = [0] * window.points
    seen_to = window.since
    for began, ended in sorted(gaps):
        begin, end = max(began, seen_to), min(ended, window.until)
        seen_to = max(seen_to, end)
        while begin < end:
            number = (begin - window.since) // window.step
            stop = min(end, window.since + (number + 1) * window.step)
            blind[number] += stop - begin
            begin = stop
    return blind
