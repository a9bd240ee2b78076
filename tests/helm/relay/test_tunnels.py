"""How many tunnels: one more before the last is full, one fewer once that would do."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.beacon.limiter import PASSAGE_RATE
from pharos.beacon.upstream import MAX_TUNNELS as BEACONS_MAX_TUNNELS
from pharos.helm.relay.tunnels import (
    MAX_TUNNELS,
    NEARLY_FULL,
    SURPLUS_TIME,
    Plan,
    TunnelLoad,
    TunnelPlanner,
)
from pharos.wire.rpc.limits import TUNNEL_STREAMS

WAIT = Plan()


def loads(*passages: int, draining: tuple[int, ...] = ()) -> list[TunnelLoad]:
    return [TunnelLoad(count, number in draining) for number, count in enumerate(passages)]


def test_numbers_carry_what_they_promise() -> None:
    assert (MAX_TUNNELS - 1) * TUNNEL_STREAMS > 5_000
    assert (TUNNEL_STREAMS - NEARLY_FULL) / PASSAGE_RATE >= 0.25
    assert BEACONS_MAX_TUNNELS == 2 * MAX_TUNNELS


@pytest.mark.parametrize(
    ("tunnels", "dial"),
    [
        (loads(399), False),
        (loads(400), True),
        (loads(500, 399), False),
        (loads(500, 400), True),
        (loads(450, 10, draining=(1,)), True),
        (loads(10, draining=(0,)), True),
        (loads(*[500] * (MAX_TUNNELS - 1)), True),
        (loads(*[500] * MAX_TUNNELS), False),
        (loads(*[500] * (MAX_TUNNELS - 1), 10, draining=(MAX_TUNNELS - 1,)), False),
    ],
)
def test_tunnel_is_added_when_the_emptiest_is_nearly_full(tunnels: list[TunnelLoad], dial: bool) -> None:
    assert TunnelPlanner().plan(tunnels, 0.0) == Plan(dial=dial)


def test_emptiest_tunnel_goes_after_one_was_too_many_for_five_minutes() -> None:
    planner = TunnelPlanner()
    later = Plan(review_at=100 + SURPLUS_TIME)
    assert planner.plan(loads(200, 100, 200), 100.0) == later
    assert planner.plan(loads(200, 100, 200), 100.0 + SURPLUS_TIME - 1) == later
    assert planner.plan(loads(200, 100, 200), 100.0 + SURPLUS_TIME) == Plan(drain=1)
    # The next one has to wait as long, and for the first to be gone.
    assert planner.plan(loads(100, 100, 100, draining=(1,)), 1e6) == WAIT
    assert planner.plan(loads(100, 100), 1e6) == Plan(review_at=1e6 + SURPLUS_TIME)


def test_one_moment_of_need_starts_the_five_minutes_anew() -> None:
    planner = TunnelPlanner()
    planner.plan(loads(100, 100), 0.0)
    assert planner.plan(loads(151, 100), 200.0) == WAIT
    assert planner.plan(loads(100, 100), 299.0) == Plan(review_at=299.0 + SURPLUS_TIME)


def test_last_tunnel_stays_however_idle() -> None:
    assert TunnelPlanner().plan(loads(0), 1e9) == WAIT


@given(st.lists(st.tuples(st.integers(0, TUNNEL_STREAMS), st.booleans()), max_size=MAX_TUNNELS + 2), st.floats(0, 1e9))
def test_plan_is_never_both_and_never_beyond_the_bounds(tunnels: list[tuple[int, bool]], now: float) -> None:
    planner, all_loads = TunnelPlanner(), [TunnelLoad(*tunnel) for tunnel in tunnels]
    accepting = [number for number, load in enumerate(all_loads) if not load.draining]
    planner.plan(all_loads, now)
    plan = planner.plan(all_loads, now + SURPLUS_TIME)
    assert not (plan.dial and plan.drain is not None)
    assert not plan.dial or len(all_loads) < MAX_TUNNELS
    if plan.drain is not None:
        assert plan.drain in accepting
        assert len(accepting) > 1
        left = [all_loads[number].passages for number in accepting if number != plan.drain]
        # What remains is not opened again at once, even if the passages of the one that goes came there.
        assert sum(left) + all_loads[plan.drain].passages < NEARLY_FULL * len(left)
    assert plan.review_at > now or math.isinf(plan.review_at)
