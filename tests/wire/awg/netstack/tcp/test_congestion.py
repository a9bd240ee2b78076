"""The window's growth (RFC 9438, RFC 9406), and the estimates it goes by (RFC 6298)."""

from __future__ import annotations

import math

import pytest

from pharos.wire.awg.netstack.tcp.cubic import Cubic, initial_window
from pharos.wire.awg.netstack.tcp.pacing import Pacer
from pharos.wire.awg.netstack.tcp.rtt import MAX_RTO, RoundTrips

MSS = 1000
TRIP = 0.1


def rounds(cubic: Cubic, count: int, *, now: float = 0.0, trip: float = TRIP, sample: float | None = None) -> float:
    """Acknowledge so many windows, one a round trip; return the time after them."""
    una = 0
    for _ in range(count):
        window = int(cubic.window)
        for _ in range(max(1, window // MSS)):
            una += MSS
            cubic.acknowledged(MSS, now, trip, una=una, nxt=una + window, sample=sample)
        now += trip
    return now


@pytest.mark.parametrize(
    ("mss", "window"), [(1368, 13_680), (536, 5_360), (1460, 14_600), (4000, 14_600), (9000, 18_000)]
)
def test_the_first_window_is_that_of_rfc_6928(mss: int, window: int) -> None:
    assert initial_window(mss) == window


def test_slow_start_doubles_each_round_trip() -> None:
    cubic = Cubic(MSS)
    rounds(cubic, 3)
    assert cubic.window == 80 * MSS


def test_a_loss_leaves_seven_tenths() -> None:
    cubic = Cubic(MSS)
    cubic.window = 100 * MSS
    cubic.congested()
    assert cubic.threshold == 70 * MSS


def test_after_a_loss_it_is_back_where_it_was_after_k_seconds() -> None:
    cubic = Cubic(MSS)
    cubic.window = 1000 * MSS
    cubic.congested()
    cubic.window = cubic.threshold
    k = (300 / 0.4) ** (1 / 3)
    now = rounds(cubic, round(k / TRIP))
    assert cubic.window == pytest.approx(1000 * MSS, rel=0.02)
    # Around there it is nearly flat, and then it looks for more.
    rounds(cubic, 10, now=now)
    assert cubic.window == pytest.approx(1000 * MSS, rel=0.02)
    rounds(cubic, 60, now=now + 10 * TRIP)
    assert cubic.window > 1050 * MSS


def test_on_a_short_path_it_grows_as_reno_would() -> None:
    cubic = Cubic(MSS)
    cubic.window = 20 * MSS
    cubic.congested()
    cubic.window = cubic.threshold
    rounds(cubic, 11, trip=0.001)
    # 0.53 segments a round trip (RFC 9438 §4.3).
    assert cubic.window == pytest.approx((14 + 11 * 0.53) * MSS, rel=0.05)


def test_a_second_loss_before_the_first_is_made_up_for_leaves_room_for_others() -> None:
    cubic = Cubic(MSS)
    cubic.window = 100 * MSS
    cubic.congested()
    cubic.window = 80 * MSS
    cubic.congested()
    assert cubic._maximum == pytest.approx(80 * 0.85)


def test_a_loss_that_was_none_is_taken_back() -> None:
    cubic = Cubic(MSS)
    cubic.window = 100 * MSS
    cubic.timed_out()
    assert cubic.window == MSS
    cubic.undo()
    assert (cubic.window, cubic.threshold) == (100 * MSS, math.inf)
    cubic.undo()
    assert cubic.window == 100 * MSS


def test_it_never_shrinks_below_two_segments() -> None:
    cubic = Cubic(MSS)
    for _ in range(50):
        cubic.congested()
        cubic.window = cubic.threshold
    assert cubic.window == 2 * MSS


def test_a_delay_that_grows_ends_slow_start_before_a_loss() -> None:
    cubic = Cubic(MSS)
    una = 0
    for number in range(14):
        sample = TRIP + 0.02 * max(0, number - 3)
        for _ in range(int(cubic.window) // MSS):
            una += MSS
            cubic.acknowledged(MSS, number * TRIP, TRIP, una=una, nxt=una + int(cubic.window), sample=sample)
    assert cubic.threshold < math.inf
    assert cubic.window < 10 * MSS * 2**7


def test_a_delay_that_passes_does_not() -> None:
    cubic = Cubic(MSS)
    una = 0
    for number in range(8):
        sample = TRIP + (0.05 if number == 3 else 0.0)
        for _ in range(int(cubic.window) // MSS):
            una += MSS
            cubic.acknowledged(MSS, number * TRIP, TRIP, una=una, nxt=una + int(cubic.window), sample=sample)
    assert cubic.threshold == math.inf
    assert cubic._hystart is not None
    assert not cubic._hystart.conservative


def test_the_first_round_trip_is_the_estimate() -> None:
    trips = RoundTrips()
    assert trips.rto == 1.0
    trips.measure(0.4, 0.0)
    assert (trips.smoothed, trips.variation) == (0.4, 0.2)
    assert trips.rto == pytest.approx(0.4 + 0.8)
    trips.measure(0.8, 1.0)
    assert trips.variation == pytest.approx(0.75 * 0.2 + 0.25 * 0.4)
    assert trips.smoothed == pytest.approx(0.875 * 0.4 + 0.125 * 0.8)


def test_the_timer_doubles_up_to_a_minute() -> None:
    trips = RoundTrips()
    trips.measure(0.1, 0.0)
    before = trips.rto
    trips.backoff = 1
    assert trips.rto == 2 * before
    trips.backoff = 1000
    assert trips.rto == MAX_RTO


def test_the_shortest_round_trip_is_forgotten_after_a_while() -> None:
    trips = RoundTrips()
    trips.measure(0.01, 0.0)
    for minute in range(1, 20):
        trips.measure(0.2, minute * 60.0)
    assert trips.least == 0.2


def test_a_window_goes_in_parts_spread_over_its_round_trip() -> None:
    cubic, pacer = Cubic(MSS), Pacer()
    cubic.window = cubic.threshold = 800 * MSS
    now, sent = 0.0, []
    while sum(sent) < 800 * MSS:
        allowed = pacer.allowance(cubic, TRIP, now) // MSS * MSS
        sent.append(allowed)
        pacer.sent(allowed, now)
        pacer.wait(cubic, now)
        now = pacer.at
    assert max(sent) <= 100 * MSS
    assert now == pytest.approx(0.8 * TRIP, rel=0.15)


def test_who_is_woken_late_makes_up_for_it_up_to_half_a_window() -> None:
    found = []
    for late in (0.0, 0.01, 50.0):
        cubic, pacer = Cubic(MSS), Pacer()
        cubic.window = cubic.threshold = 800 * MSS
        pacer.sent(pacer.allowance(cubic, TRIP, 0.0), 0.0)
        pacer.wait(cubic, 0.0)
        found.append(pacer.allowance(cubic, TRIP, pacer.at + late) // MSS)
    assert found == [50, 200, 500]


def test_a_silence_is_no_lateness() -> None:
    cubic, pacer = Cubic(MSS), Pacer()
    cubic.window = cubic.threshold = 800 * MSS
    assert pacer.allowance(cubic, TRIP, 0.0) // MSS == 100
    pacer.sent(100 * MSS, 0.0)
    assert pacer.allowance(cubic, TRIP, 50.0) // MSS == 100


@pytest.mark.parametrize("trip", [None, 0.001])
def test_a_short_path_is_not_paced(trip: float | None) -> None:
    cubic, pacer = Cubic(MSS), Pacer()
    pacer.sent(10**9, 0.0)
    assert pacer.allowance(cubic, trip, 0.0) > 10**9
    assert pacer.at == math.inf
