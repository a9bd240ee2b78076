"""What was carried never goes down, whichever engines begin anew."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pharos.buoy.dataplane.sums import Sums
from pharos.wire.ids import DeviceId
from tests.support.strategies import quick

PHONE, LAPTOP = DeviceId("phone"), DeviceId("laptop")


def test_engine_that_began_anew_is_counted_on_top_of_what_it_said() -> None:
    sums = Sums(2)
    sums.set(0, PHONE, 10, 100)
    sums.set(1, PHONE, 1, 1)
    sums.set(0, PHONE, 5, 0)
    sums.set(0, LAPTOP, 7, 7)
    assert dict(sums.all()) == {PHONE: (16, 101), LAPTOP: (7, 7)}
    sums.forget(PHONE)
    assert dict(sums.all()) == {LAPTOP: (7, 7)}


def test_engine_that_is_another_one_is_counted_on_top_though_it_says_more() -> None:
    sums = Sums(1)
    sums.set(0, PHONE, 3, 3)
    sums.begin_anew(0)
    assert dict(sums.all()) == {PHONE: (3, 3)}
    sums.set(0, PHONE, 4, 4)
    assert dict(sums.all()) == {PHONE: (7, 7)}


@quick
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 9), st.integers(0, 9)), max_size=20))
def test_sums_never_go_down(said: list[tuple[int, int, int]]) -> None:
    sums, before = Sums(2), (0, 0)
    for engine, received, sent in said:
        sums.set(engine, PHONE, received, sent)
        now = dict(sums.all())[PHONE]
        assert now >= before
        assert now[1] >= before[1]
        before = now
