"""Roll-ups: the same in whichever order, and as if the samples were still there."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pharos.helm.telemetry.rollups import HOUR, MINUTE, Level, Rollup, Sample, roll_up
from tests.support.telemetry import BORN

samples = st.lists(
    st.builds(Sample, st.integers(1, 3), st.integers(BORN, BORN + 2 * HOUR), st.integers(-1_000, 1_000)),
    min_size=1,
    unique_by=lambda sample: (sample.series, sample.at),
)


def test_bucket_holds_what_charts_ask_for() -> None:
    rolled = roll_up([Sample(1, BORN + 30, 5), Sample(1, BORN + 10, 9), Sample(1, BORN + MINUTE, 1)], Level.MINUTES)
    assert rolled == {
        (1, BORN): Rollup(low=5, high=9, total=14, count=2, last=5, last_at=BORN + 30),
        (1, BORN + MINUTE): Rollup(low=1, high=1, total=1, count=1, last=1, last_at=BORN + MINUTE),
    }


@given(samples, st.integers(0, 30))
def test_parts_merge_into_the_whole_in_either_order(found: list[Sample], at: int) -> None:
    whole = roll_up(found, Level.HOURS)
    one, other = roll_up(found[:at], Level.HOURS), roll_up(found[at:], Level.HOURS)
    for first, second in ((one, other), (other, one)):
        merged = dict(first)
        for key, rollup in second.items():
            merged[key] = merged[key].merge(rollup) if key in merged else rollup
        assert merged == whole


@given(samples)
def test_hours_are_the_sum_of_their_minutes(found: list[Sample]) -> None:
    minutes, hours = roll_up(found, Level.MINUTES), roll_up(found, Level.HOURS)
    for (series, hour), rollup in hours.items():
        inside = [r for (s, at), r in minutes.items() if s == series and hour <= at < hour + HOUR]
        assert (sum(r.total for r in inside), sum(r.count for r in inside)) == (rollup.total, rollup.count)
        assert (min(r.low for r in inside), max(r.high for r in inside)) == (rollup.low, rollup.high)
