"""What new handshakes go by, and who is put out when it changes."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
import trio

from pharos.wire.errors import PeerRejectedError
from pharos.wire.pki.keys import certificate_to_der
from pharos.wire.pki.profile import spki_hash
from pharos.wire.pki.roles import INGRESS, Role
from pharos.wire.standing import Standing
from tests.support.agents import joined
from tests.support.pki import home_fleet, utc_now

HOME = home_fleet()
ANN = HOME.member(Role.DEVICE, "ann")
LEAF = certificate_to_der(ANN.certificate)
IDENTITY = HOME.identity(Role.DEVICE, "ann")


def relay(folder: Path, ahead: datetime.timedelta = datetime.timedelta()) -> Standing:
    membership = joined(folder, Role.RELAY, "gate").membership(now=utc_now())
    return Standing(membership, wall=lambda: utc_now() + ahead)


@pytest.mark.parametrize("seen", [True, False], ids=["judged by this trust", "judged by one before it"])
async def test_session_is_cut_by_the_key_alone(tmp_path: Path, seen: bool) -> None:
    standing = relay(tmp_path)
    if seen:
        assert standing.admit(INGRESS, LEAF) == IDENTITY
    cut = False
    with standing.session(IDENTITY, LEAF):
        assert standing.deny(HOME.deny_list(keys=[spki_hash(ANN.certificate.public_key())])) == (IDENTITY,)
        await trio.lowlevel.checkpoint_if_cancelled()
        cut = True
    assert not cut


async def test_list_that_comes_between_check_and_session_is_not_missed(tmp_path: Path) -> None:
    standing = relay(tmp_path)
    standing.admit(INGRESS, LEAF)
    standing.deny(HOME.deny_list(IDENTITY))
    with pytest.raises(PeerRejectedError, match="revoked"), standing.session(IDENTITY, LEAF):
        pass


async def test_stranger_has_no_session_to_cut(tmp_path: Path) -> None:
    standing = relay(tmp_path)
    assert standing.admit(INGRESS, None) is None
    with standing.session(None, None):
        assert standing.deny(HOME.deny_list(IDENTITY)) == ()


async def test_context_is_made_once_until_something_changes(tmp_path: Path) -> None:
    standing = relay(tmp_path)
    context = standing.context(INGRESS)
    assert standing.context(INGRESS) is context
    standing.believe(standing.membership.trust)
    assert standing.context(INGRESS) is not context


async def test_expired_certificate_is_not_revived_by_a_clock_that_goes_back(tmp_path: Path) -> None:
    standing = relay(tmp_path)
    standing.floor.see_signature(ANN.certificate.not_valid_after_utc + datetime.timedelta(days=1))
    with pytest.raises(PeerRejectedError):
        standing.admit(INGRESS, LEAF)
    # Red: by the wall clock alone it is good.
    assert relay(tmp_path).admit(INGRESS, LEAF) == IDENTITY
