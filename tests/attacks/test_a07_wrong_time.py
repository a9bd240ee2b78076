"""Row 7. Position: a certificate that has expired, or is not valid yet, by as little as a second. Wants: to be let in.

Countermeasure: `authorize_peer` judges by the time it is given, to the second, also a leaf that it has verified before;
TLS judges by the system's besides.
"""

import datetime

import pytest

from pharos.wire.errors import PeerRejectedError
from pharos.wire.pki.roles import Role
from pharos.wire.pki.verified import VerifiedLeaves
from tests.support.pki import utc_now
from tests.wire.pki import test_clockfloor as clockfloor
from tests.wire.pki import test_verify as verify
from tests.wire.pki.test_matrix import HOME, LISTENERS, gets_in, peer_context, running

CONTROL = next(listener for listener in LISTENERS if listener.name == "buoy-control")
SECOND = datetime.timedelta(seconds=1)


@pytest.mark.red_inside
async def test_a07_expired_controller_gets_nowhere() -> None:
    """The system's clock, which TLS goes by, is kept at today: it has no objection."""
    dialler = peer_context(CONTROL, HOME, Role.CONTROLLER)
    in_thirteen_months = utc_now() + datetime.timedelta(days=395)
    # Red: a listener whose own clock stands still.
    async with running(CONTROL, clock=utc_now) as weakened:
        assert await gets_in(weakened, dialler)
    async with running(CONTROL, clock=lambda: in_thirteen_months) as target:
        assert not await gets_in(target, dialler)


def test_a07_edges_are_to_the_second() -> None:
    leaf = HOME.member(Role.CONTROLLER).certificate
    first, last = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    assert verify.authorize(leaf, now=first) == verify.authorize(leaf, now=last)
    for outside in (first - SECOND, last + SECOND):
        with pytest.raises(PeerRejectedError, match="does not verify"):
            verify.authorize(leaf, now=outside)


@pytest.mark.red_inside
def test_a07_leaf_known_from_better_days_expires_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = HOME.member(Role.CONTROLLER).certificate
    expired = certificate.not_valid_after_utc + SECOND
    # Red: a memory that does not look at the clock.
    with monkeypatch.context() as weakened:
        weakened.setattr(VerifiedLeaves, "recall", lambda self, leaf, _now: self._known.get(leaf))
        verify.authorize(certificate)
        assert verify.authorize(certificate, now=expired) == HOME.identity(Role.CONTROLLER)
    verify.authorize(certificate)
    with pytest.raises(PeerRejectedError, match="does not verify"):
        verify.authorize(certificate, now=expired)


def test_a07_authority_that_ended_vouches_for_nobody() -> None:
    verify.test_expired_authority_vouches_for_nobody()


@pytest.mark.red_inside
def test_a07_clock_set_back_revives_nothing() -> None:
    # Red inside: without a floor it does.
    clockfloor.test_clock_set_back_revives_nothing_that_expired()
