from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.awg.limits import BURST_TIME, MIN_BURST_BYTES, TokenBucket, make_bucket


@given(
    st.floats(1.0, 1e8),
    st.lists(st.tuples(st.floats(0, 2), st.integers(20, 65535)), max_size=60),
)
def test_no_more_passes_than_the_rate_and_one_burst(rate, arrivals):
    bucket, now, passed = TokenBucket(rate, 0.0), 0.0, 0
    for delay, size in arrivals:
        now += delay
        passed += size * bucket.allow(size, now)
    burst = max(rate * BURST_TIME, MIN_BURST_BYTES)
    assert passed <= (burst + rate * now) * 1.000001


def test_what_comes_slower_than_the_rate_all_passes():
    bucket = TokenBucket(100_000.0, 0.0)
    assert all(bucket.allow(1000, number * 0.0101) for number in range(5000))


def test_a_packet_that_does_not_fit_takes_nothing_from_a_smaller_one():
    bucket = TokenBucket(1.0, 0.0)
    assert bucket.allow(MIN_BURST_BYTES - 100, 0.0)
    assert not bucket.allow(101, 0.0)
    assert bucket.admit([bytes(60), bytes(60), bytes(40)], 0.0) == [bytes(60), bytes(40)]


def test_a_clock_that_goes_back_gives_nothing():
    bucket = TokenBucket(1000.0, 100.0)
    assert bucket.allow(MIN_BURST_BYTES, 100.0)
    assert not bucket.allow(10, 0.0)
    assert not bucket.allow(10, 100.0)
    assert bucket.allow(10, 100.011)


def test_no_rate_is_no_bucket():
    assert make_bucket(0.0, 0.0) is None
