"""A leaf that was verified before is judged anew in everything that can change: time, role, id, trust, deny list."""

from __future__ import annotations

import datetime

import attrs
import pytest

from pharos.wire.errors import PeerRejectedError
from pharos.wire.pki import verified, verify
from pharos.wire.pki.keys import certificate_to_der as der
from pharos.wire.pki.roles import Authority, Role
from pharos.wire.pki.trust import Trust, load_certificate
from pharos.wire.pki.verified import Verified, VerifiedLeaves
from pharos.wire.pki.verify import authorize_peer
from tests.support.pki import home_fleet, make_fleet, utc_now

HOME = home_fleet()
NOW = utc_now()
SECOND = datetime.timedelta(seconds=1)


@pytest.fixture
def trust() -> Trust:
    """HOME's, having seen nobody yet."""
    return attrs.evolve(HOME.trust)


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Every leaf that was parsed and verified."""
    leaves: list[bytes] = []

    def counting(der: bytes) -> object:
        leaves.append(der)
        return load_certificate(der)

    monkeypatch.setattr(verify, "load_certificate", counting)
    return leaves


def admits(leaf: bytes, trust: Trust, *, now: datetime.datetime = NOW) -> bool:
    try:
        authorize_peer(leaf, trust=trust, roles=frozenset(Role), peer_id=None, now=now)
    except PeerRejectedError:
        return False
    return True


def test_leaf_seen_again_is_not_parsed_again(trust: Trust, parsed: list[bytes]) -> None:
    leaf = der(HOME.member(Role.NODE).certificate)
    seen = [authorize_peer(leaf, trust=trust, roles={Role.NODE}, peer_id="one", now=NOW) for _ in range(5)]
    assert seen == [HOME.identity(Role.NODE)] * 5
    assert parsed == [leaf]


@pytest.mark.parametrize("role", Role)
def test_same_times_are_refused_whether_the_leaf_is_known_or_not(role: Role, trust: Trust) -> None:
    certificate = HOME.member(role).certificate
    leaf = der(certificate)
    anchor = trust.anchor(role.authority)
    edges = [
        certificate.not_valid_before_utc,
        certificate.not_valid_after_utc,
        anchor.not_valid_before_utc,
        anchor.not_valid_after_utc,
    ]
    for edge in edges:
        for moment in (edge - SECOND, edge, edge + 0.5 * SECOND, edge + SECOND):
            assert admits(leaf, trust)
            assert len(trust.verified) == 1
            assert admits(leaf, trust, now=moment) == admits(leaf, attrs.evolve(trust), now=moment), moment


def test_leaf_outlives_its_authority_in_no_memory(trust: Trust) -> None:
    """Row 7: the anchor's end counts as the leaf's own does."""
    leaf, anchor = HOME.member(Role.NODE).certificate, trust.fleet_ca
    ended = leaf.not_valid_after_utc - SECOND
    short = attrs.evolve(Verified.of(leaf, HOME.identity(Role.NODE), anchor=anchor), not_after=ended)
    assert Verified.of(anchor, HOME.identity(Role.NODE), anchor=leaf).not_after == leaf.not_valid_after_utc
    trust.verified.remember(der(leaf), short)
    assert trust.verified.recall(der(leaf), ended) == short
    assert trust.verified.recall(der(leaf), ended + SECOND) is None


def test_known_leaf_gets_no_other_role_or_id(trust: Trust) -> None:
    leaf = der(HOME.member(Role.NODE).certificate)
    assert admits(leaf, trust)
    with pytest.raises(PeerRejectedError, match="no business"):
        authorize_peer(leaf, trust=trust, roles={Role.RELAY}, peer_id=None, now=NOW)
    with pytest.raises(PeerRejectedError, match="is not two"):
        authorize_peer(leaf, trust=trust, roles={Role.NODE}, peer_id="two", now=NOW)


def test_failures_are_never_remembered(trust: Trust, parsed: list[bytes]) -> None:
    """Row 15: whoever is refused costs the same each time, and no memory."""
    stranger = der(make_fleet().member(Role.NODE).certificate)
    expired = der(HOME.member(Role.NODE, now=NOW - datetime.timedelta(days=400)).certificate)
    for leaf in (stranger, expired, b"junk"):
        assert not admits(leaf, trust)
        assert not admits(leaf, trust)
    assert len(parsed) == 6
    assert len(trust.verified) == 0


def test_known_leaf_that_expires_is_forgotten(trust: Trust) -> None:
    certificate = HOME.member(Role.NODE).certificate
    assert admits(der(certificate), trust)
    assert not admits(der(certificate), trust, now=certificate.not_valid_after_utc + SECOND)
    assert len(trust.verified) == 0


def test_every_trust_has_a_memory_of_its_own(trust: Trust) -> None:
    leaf = der(HOME.member(Role.NODE).certificate)
    assert admits(leaf, trust)
    assert not admits(leaf, HOME.rotated(Authority.FLEET, now=NOW).trust)
    # The same fleet and device CA, another Fleet CA: what is known of the old one says nothing.
    evolved = attrs.evolve(trust, fleet_ca=HOME.rotated(Authority.FLEET, now=NOW).trust.fleet_ca)
    assert not admits(leaf, evolved)
    assert len(attrs.evolve(trust).verified) == 0
    assert attrs.evolve(trust) == trust
    assert hash(attrs.evolve(trust)) == hash(trust)


def entry(number: int) -> Verified:
    return Verified(HOME.identity(Role.NODE, f"n{number}"), b"h", NOW - SECOND, NOW + SECOND)


def test_memory_holds_no_more_than_it_says() -> None:
    leaves = VerifiedLeaves()
    for number in range(verified.REMEMBERED + 100):
        leaves.remember(b"leaf %d" % number, entry(number))
        # The first is used again and again, and stays.
        assert leaves.recall(b"leaf 0", NOW) == entry(0)
        assert len(leaves) <= verified.REMEMBERED
    assert leaves.recall(b"leaf 1", NOW) is None
    assert leaves.recall(b"leaf %d" % (verified.REMEMBERED + 99), NOW) is not None


def test_large_leaf_is_verified_each_time() -> None:
    leaves = VerifiedLeaves()
    leaves.remember(bytes(verified.LARGEST_REMEMBERED + 1), entry(0))
    assert len(leaves) == 0


def test_leaves_of_our_profile_are_small_enough() -> None:
    for role in Role:
        assert len(der(HOME.member(role).certificate)) <= verified.LARGEST_REMEMBERED
