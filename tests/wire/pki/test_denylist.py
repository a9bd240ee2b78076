import datetime
import time

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.errors import LocalProtocolError
from pharos.wire.pki.denylist import MAX_ENTRIES, DenyEntry, DenyList, tunnel_key_hash
from pharos.wire.pki.roles import Identity, Role
from tests.support.pki import home_fleet, other_fleet, utc_now

HOME = home_fleet()
NOW = utc_now()
DAY = datetime.timedelta(days=1)
LATER = int((NOW + 100 * DAY).timestamp())
EMPTY = HOME.deny_list()
LOST = HOME.identity(Role.DEVICE, "lost")


def entry(
    member: Identity | None = None, *, key: int | None = None, tunnel: int | None = None, ends: int = LATER
) -> DenyEntry:
    return DenyEntry(
        member=member,
        spki_hash=None if key is None else bytes([key]) * 32,
        tunnel_key_hash=None if tunnel is None else bytes([tunnel]) * 32,
        not_after=ends,
    )


members = st.sampled_from([HOME.identity(role, name) for role in Role for name in ("a", "b", "c")])
small = st.integers(0, 3)
entries = st.builds(
    entry,
    st.none() | members,
    key=st.none() | small,
    tunnel=small,
    ends=st.sampled_from([LATER, LATER + 1, int((NOW - 2 * DAY).timestamp())]),
)


def test_member_key_and_tunnel_key_are_denied_each_for_itself() -> None:
    key = bytes(range(32))
    deny = EMPTY.amended(
        [entry(LOST, key=1), entry(key=2), DenyEntry(tunnel_key_hash=tunnel_key_hash(key), not_after=LATER)], now=NOW
    )
    other = HOME.identity(Role.DEVICE, "other")
    assert deny.denies(LOST, bytes(32))
    assert deny.denies(other, b"\1" * 32)
    assert deny.denies(other, b"\2" * 32)
    assert not deny.denies(other, bytes(32))
    assert deny.denies_member(Role.DEVICE, "lost")
    assert not deny.denies_member(Role.NODE, "lost")
    assert deny.denies_tunnel_key(key)
    assert not deny.denies_tunnel_key(bytes(32))


def test_only_a_larger_order_is_newer() -> None:
    first, again, second = (HOME.deny_list(epoch=3, version=version) for version in (7, 7, 8))
    restored = HOME.deny_list(epoch=4, version=1)
    assert second.newer_than(first)
    assert restored.newer_than(second)
    for older, newer in ((first, again), (first, first), (first, second), (second, restored)):
        assert not older.newer_than(newer)


def test_each_change_is_a_version() -> None:
    first = EMPTY.amended([entry(LOST)], now=NOW)
    second = first.amended([entry(key=1)], now=NOW + DAY)
    assert (first.order, second.order) == ((1, 2), (1, 3))
    assert second.issued == int((NOW + DAY).timestamp())
    assert set(first.entries) < set(second.entries)


def test_entries_are_kept_until_a_day_after_the_certificate() -> None:
    deny = EMPTY.amended([entry(LOST)], now=NOW)
    end = datetime.datetime.fromtimestamp(LATER, datetime.UTC)
    assert deny.amended([], now=end + DAY).entries == deny.entries
    assert deny.amended([], now=end + DAY + datetime.timedelta(seconds=1)).entries == ()


def test_same_revocation_twice_is_one_entry_for_the_longer_time() -> None:
    once = EMPTY.amended([entry(LOST, ends=LATER)], now=NOW)
    assert once.amended([entry(LOST, ends=LATER - 5)], now=NOW).entries == once.entries
    assert once.amended([entry(LOST, ends=LATER + 5)], now=NOW).entries == (entry(LOST, ends=LATER + 5),)


@given(st.lists(st.lists(entries, max_size=6), min_size=1, max_size=4))
def test_merging_forgets_nobody_and_beats_every_list(revoked: list[list[DenyEntry]]) -> None:
    """§2h: what any node still holds is revoked in the restored helm too."""
    long_ago = NOW - 30 * DAY
    lists = [EMPTY.amended(some, now=long_ago) for some in revoked]
    merged = lists[0].merged(lists[1:], epoch=5, now=NOW)
    assert all(merged.newer_than(deny) for deny in lists)
    live = [one for deny in lists for one in deny.entries if not one.outlived(NOW)]
    assert {one.target for one in merged.entries} == {one.target for one in live}
    for one in live:
        assert any(kept.target == one.target and kept.not_after >= one.not_after for kept in merged.entries)
    assert merged == lists[0].merged(reversed(lists[1:]), epoch=5, now=NOW)
    for deny in lists:
        for one in deny.entries:
            if not one.outlived(NOW) and one.member is not None:
                assert merged.denies(one.member, bytes(32))


def test_merging_in_the_epoch_that_a_node_reports_is_newer_still() -> None:
    reported = HOME.deny_list(LOST, epoch=9, version=40)
    merged = EMPTY.merged([reported], epoch=9, now=NOW)
    assert merged.order == (9, 41)
    assert merged.newer_than(reported)


def test_merging_back_in_time_or_across_fleets_is_refused() -> None:
    for other in (HOME.deny_list(epoch=6), other_fleet().deny_list()):
        with pytest.raises(LocalProtocolError):
            EMPTY.merged([other], epoch=5, now=NOW)


def test_nonsense_is_no_entry() -> None:
    nonsense: list[dict[str, object]] = [
        {"not_after": LATER},
        {"spki_hash": bytes(31), "not_after": LATER},
        {"tunnel_key_hash": b"", "not_after": LATER},
        {"member": LOST, "not_after": -1},
        {"member": LOST, "not_after": 2**63},
        {"member": LOST, "not_after": True},
        {"member": LOST, "not_after": 1.5},
    ]
    for values in nonsense:
        with pytest.raises(ValueError):
            DenyEntry(**values)  # type: ignore[arg-type]


def test_nonsense_is_no_list() -> None:
    one, two = sorted([entry(key=1), entry(key=2)], key=lambda each: each.target)
    for wrong in ((two, one), (one, one), (one, attrs.evolve(one, not_after=LATER + 1))):
        with pytest.raises(ValueError, match="order"):
            attrs.evolve(EMPTY, entries=wrong)
    with pytest.raises(ValueError, match="another fleet"):
        attrs.evolve(EMPTY, entries=(entry(other_fleet().identity(Role.NODE)),))
    with pytest.raises(ValueError, match="epoch"):
        attrs.evolve(EMPTY, epoch=-1)
    with pytest.raises(ValueError, match="version"):
        attrs.evolve(EMPTY, version=2**63)
    with pytest.raises(ValueError, match="issued"):
        attrs.evolve(EMPTY, issued=True)


def full_list(count: int) -> DenyList:
    return DenyList(
        fleet=HOME.id,
        epoch=1,
        version=1,
        issued=0,
        entries=tuple(DenyEntry(spki_hash=number.to_bytes(32, "big"), not_after=LATER) for number in range(count)),
    )


def test_size_is_bounded() -> None:
    full = full_list(MAX_ENTRIES)
    with pytest.raises(ValueError, match="limit"):
        full_list(MAX_ENTRIES + 1)
    with pytest.raises(LocalProtocolError, match="rotate"):
        full.amended([entry(LOST)], now=NOW)


def seconds_of_looks(deny: DenyList, looks: int = 2000) -> float:
    """CPU time, the best of several, so that a busy machine does not decide."""
    best = float("inf")
    for _ in range(5):
        begun = time.thread_time()
        for _ in range(looks):
            deny.denies(LOST, bytes(32))
        best = min(best, time.thread_time() - begun)
    return best


def test_a_look_costs_the_same_in_a_list_of_any_length() -> None:
    assert seconds_of_looks(full_list(MAX_ENTRIES)) < 10 * seconds_of_looks(full_list(1))
