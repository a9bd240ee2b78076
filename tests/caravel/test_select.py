"""AmneziaWG before REALITY, what worked here before what did not, and nothing below the floor."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.caravel.managed import Floor
from pharos.caravel.tunnel.select import (
    BLOCKED_FOR,
    NEXT_AFTER,
    REALITY_LEAD,
    TRUST_FOR,
    Experience,
    Memory,
    WayKey,
    admits,
    is_blocked,
    key_of,
    plan_race,
)
from pharos.wire.profile import AMNEZIAWG, VLESS_REALITY
from tests.support.legs import Node
from tests.support.strategies import quick

NOW = 1_800_000_000.0
A, B, C = Node("a"), Node("b"), Node("c")
RA, RB = Node("a", VLESS_REALITY), Node("b", VLESS_REALITY)
ALL = [node.candidate for node in (A, RA, B, RB, C)]


def order(memory: Memory, nodes: list[Node] | None = None) -> list[tuple[float, str, str]]:
    candidates = ALL if nodes is None else [node.candidate for node in nodes]
    return [(round(s.after, 3), s.candidate.name, s.candidate.protocol) for s in plan_race(candidates, memory, NOW)]


def key(node: Node) -> WayKey:
    return key_of(node.candidate)


def worked(seconds: float = 0.05, ago: float = 60.0) -> Experience:
    return Experience(worked_at=NOW - ago, seconds=seconds)


def test_network_that_nobody_knows_is_tried_in_the_profiles_order_with_a_lead_for_amneziawg() -> None:
    assert order({}) == [
        (0.0, "a", AMNEZIAWG),
        (NEXT_AFTER, "b", AMNEZIAWG),
        (2 * NEXT_AFTER, "c", AMNEZIAWG),
        (REALITY_LEAD, "a", VLESS_REALITY),
        (REALITY_LEAD + NEXT_AFTER, "b", VLESS_REALITY),
    ]


def test_reality_alone_waits_for_nobody() -> None:
    assert order({}, [RA]) == [(0.0, "a", VLESS_REALITY)]


def test_what_worked_here_last_goes_first() -> None:
    assert order({key(C): worked()})[0] == (0.0, "c", AMNEZIAWG)


def test_what_was_much_faster_goes_before_what_was_slow() -> None:
    memory = {key(A): worked(0.5), key(B): worked(0.02, ago=30), key(C): worked(0.1)}
    assert [name for _, name, protocol in order(memory) if protocol == AMNEZIAWG] == ["b", "c", "a"]


def test_what_failed_here_goes_after_what_was_never_tried() -> None:
    memory = {key(A): Experience(failed_at=NOW - 60)}
    assert [name for _, name, protocol in order(memory) if protocol == AMNEZIAWG] == ["b", "c", "a"]


def test_where_udp_is_blocked_reality_leads_and_amneziawg_is_tried_all_the_same() -> None:
    memory = {key(node): Experience(failed_at=NOW - 60) for node in (A, B)} | {key(RB): worked()}
    assert is_blocked(ALL, memory, NOW)
    found = order(memory)
    assert found[0] == (0.0, "b", VLESS_REALITY)
    assert {name for _, name, protocol in found if protocol == AMNEZIAWG} == {"a", "b", "c"}


@pytest.mark.parametrize("ago", [BLOCKED_FOR + 1, TRUST_FOR + 1])
def test_that_udp_was_blocked_is_forgotten(ago: float) -> None:
    memory = {key(A): Experience(failed_at=NOW - ago)} | {key(RB): worked(ago=ago)}
    assert not is_blocked(ALL, memory, NOW)
    assert order(memory)[0][2] == AMNEZIAWG


def test_reality_that_won_once_by_chance_has_no_lead_over_amneziawg() -> None:
    memory = {key(A): worked(ago=600), key(RA): worked(ago=60)}
    assert order(memory)[0] == (0.0, "a", AMNEZIAWG)


def test_clock_that_was_set_back_makes_no_way_unusable() -> None:
    memory = {key(A): Experience(worked_at=NOW + 3600, failed_at=NOW + 7200)}
    assert len(order(memory)) == len(ALL)


times = st.floats(min_value=0, max_value=2 * NOW)
experiences = st.builds(Experience, worked_at=times, failed_at=times, seconds=st.floats(0, 100))


@quick
@given(st.dictionaries(st.sampled_from([key_of(one) for one in ALL]), experiences))
def test_whatever_is_remembered_every_way_is_tried_once_and_soon(memory: dict[WayKey, Experience]) -> None:
    starts = plan_race(ALL, memory, NOW)
    assert sorted(key_of(start.candidate) for start in starts) == sorted(map(key_of, ALL))
    afters = [start.after for start in starts]
    assert afters == sorted(afters)
    assert min(afters) == 0.0
    # UDP blocked: REALITY is dialled well within the three seconds that a first connect may take.
    assert min(start.after for start in starts if start.candidate.protocol == VLESS_REALITY) <= 0.6


def test_floors() -> None:
    plain = Node("plain", hides=False).candidate
    floors = {floor: [admits(floor, one) for one in (plain, A.candidate, RA.candidate)] for floor in Floor}
    assert floors == {
        Floor.ANY: [True, True, True],
        Floor.AMNEZIAWG: [False, True, True],
        Floor.REALITY: [False, False, True],
    }
