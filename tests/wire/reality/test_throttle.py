"""Buckets that are overdrawn once and waited for."""

import pytest
import trio

from pharos.wire.reality.relaying import wait_for
from pharos.wire.reality.throttle import MIN_BURST, Bucket


def test_a_burst_passes_and_what_follows_waits_for_its_time() -> None:
    bucket = Bucket(1000, now=0, burst=500)
    assert bucket.take(500, now=0) == 0
    assert bucket.take(250, now=0) == pytest.approx(0.25)
    # A second taker waits for both debts.
    assert bucket.take(250, now=0) == pytest.approx(0.5)
    assert bucket.take(0, now=0.5) == pytest.approx(0)
    # A pause fills it to its burst and no further.
    assert bucket.take(600, now=1000) == pytest.approx(0.1)


def test_no_rate_is_no_limit() -> None:
    assert Bucket(0, now=0).take(1 << 40, now=0) == 0


def test_a_new_rate_holds_from_then_on() -> None:
    bucket = Bucket(0, now=0)
    bucket.set_rate(1 << 20, now=10)
    assert bucket.rate == 1 << 20
    assert bucket.take(MIN_BURST + (1 << 20), now=10) == pytest.approx(1)
    bucket.set_rate(0, now=10)
    assert bucket.take(1 << 40, now=10) == 0


async def test_the_slowest_bucket_decides(autojump_clock: trio.testing.MockClock) -> None:
    start = trio.current_time()
    await wait_for(200, Bucket(100, now=start, burst=100), Bucket(10, now=start, burst=100), Bucket(0, now=start))
    assert trio.current_time() - start == pytest.approx(10)
