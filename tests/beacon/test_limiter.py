"""The beacon's own rates: for all, for strangers together, and for each of their addresses."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.beacon.limiter import (
    PASSAGE_BURST,
    PASSAGE_RATE,
    SOURCE_BURST,
    SOURCE_RATE,
    SOURCES,
    STRANGERS_BURST,
    STRANGERS_RATE,
    PassageLimiter,
    Rates,
)
from pharos.beacon.sanitize import Refusal
from tests.support.relay import NO_RATES

ADDRESSES = [f"198.51.{high}.{low}" for high, low in itertools.product(range(20), range(250))]


def admitted(limiter: PassageLimiter, tries: int, now: float, *, stranger: str | None = None) -> int:
    return sum(limiter.admit(now, stranger=stranger) is None for _ in range(tries))


def test_ten_thousand_devices_come_back_within_ninety_seconds() -> None:
    assert PASSAGE_BURST + 90 * PASSAGE_RATE >= 10_000
    limiter = PassageLimiter()
    # All at once, and again each second until they are in.
    waiting, seconds = 10_000, 0
    while waiting:
        waiting -= admitted(limiter, waiting, float(seconds))
        seconds += 1
    assert seconds <= 90


def test_passages_beyond_the_rate_are_busy() -> None:
    limiter = PassageLimiter()
    assert admitted(limiter, 2_000, 0.0) == PASSAGE_BURST
    assert limiter.admit(0.0, stranger=None) is Refusal.BUSY
    assert admitted(limiter, 2_000, 1.0) == PASSAGE_RATE
    assert admitted(PassageLimiter(NO_RATES), 2_000, 0.0) == 2_000


@pytest.mark.row(26)
@pytest.mark.red_inside
def test_one_source_is_held_back_and_others_do_not_notice() -> None:
    limiter = PassageLimiter()
    assert admitted(limiter, 1_000, 0.0, stranger="198.51.100.7") == SOURCE_BURST
    assert limiter.admit(0.0, stranger="198.51.100.7") is Refusal.TOO_OFTEN
    assert admitted(limiter, 1, 0.0, stranger="198.51.100.8") == 1
    assert admitted(limiter, 1_000, 50.0, stranger="198.51.100.7") == 50 * SOURCE_RATE
    # Weakened: without its own rate one source uses up what all strangers have.
    weakened = PassageLimiter(Rates(source_burst=math.inf))
    assert admitted(weakened, 1_000, 0.0, stranger="198.51.100.7") == STRANGERS_BURST
    assert weakened.admit(0.0, stranger="198.51.100.8") is Refusal.BUSY


@pytest.mark.row(26)
def test_source_is_a_whole_64_in_ipv6() -> None:
    limiter = PassageLimiter()
    tries = [f"2001:db8:0:1::{number:x}" for number in range(100)]
    assert sum(limiter.admit(0.0, stranger=address) is None for address in tries) == SOURCE_BURST
    assert admitted(limiter, 1, 0.0, stranger="2001:db8:0:2::1") == 1


@pytest.mark.row(26)
@pytest.mark.red_inside
def test_any_number_of_strangers_leaves_the_rest_to_devices() -> None:
    limiter = PassageLimiter()
    strangers = sum(limiter.admit(0.0, stranger=address) is None for address in ADDRESSES)
    assert strangers == STRANGERS_BURST
    assert admitted(limiter, 2_000, 0.0) == PASSAGE_BURST - STRANGERS_BURST
    # Weakened: without a rate of their own strangers take all.
    weakened = PassageLimiter(Rates(strangers_burst=math.inf))
    assert sum(weakened.admit(0.0, stranger=address) is None for address in ADDRESSES) == PASSAGE_BURST
    assert admitted(weakened, 1, 0.0) == 0


def test_sources_are_remembered_long_enough_and_not_without_bound() -> None:
    # A bucket that was forgotten is full again, which is no gain if it had been forgotten that late anyway.
    let_in_while_one_refills = STRANGERS_BURST + STRANGERS_RATE * SOURCE_BURST / SOURCE_RATE
    assert let_in_while_one_refills < SOURCES
    limiter = PassageLimiter()
    for address in ADDRESSES:
        limiter.admit(0.0, stranger=address)
    assert len(limiter._strangers._sources) == SOURCES < len(ADDRESSES)


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(0, 4)), max_size=200))
def test_no_order_of_arrivals_exceeds_any_rate(arrivals: list[tuple[float, int]]) -> None:
    limiter = PassageLimiter(
        Rates(passage_burst=8, passage_rate=2, strangers_burst=5, strangers_rate=1, source_burst=3, source_rate=0.5)
    )
    now, passages, strangers, of_source = 0.0, 0, 0, [0] * 5
    for pause, source in arrivals:
        now += pause
        # Number 0 is a device.
        if limiter.admit(now, stranger=f"192.0.2.{source}" if source else None) is None:
            passages += 1
            strangers += bool(source)
            of_source[source] += bool(source)
        assert passages <= 8 + 2 * now + 1e-6
        assert strangers <= 5 + now + 1e-6
        assert max(of_source) <= 3 + 0.5 * now + 1e-6


def test_logins_are_counted_while_they_last() -> None:
    limiter = PassageLimiter(Rates(logins=1))
    with limiter.login() as first:
        assert first is None
        with limiter.login() as second:
            assert second is Refusal.BUSY
        with limiter.login() as third:
            assert third is Refusal.BUSY
    with limiter.login() as fourth:
        assert fourth is None
