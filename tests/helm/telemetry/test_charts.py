"""A chart's points: few enough, and none where nobody looked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.helm.model.fleet import Posture
from pharos.helm.telemetry.charts import LONGEST, MOST_POINTS, Point, Shape, Slot, Window, choose_window, points
from pharos.helm.telemetry.retention import Retention
from pharos.helm.telemetry.rollups import HOUR, MINUTE, Level
from tests.support.telemetry import BORN, SECOND

KEPT = Retention.of(Posture.PERSONAL, 7).levels
DAY = 24 * HOUR
NONE = Point(None, None, None)


@pytest.mark.parametrize(
    ("length", "step", "level"),
    [
        (HOUR, 30 * SECOND, Level.RAW),
        (5 * HOUR, MINUTE, Level.MINUTES),
        (DAY, 5 * MINUTE, Level.MINUTES),
        (7 * DAY, HOUR, Level.HOURS),
        (90 * DAY, 6 * HOUR, Level.HOURS),
    ],
)
def test_longer_time_has_coarser_points(length: int, step: int, level: Level) -> None:
    window = choose_window(BORN - length, BORN, now=BORN, kept=KEPT)
    assert (window.step, window.level) == (step, level)


def test_time_of_which_no_samples_are_left_comes_from_roll_ups() -> None:
    assert choose_window(BORN - 9 * HOUR, BORN - 8 * HOUR, now=BORN, kept=KEPT).level is Level.MINUTES
    assert choose_window(BORN - 5 * DAY, BORN - 5 * DAY + HOUR, now=BORN, kept=KEPT).step == HOUR


@given(st.integers(0, BORN), st.integers(1, LONGEST), st.integers(0, LONGEST))
def test_every_time_has_an_axis_that_covers_it(since: int, length: int, ago: int) -> None:
    window = choose_window(since, since + length, now=since + length + ago, kept=KEPT)
    assert window.since <= since < since + length <= window.until
    assert 1 <= window.points <= MOST_POINTS
    assert window.since % window.step == 0
    assert not window.level.width or window.step % window.level.width == 0


WINDOW = Window(since=BORN, step=MINUTE, points=4, level=Level.MINUTES)
SLOTS = {number: Slot(low=1, high=9, total=600, level=8.0, mean=4.0) for number in range(4)}


def values(shape: Shape, *gaps: tuple[int, int], now: int = BORN + 4 * MINUTE) -> list[float | None]:
    return [point.value for point in points(WINDOW, shape, SLOTS, gaps, now=now)]


def test_shapes_are_what_they_say() -> None:
    assert values(Shape.RATE) == [10.0] * 4
    assert values(Shape.LEVEL) == [8.0] * 4
    assert points(WINDOW, Shape.MEAN, SLOTS, [], now=BORN + HOUR)[0] == Point(4.0, 1, 9)


def test_hole_stands_where_nobody_looked() -> None:
    assert values(Shape.LEVEL, (BORN + MINUTE, BORN + 3 * MINUTE)) == [8.0, None, None, 8.0]
    assert values(Shape.RATE, (BORN - HOUR, BORN + MINUTE + 31 * SECOND)) == [None, None, 10.0, 10.0]


def test_rate_is_of_the_time_that_was_seen() -> None:
    assert values(Shape.RATE, (BORN, BORN + 20 * SECOND)) == [15.0, 10.0, 10.0, 10.0]


def test_gaps_that_overlap_count_once() -> None:
    twice = (BORN, BORN + 20 * SECOND)
    assert values(Shape.RATE, twice, twice, (BORN + 5 * SECOND, BORN + 10 * SECOND))[0] == 15.0


def test_future_is_a_hole() -> None:
    assert values(Shape.RATE, now=BORN + 2 * MINUTE + 40 * SECOND) == [10.0, 10.0, 15.0, None]


def test_counter_that_stands_still_is_zero_and_a_gauge_without_a_sample_is_a_hole() -> None:
    assert points(WINDOW, Shape.RATE, {}, [], now=BORN + HOUR)[0] == Point(0.0, None, None)
    assert points(WINDOW, Shape.LEVEL, {}, [], now=BORN + HOUR)[0] == NONE
