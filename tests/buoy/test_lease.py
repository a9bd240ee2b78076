"""One helm at a time commands a node."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.buoy.lease import Lease, LeaseHeldError
from pharos.wire.leases import LeaseClaim
from tests.support.strategies import quick

ONE, TWO, THREE = (bytes([number]) * 16 for number in (1, 2, 3))


def claim(holder: bytes, previous: bytes = b"", seconds: float = 30) -> LeaseClaim:
    return LeaseClaim(holder=holder, previous=previous, seconds=seconds)


def test_second_helm_is_refused_until_the_lease_has_run_out() -> None:
    lease = Lease()
    lease.claim(claim(ONE), 100)
    lease.claim(claim(ONE), 110)
    with pytest.raises(LeaseHeldError, match="another helm holds this node for 30 s"):
        lease.claim(claim(TWO), 110)
    with pytest.raises(LeaseHeldError, match="for 1 s"):
        lease.claim(claim(TWO), 139.5)
    lease.claim(claim(TWO), 140)
    with pytest.raises(LeaseHeldError):
        lease.claim(claim(ONE), 141)


def test_successor_by_the_same_record_takes_over_at_once_and_its_former_self_is_out() -> None:
    lease = Lease()
    lease.claim(claim(ONE), 100)
    lease.claim(claim(TWO, previous=ONE), 101)
    with pytest.raises(LeaseHeldError):
        lease.claim(claim(ONE), 102)
    # Nor does a copy of the record of before: its predecessor is not the one that the node knows.
    with pytest.raises(LeaseHeldError):
        lease.claim(claim(THREE, previous=ONE), 103)


def test_successor_takes_over_at_once_though_the_start_between_never_came_here() -> None:
    lease = Lease()
    lease.claim(claim(ONE), 100)
    lease.claim(attrs.evolve(claim(THREE, previous=TWO), earlier=(ONE,)), 101)
    with pytest.raises(LeaseHeldError):
        lease.claim(claim(ONE), 102)


def test_helm_without_a_lease_commands_only_while_nobody_holds_one() -> None:
    lease = Lease()
    lease.claim(None, 0)
    lease.claim(claim(ONE), 1)
    with pytest.raises(LeaseHeldError):
        lease.claim(None, 30)
    lease.claim(None, 31)


def test_refused_claim_changes_nothing() -> None:
    lease = Lease()
    lease.claim(claim(ONE), 0)
    with pytest.raises(LeaseHeldError):
        lease.claim(claim(TWO, seconds=600), 1)
    lease.claim(claim(TWO), 30)


@quick
@given(st.lists(st.tuples(st.sampled_from([ONE, TWO, THREE]), st.floats(0, 20), st.floats(1, 30)), max_size=30))
def test_no_two_hold_it_at_once(calls: list[tuple[bytes, float, float]]) -> None:
    lease, now, until, holder = Lease(), 0.0, 0.0, b""
    for caller, passes, seconds in calls:
        now += passes
        try:
            lease.claim(claim(caller, seconds=seconds), now)
        except LeaseHeldError:
            assert now < until
            assert caller != holder
        else:
            assert caller == holder or now >= until
            holder, until = caller, now + seconds
