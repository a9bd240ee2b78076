"""A node that lies about events, or drifts for ever, costs the others nothing."""

from __future__ import annotations

from pharos.helm.fleet.meter import BURST, MOST_AHEAD, RATE, Healing, Meter, believable


def test_flood_is_cut_to_the_rate_and_counted() -> None:
    meter = Meter()
    assert meter.admit(int(BURST), 0.0) == BURST
    assert meter.admit(100, 0.0) == 0
    assert meter.admit(5000, 2.0) == 2 * RATE
    assert meter.dropped == 100 + 5000 - 2 * RATE
    assert meter.admit(10**9, 10**6) == BURST


def test_event_of_the_future_happened_now() -> None:
    now = 1_800_000_000_000_000
    assert believable(now - 10**9, now) == now - 10**9
    assert believable(now + MOST_AHEAD, now) == now + MOST_AHEAD
    assert believable(now + MOST_AHEAD + 1, now) == now


def test_drift_is_healed_three_times_at_once_and_then_each_minute() -> None:
    healing = Healing()
    assert [healing.may(at) for at in (0, 1, 2, 3, 59, 63, 64, 130)] == [True] * 3 + [False, False, True, False, True]
    rarely = Healing(every=600.0)
    assert [rarely.may(at) for at in (0, 1, 2, 3, 60, 599, 610)] == [True] * 3 + [False, False, False, True]
