"""Figures at several sizes, and what the parts of other benches say at the smallest. (4 s)"""

from __future__ import annotations

from bench._awg_core import lookup, memory
from bench._growth_deny import measure_deny_list
from bench._record_list import look
from bench.growth import SERIES, figures_of, sizes


def test_ratio_is_the_largest_size_by_the_smallest() -> None:
    figures = figures_of([("list_ms", 10, 2.0), ("list_ms", 1_000, 3.0), ("list_ms", 100, 9.0)])
    assert figures == {
        "list_ms_at_10": 2.0,
        "list_ms_at_100": 9.0,
        "list_ms_at_1000": 3.0,
        "list_ms_ratio": 1.5,
    }


def test_quick_run_leaves_the_largest_fleets_out() -> None:
    assert sizes(SERIES["helm_mb"], quick=True) == [10, 100]
    assert sizes(SERIES["helm_mb"], quick=False) == [10, 100, 1_000]
    assert all(sizes(series, quick=True)[0] == 10 for series in SERIES.values())


def test_parts_measure_at_any_size() -> None:
    assert all(value > 0 for value in measure_deny_list(10))
    assert lookup(2, peers=10) > 0
    assert 100 < memory(10) < 10_000


def test_look_at_a_small_record_counts_what_it_added() -> None:
    looks = look(100, rounds=1)
    assert looks.list_ms > 0
    assert looks.search_ms > 0
    assert looks.octets % 4096 == 0
    assert looks.octets > 0
