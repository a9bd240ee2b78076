from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.awg.tai64n import BEFORE_ALL, TIMESTAMP_BYTES, TimestampSource


def test_a_timestamp_is_tai64n_with_a_coarse_fraction():
    stamp = TimestampSource(lambda: 1_700_000_000 * 10**9 + 999_999_999).next()
    assert len(stamp) == TIMESTAMP_BYTES
    assert int.from_bytes(stamp[:8], "big") == 2**62 + 10 + 1_700_000_000
    fraction = int.from_bytes(stamp[8:], "big")
    assert fraction % 2**24 == 0
    assert 999_999_999 - fraction < 2**24


@given(st.lists(st.integers(0, 2**62), min_size=2, max_size=50))
def test_timestamps_rise_whatever_the_clock_does(readings):
    clock = iter(readings)
    source, last = TimestampSource(lambda: next(clock)), BEFORE_ALL
    for _ in readings:
        stamp = source.next()
        assert stamp > last
        last = stamp
