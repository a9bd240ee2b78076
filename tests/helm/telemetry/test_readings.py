"""From counters to increments: restarts, absences and lies of a node included."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.helm.model.telemetry import Metric, NodeReading
from pharos.helm.telemetry.readings import GAP_AFTER, MAX_RATE, Before, Key, Step, reading_of, step_to
from pharos.wire.convert import NodeReport, PeerReport
from pharos.wire.desired import Fence
from tests.support.telemetry import BORN, ONE, PHONE, SECOND, reading, told

REPORT = NodeReport(
    node_id=ONE,
    version="1",
    applied=Fence(1, 1, 1),
    started_at=BORN,
    awg_key=bytes(32),
    derive_key=bytes(32),
    awg_port=443,
    awg=None,
    addresses=(),
    peers=(),
)


def steps(*readings: NodeReading) -> list[Step | None]:
    """Feed readings as the store does."""
    taken: list[Step | None] = []
    before: Before | None = None
    for one in readings:
        step = step_to(one, before)
        taken.append(step)
        if step is not None:
            raw = {} if before is None else dict(before.raw)
            before = Before(at=one.at, raw=raw | dict(step.raw), told=one.tells_protocols)
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


def test_part_that_came_through_reality_is_counted_beside_the_whole() -> None:
    _, second = steps(told(reading(0, phone=100), phone=(10, 1)), told(reading(30, phone=150), phone=(30, 1)))
    assert second is not None
    assert second.increments == {
        (PHONE, Metric.RECEIVED): 50,
        (None, Metric.RECEIVED): 50,
        (PHONE, Metric.RECEIVED_REALITY): 20,
        (None, Metric.RECEIVED_REALITY): 20,
    }


def test_node_that_learns_to_tell_says_nothing_of_what_flowed_before() -> None:
    first, second, third = steps(
        reading(0, phone=100), told(reading(30, phone=150), phone=(90, 0)), told(reading(60, phone=170), phone=(95, 0))
    )
    assert first is not None
    assert Metric.RECEIVED_REALITY_UNSEEN not in {metric for _, metric in first.increments}
    assert second is not None
    assert second.increments == {(PHONE, Metric.RECEIVED): 50, (None, Metric.RECEIVED): 50}
    assert second.raw[PHONE, Metric.RECEIVED_REALITY] == 90
    assert third is not None
    assert third.increments[None, Metric.RECEIVED_REALITY] == 5


def test_device_that_comes_by_reality_later_counts_from_its_first_octet() -> None:
    _, second = steps(told(reading(0, phone=100)), told(reading(30, phone=140), phone=(40, 7)))
    assert second is not None
    assert second.increments[PHONE, Metric.RECEIVED_REALITY] == 40
    assert second.increments[PHONE, Metric.SENT_REALITY] == 7


def test_part_is_not_seen_where_the_whole_is_not() -> None:
    late = GAP_AFTER // SECOND + 1
    first, second = steps(told(reading(0, phone=9), phone=(9, 0)), told(reading(late, phone=20), phone=(15, 0)))
    assert first is not None
    assert second is not None
    assert first.increments[None, Metric.RECEIVED_REALITY_UNSEEN] == 9
    assert second.increments[None, Metric.RECEIVED_REALITY_UNSEEN] == 6


@pytest.mark.parametrize(
    ("tells", "handshake", "by_reality", "protocol"),
    [
        (False, 9, 0, ""),
        (True, 0, 0, ""),
        (True, 9, 0, "amneziawg"),
        (True, 9, 8, "amneziawg"),
        (True, 9, 9, "reality"),
    ],
)
def test_last_handshake_is_of_the_protocol_that_it_was_at(
    tells: bool, handshake: int, by_reality: int, protocol: str
) -> None:
    peer = PeerReport(
        device_id=PHONE,
        awg_key=bytes(32),
        last_handshake=handshake,
        received=5,
        sent=6,
        commitment=b"",
        reality_received=3,
        reality_sent=4,
        reality_handshake=by_reality,
    )
    found = reading_of(attrs.evolve(REPORT, peers=(peer,), tells_protocols=tells), at=BORN, latency=1)
    assert found.tells_protocols is tells
    assert found.peers[PHONE].protocol == protocol
    assert (found.peers[PHONE].reality_received, found.peers[PHONE].reality_sent) == ((3, 4) if tells else (0, 0))


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
