from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pharos.buoy.xray.changes import Change, changes_between, changes_to
from pharos.buoy.xray.counters import CLOCK_SLACK, Counters
from pharos.buoy.xray.model import spell_user_id
from pharos.wire.ids import DeviceId
from tests.buoy.xray.rig import ALICE, BOB, user, users
from tests.support.strategies import quick

DEVICE = DeviceId("alice")
START = 1_800_000_000_000_000


def test_sums_begin_at_the_baseline() -> None:
    counters = Counters({DEVICE: (100, 200)})
    assert counters.sum(DEVICE) == (100, 200)
    counters.note(DEVICE, 1, 2)
    assert counters.sum(DEVICE) == (101, 202)
    assert counters.sum(DeviceId("bob")) == (0, 0)


def test_another_start_counts_anew_however_much_it_has_counted() -> None:
    counters = Counters()
    counters.note_start(START)
    counters.note(DEVICE, 10, 10)
    # The same start, read twice.
    counters.note_start(START + CLOCK_SLACK)
    counters.note(DEVICE, 20, 20)
    assert counters.sum(DEVICE) == (20, 20)
    counters.note_start(START + 60_000_000)
    counters.note(DEVICE, 30, 30)
    assert counters.sum(DEVICE) == (50, 50)


def test_less_than_before_is_another_start_too() -> None:
    counters = Counters()
    counters.note(DEVICE, 10, 10)
    counters.note(DEVICE, 11, 9)
    assert counters.sum(DEVICE) == (21, 19)


@quick
@given(st.lists(st.tuples(st.integers(0, 50), st.booleans())))
def test_sums_are_all_that_was_carried_and_never_go_down(steps: list[tuple[int, bool]]) -> None:
    counters, carried, here, last = Counters(), 0, 0, 0
    for octets, falls in steps:
        carried, here = carried + octets, here + octets
        counters.note(DEVICE, here, here)
        assert counters.sum(DEVICE) == (carried, carried) >= (last, last)
        last = carried
        if falls:
            counters.begin_anew()
            here = 0


def test_what_changed_is_removed_and_added() -> None:
    carol, other = user("carol", 3), user("bob", 9)
    change = changes_between(users(ALICE, BOB), users(other, carol))
    assert change == Change((ALICE.device_id, BOB.device_id), (other, carol))
    assert not changes_between(users(ALICE), users(user("alice", 1, rate_limit=5)))
    assert not changes_between({}, {})


def test_what_xray_has_is_made_what_it_should_have() -> None:
    listed = {BOB.device_id: spell_user_id(bytes(16)), DeviceId("mallory"): "x"}
    assert changes_to(listed, users(ALICE, BOB)) == Change((DeviceId("mallory"), BOB.device_id), (ALICE, BOB))
    assert not changes_to({ALICE.device_id: spell_user_id(ALICE.user_id)}, users(ALICE))
