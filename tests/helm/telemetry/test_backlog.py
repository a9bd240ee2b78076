"""What waits is bounded; what is lost is what counts least, and it is counted."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from pharos.helm.model.telemetry import NodeEvent
from pharos.helm.telemetry.backlog import Backlog, needless
from pharos.helm.telemetry.sessions import fold, sign_of
from pharos.wire.ids import DeviceId, NodeId
from tests.support.telemetry import LAPTOP, ONE, PHONE, TWO, event, reading


def crowd(number: int, node: NodeId = ONE) -> list[NodeEvent]:
    return [event(n, "connected", node=node, device=DeviceId(f"d{n}")) for n in range(number)]


def taken(backlog: Backlog, size: int = 10_000) -> list[NodeEvent]:
    return backlog.take(size).events


def test_what_is_taken_is_what_was_added_in_order_and_not_more_than_asked_for() -> None:
    backlog, events = Backlog(), crowd(5)
    backlog.add_events(events)
    assert taken(backlog, 3) == events[:3]
    assert taken(backlog) == events[3:]
    assert backlog.is_empty


def test_newer_reading_takes_the_place_of_the_one_that_waits() -> None:
    backlog = Backlog()
    for one in (reading(0, phone=1), reading(30, phone=2), reading(10, phone=9), reading(0, node=TWO)):
        backlog.add_reading(one)
    batch = backlog.take(10)
    assert batch.readings == [reading(30, phone=2), reading(0, node=TWO)]
    assert not batch.dropped


def test_handshakes_between_others_go_first() -> None:
    backlog = Backlog(most_vital=8, share=8)
    kept = [event(0, "connected", device=LAPTOP), event(1, "disconnected", device=LAPTOP)]
    backlog.add_events([*kept, *(event(n) for n in range(2, 10))])
    assert [e for e in taken(backlog) if e.device_id == LAPTOP] == kept
    assert backlog.dropped == {"handshake": 3}


@given(st.lists(st.tuples(st.integers(1, 200), st.sampled_from(["handshake", "connected", "disconnected"]))))
def test_sessions_do_not_miss_what_is_needless(found: list[tuple[int, str]]) -> None:
    at, events = 0, []
    for seconds, kind in found:
        at += seconds
        events.append(event(at, kind))
    spared = set(map(id, needless(events)))
    left = [e for e in events if id(e) not in spared]
    assert fold(ONE, PHONE, map(sign_of, left)) == fold(ONE, PHONE, map(sign_of, events))


def test_most_of_a_flood_of_handshakes_is_needless() -> None:
    assert len(needless([event(n / 100) for n in range(1_000)])) == 998


def test_events_that_feed_sessions_outlast_a_flood_of_others() -> None:
    backlog = Backlog(most_others=10)
    backlog.add_events([event(0), *(event(n, "gap", device=None) for n in range(1_000))])
    assert [e.kind for e in taken(backlog)] == ["handshake", *["gap"] * 10]
    assert backlog.dropped == {"gap": 990}


def test_flood_of_one_node_costs_no_event_of_another() -> None:
    backlog = Backlog(most_vital=40, share=10)
    quiet = crowd(5, node=TWO)
    backlog.add_events(quiet)
    backlog.add_events(crowd(10_000))
    left = taken(backlog)
    assert [e for e in left if e.node_id == TWO] == quiet
    assert len(left) <= 15


def test_without_a_share_the_flood_pushes_the_others_out() -> None:
    backlog = Backlog(most_vital=40, share=10_001)
    backlog.add_events(crowd(5, node=TWO))
    backlog.add_events(crowd(10_000))
    assert not [e for e in taken(backlog) if e.node_id == TWO]


@given(st.lists(st.tuples(st.integers(0, 30), st.sampled_from([ONE, TWO]), st.integers(0, 5)), max_size=200))
def test_nothing_is_lost_uncounted_and_the_bound_holds(found: list[tuple[int, NodeId, int]]) -> None:
    backlog = Backlog(most_vital=20, most_others=5, share=12)
    for seconds, node, device in found:
        kind = "gap" if device == 0 else "handshake"
        backlog.add_events([event(seconds, kind, node=node, device=DeviceId(f"d{device}"))])
    left = taken(backlog)
    assert len(left) <= 25
    assert max(Counter(e.node_id for e in left if e.kind != "gap").values(), default=0) <= 12
    assert len(left) + sum(backlog.dropped.values()) == len(found)


def test_what_could_not_be_written_comes_first_again_with_its_counts() -> None:
    backlog = Backlog(most_others=2)
    backlog.add_events(event(n, "gap", device=None) for n in range(3))
    backlog.add_events(crowd(2))
    backlog.add_reading(reading(0))
    batch = backlog.take(3)
    backlog.add_reading(reading(30))
    backlog.put_back(batch)
    again = backlog.take(10)
    assert again.events[:2] == crowd(2)
    assert again.readings == [reading(30)]
    assert again.dropped == {"gap": 1} == backlog.dropped
