"""From counters to increments: restarts, absences and lies of a node included."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pharos.helm.model.telemetry import Metric, NodeReading
from pharos.helm.telemetry.readings import GAP_AFTER, MAX_RATE, Before, Key, Step, step_to
from tests.support.telemetry import BORN, PHONE, SECOND, reading


def steps(*readings: NodeReading) -> list[Step | None]:
    """Feed readings as the store does."""
    taken: list[Step | None] = []
    before: Before | None = None
    for one in readings:
        step = step_to(one, before)
        taken.append(step)
        if step is not None:
            raw = {} if before is None else dict(before.raw)
            before = Before(at=one.at, raw=raw | dict(step.raw))
    return taken


def total(taken: list[Step | None], *keys: Key) -> int:
    return sum(step.increments.get(key, 0) for step in taken if step is not None for key in keys)


def test_increment_is_what_the_counter_has_grown_by_for_the_device_and_for_the_node() -> None:
    _, second, third = steps(reading(0, phone=100, laptop=7), reading(30, phone=150, laptop=7), reading(60, phone=150))
    assert second is not None
    assert third is not None
    assert second.increments == {(PHONE, Metric.RECEIVED): 50, (None, Metric.RECEIVED): 50}
    assert third.increments == {}, "a counter that stands still says nothing"


def test_counter_that_began_anew_counts_from_zero() -> None:
    _, second = steps(reading(0, phone=1_000), reading(30, phone=40))
    assert second is not None
    assert second.increments[PHONE, Metric.RECEIVED] == 40


def test_first_reading_counts_what_nobody_saw() -> None:
    (first,) = steps(reading(0, phone=100))
    assert first is not None
    assert first.gap is None
    assert first.increments == {(PHONE, Metric.RECEIVED_UNSEEN): 100, (None, Metric.RECEIVED_UNSEEN): 100}


def test_what_passed_in_a_gap_counts_and_is_kept_apart() -> None:
    late = GAP_AFTER // SECOND + 1
    _, second, third = steps(reading(0, phone=0), reading(late, phone=500), reading(late + 30, phone=510))
    assert second is not None
    assert third is not None
    assert second.gap == (BORN, BORN + late * SECOND)
    assert second.increments[PHONE, Metric.RECEIVED_UNSEEN] == 500
    assert third.increments == {(PHONE, Metric.RECEIVED): 10, (None, Metric.RECEIVED): 10}


def test_two_missed_readings_are_no_gap() -> None:
    _, second = steps(reading(0), reading(GAP_AFTER / SECOND))
    assert second is not None
    assert second.gap is None


def test_reading_that_is_not_newer_adds_nothing() -> None:
    assert steps(reading(30, phone=1), reading(30, phone=9), reading(0, phone=9))[1:] == [None, None]


def test_lie_about_a_counter_is_bounded_by_what_a_line_can_carry() -> None:
    _, second = steps(reading(0, phone=0), reading(30, phone=2**64 - 1))
    assert second is not None
    assert second.increments[None, Metric.RECEIVED] == second.increments[PHONE, Metric.RECEIVED] == 30 * MAX_RATE
    assert all(value < 2**63 for value in second.raw.values()), "a column holds 64 bits with their sign"


def test_gauges_tell_who_is_alive() -> None:
    (first,) = steps(reading(1_000, phone=(0, 0, 900), laptop=(0, 0, 800), tablet=0))
    assert first is not None
    assert first.gauges == {(None, Metric.PEERS): 3, (None, Metric.SESSIONS): 1, (None, Metric.LATENCY): 1_500}


@given(st.lists(st.tuples(st.integers(1, 300), st.integers(0, 1_000), st.booleans()), min_size=1))
def test_sum_of_increments_is_all_that_flowed(looks: list[tuple[int, int, bool]]) -> None:
    at = flowed = counter = 0
    readings = []
    for seconds, grown, restarted in looks:
        at += seconds
        # A restart is seen where the counter then stands lower; nothing else is claimed.
        counter = min(grown, max(counter - 1, 0)) if restarted else counter + grown
        flowed += min(grown, counter) if restarted else grown
        readings.append(reading(at, phone=counter))
    taken = steps(*readings)
    assert total(taken, (PHONE, Metric.RECEIVED), (PHONE, Metric.RECEIVED_UNSEEN)) == flowed
    assert total(taken, (None, Metric.RECEIVED), (None, Metric.RECEIVED_UNSEEN)) == flowed
