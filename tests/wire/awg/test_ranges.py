import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.awg.ranges import Range, parse_range
from tests.support.strategies import quick

ranges = st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)).map(lambda ends: Range(min(ends), max(ends)))


@quick
@given(ranges)
def test_a_range_survives_its_text(drawn):
    assert parse_range(str(drawn)) == drawn


@quick
@given(ranges, ranges)
def test_overlap_is_mutual_and_means_a_common_number(one, other):
    common = max(one.low, other.low) <= min(one.high, other.high)
    assert one.overlaps(other) == other.overlaps(one) == common


@pytest.mark.parametrize("text", ["", "-", "7-", "-7", "7-8-9", "7 - 9", "+7", "0x7", "7.0", "٧", "7\n", "1" * 11])
def test_a_text_that_is_no_range_is_refused(text):
    with pytest.raises(ValueError):
        parse_range(text)


def test_every_number_of_a_range_is_picked_and_no_other():
    source = random.Random(1).randbytes
    assert {Range(250, 260).pick(source) for _ in range(500)} == set(range(250, 261))


def test_a_range_of_one_number_costs_no_randomness():
    assert Range(7, 7).pick(lambda count: pytest.fail("drew")) == 7
    assert str(Range(7, 7)) == "7"
    assert 7 in Range(7, 7)
    assert 8 not in Range(7, 7)
