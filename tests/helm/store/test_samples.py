"""Samples count once, are rolled up as they come, and leave holes where nobody looked."""

from __future__ import annotations

from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st

from pharos.helm.model.telemetry import Metric
from pharos.helm.store.database import Database
from pharos.helm.store.samples import (
    HELM,
    Gap,
    add_counts,
    add_reading,
    add_samples,
    counter_totals,
    list_gaps,
    note_look,
    prune_gaps,
    prune_level,
)
from pharos.helm.telemetry.readings import GAP_AFTER
from pharos.helm.telemetry.rollups import HOUR, MINUTE, ROLLED, Level, Sample, roll_up
from tests.support.helm import telemetry_in_memory
from tests.support.telemetry import BORN, ONE, PHONE, SECOND, TWO, reading

samples = st.lists(
    st.builds(
        Sample, st.integers(1, 3), st.integers(BORN, BORN + HOUR).map(lambda at: at // 7 * 7), st.integers(0, 99)
    ),
    unique_by=lambda sample: (sample.series, sample.at),
)


def rows(db: Database, level: Level) -> dict[tuple[int, int], tuple[Any, ...]]:
    return {(row[0], row[1]): tuple(row)[2:] for row in db.execute(f"SELECT * FROM {level.value}")}


@given(samples, st.data())
def test_rollups_are_those_of_the_samples_in_whatever_order_and_however_often_they_come(
    found: list[Sample], data: st.DataObject
) -> None:
    with telemetry_in_memory() as db:
        again = data.draw(st.permutations([*found, *found[: len(found) // 2]]))
        cut = data.draw(st.integers(0, len(again)))
        add_samples(db, again[:cut])
        add_samples(db, again[cut:])
        assert rows(db, Level.RAW) == {(sample.series, sample.at): (sample.value,) for sample in found}
        for level in ROLLED:
            assert rows(db, level) == {key: attrs.astuple(rollup) for key, rollup in roll_up(found, level).items()}


def test_counter_goes_on_over_restarts_of_node_and_helm() -> None:
    with telemetry_in_memory() as db:
        for one in (reading(0, phone=100), reading(30, phone=150), reading(60, phone=20), reading(60, phone=20)):
            add_reading(db, one)
        add_reading(db, reading(60, node=TWO, phone=(1, 2, 3)))
        assert counter_totals(db)[ONE, PHONE, Metric.RECEIVED] == 50 + 20
        assert counter_totals(db)[ONE, None, Metric.RECEIVED_UNSEEN] == 100
        assert counter_totals(db)[TWO, PHONE, Metric.SENT_UNSEEN] == 2
        assert (ONE, PHONE, Metric.RECEIVED) not in counter_totals(db, each_device=False)


def test_counts_of_our_own_add_up() -> None:
    with telemetry_in_memory() as db:
        for second in range(3):
            add_counts(db, ONE, {(None, Metric.HANDSHAKES): 2}, at=BORN + second * SECOND)
        assert counter_totals(db) == {(ONE, None, Metric.HANDSHAKES): 6}
        assert [total for *_, total, _, _, _ in rows(db, Level.MINUTES).values()] == [6]


def test_gap_is_kept_and_one_that_lasts_is_seen() -> None:
    late = GAP_AFTER + SECOND
    with telemetry_in_memory() as db:
        assert list_gaps(db, HELM, since=BORN, until=BORN + 5) == [Gap(HELM, BORN, BORN + 5)], "never awake"
        note_look(db, HELM, BORN)
        note_look(db, HELM, BORN + GAP_AFTER)
        assert list_gaps(db, HELM, since=BORN, until=BORN + GAP_AFTER) == []
        note_look(db, HELM, BORN + GAP_AFTER + late)
        gap = Gap(HELM, BORN + GAP_AFTER, BORN + GAP_AFTER + late)
        assert list_gaps(db, HELM, since=BORN, until=gap.ended_at) == [gap]
        assert list_gaps(db, HELM, since=gap.ended_at, until=gap.ended_at + 1) == []
        until = gap.ended_at + late
        assert list_gaps(db, HELM, since=BORN - 9, until=until) == [
            Gap(HELM, BORN - 9, BORN),
            gap,
            Gap(HELM, gap.ended_at, until),
        ]
        prune_gaps(db, before=until)
        assert list_gaps(db, HELM, since=BORN, until=gap.ended_at) == []


def test_clock_that_is_set_back_makes_no_gap() -> None:
    with telemetry_in_memory() as db:
        note_look(db, HELM, BORN + HOUR)
        note_look(db, HELM, BORN)
        assert list_gaps(db, HELM, since=BORN + HOUR, until=BORN + HOUR + SECOND) == []


def prune_all(db: Database, level: Level, before: int, limit: int) -> list[int]:
    """Prune as the task does; give how many rows each transaction took."""
    took = []
    after: int | None = 0
    while after is not None:
        count = len(rows(db, level))
        after = prune_level(db, level, before=before, after=after, limit=limit)
        took.append(count - len(rows(db, level)))
    return took


def test_level_is_pruned_a_little_at_a_time_and_other_levels_stay() -> None:
    with telemetry_in_memory() as db:
        for minute in range(10):
            add_reading(db, reading(minute * 60, phone=minute))
        minutes, hours = rows(db, Level.MINUTES), rows(db, Level.HOURS)
        took = prune_all(db, Level.RAW, BORN + 5 * MINUTE, 4)
        assert max(took) == 4
        assert {at for _, at in rows(db, Level.RAW)} == {BORN + minute * MINUTE for minute in range(5, 10)}
        assert (rows(db, Level.MINUTES), rows(db, Level.HOURS)) == (minutes, hours)


def test_nothing_to_prune_ends_at_once() -> None:
    with telemetry_in_memory() as db:
        assert prune_all(db, Level.HOURS, BORN, 10) == [0]
