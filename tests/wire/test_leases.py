"""A claim of the lease, strictly inward."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.errors import RemoteProtocolError
from pharos.wire.gen.pharos.buoy.v1 import control_pb2 as pb
from pharos.wire.leases import MAX_LEASE, LeaseClaim, lease_from, lease_to
from tests.support.strategies import quick

holders = st.binary(min_size=16, max_size=16)


@quick
@given(
    st.builds(
        LeaseClaim,
        holder=holders,
        previous=st.just(b"") | holders,
        seconds=st.integers(1, int(MAX_LEASE)).map(float),
    )
)
def test_claim_survives_the_way(claim: LeaseClaim) -> None:
    assert lease_from(pb.Lease.FromString(lease_to(claim).SerializeToString())) == claim


@pytest.mark.parametrize(
    "bad",
    [
        pb.Lease(holder=bytes(15), seconds=1),
        pb.Lease(holder=bytes(17), seconds=1),
        pb.Lease(seconds=1),
        pb.Lease(holder=bytes(16), previous=b"x", seconds=1),
        pb.Lease(holder=bytes(16)),
        pb.Lease(holder=bytes(16), seconds=int(MAX_LEASE) + 1),
    ],
)
def test_claim_that_does_not_fit_is_refused(bad: pb.Lease) -> None:
    with pytest.raises(RemoteProtocolError):
        lease_from(bad)
