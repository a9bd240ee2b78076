"""What a peer can do to a dial has one of two fates; everything else is a bug and stays one."""

from __future__ import annotations

import attrs
import pytest
import trio
from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError

from pharos.helm.fleet import dial
from pharos.helm.fleet.dial import errors_as_fates
from pharos.wire.errors import (
    DecryptError,
    LinkLostError,
    LinkRefusedError,
    PeerRejectedError,
    RemoteProtocolError,
)
from pharos.wire.pki.roles import Authority, Role
from pharos.wire.rpc.status import ConnectionLostError
from tests.support.pki import home_fleet


@pytest.mark.parametrize(
    "error",
    [
        PeerRejectedError("another role"),
        LinkRefusedError("tls alert"),
        GRPCError(Status.PERMISSION_DENIED, "no"),
        GRPCError(Status.UNAUTHENTICATED, "no"),
        GRPCError(Status.FAILED_PRECONDITION, "older fence"),
    ],
)
def test_peer_that_says_no_has_refused(error: Exception) -> None:
    with pytest.raises(LinkRefusedError), errors_as_fates():
        raise error


@pytest.mark.parametrize(
    "error",
    [
        LinkLostError("reset"),
        RemoteProtocolError("junk"),
        DecryptError("junk"),
        trio.TooSlowError(),
        trio.BrokenResourceError(),
        GRPCError(Status.UNAVAILABLE, "restarting"),
        GRPCError(Status.DEADLINE_EXCEEDED, "slow"),
        GRPCError(Status.INTERNAL, "bug of theirs"),
        StreamTerminatedError("reset"),
        ConnectionLostError("gone"),
    ],
)
def test_peer_that_went_away_or_talked_junk_is_lost(error: Exception) -> None:
    with pytest.raises(LinkLostError) as caught, errors_as_fates():
        raise error
    assert str(caught.value), "the board shows a reason"


@pytest.mark.parametrize("error", [ZeroDivisionError(), KeyError("x"), AssertionError()])
def test_bug_of_ours_stays_a_bug(error: Exception) -> None:
    with pytest.raises(type(error)), errors_as_fates():
        raise error


async def test_cancellation_passes() -> None:
    with trio.CancelScope() as scope, errors_as_fates():
        scope.cancel()
        await trio.lowlevel.checkpoint()
    assert scope.cancelled_caught


def test_dials_share_a_context_until_trust_or_credentials_change() -> None:
    fleet = home_fleet()
    now = fleet.trust
    credentials = fleet.member(Role.CONTROLLER)
    context = dial._context(now, credentials)
    assert dial._context(attrs.evolve(now), credentials) is context
    assert dial._context(now, fleet.member(Role.CONTROLLER)) is not context
    rotated = attrs.evolve(now, next_fleet_ca=fleet.rotated(Authority.FLEET).trust.fleet_ca)
    both = dial._context(rotated, credentials)
    assert both is not context
    assert len(both.get_ca_certs()) == 2
