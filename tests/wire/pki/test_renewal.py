import datetime

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.errors import LocalProtocolError, PeerRejectedError, RemoteProtocolError
from pharos.wire.pki.csr import make_csr
from pharos.wire.pki.issue import issue
from pharos.wire.pki.keys import certificate_to_der as der
from pharos.wire.pki.keys import generate_key
from pharos.wire.pki.policy import Renewal
from pharos.wire.pki.renewal import KeyRule, renewal_due, renewal_time, verify_renewal, verify_renewed
from pharos.wire.pki.roles import Authority, Role
from tests.support.pki import believing_both, home_fleet, make_fleet, utc_now

HOME = home_fleet()
NOW = utc_now()
SECOND = datetime.timedelta(seconds=1)
DAY = datetime.timedelta(days=1)
NODE = HOME.member(Role.NODE)


def test_renewal_is_due_after_two_thirds_of_life() -> None:
    begin, end = NODE.certificate.not_valid_before_utc, NODE.certificate.not_valid_after_utc
    two_thirds = begin + (end - begin) * 2 / 3
    # To the second that certificates count in.
    assert not renewal_due(NODE.certificate, now=two_thirds - SECOND, jitter=0.0)
    assert renewal_due(NODE.certificate, now=two_thirds + SECOND, jitter=0.0)
    for early in (begin - DAY, begin, begin + (end - begin) / 2):
        assert not renewal_due(NODE.certificate, now=early, jitter=0.0)
    for late in (end, end + DAY):
        assert renewal_due(NODE.certificate, now=late, jitter=0.99)


@given(jitter=st.floats(0, 1, exclude_max=True))
def test_jitter_spreads_renewals_over_a_twentieth_of_life(jitter: float) -> None:
    begin, end = NODE.certificate.not_valid_before_utc, NODE.certificate.not_valid_after_utc
    at = renewal_time(NODE.certificate, jitter=jitter)
    share = (at - begin) / (end - begin)
    assert share >= 2 / 3 - 1e-9
    assert share <= 2 / 3 + 1 / 20 + 1e-9
    # helm can be away for three months.
    assert end - at > 90 * DAY


def test_jitter_out_of_range_is_refused() -> None:
    for wrong in (-0.1, 1.0, 2.0, float("nan")):
        with pytest.raises(LocalProtocolError):
            renewal_due(NODE.certificate, now=NOW, jitter=wrong)


def test_certificate_cut_short_by_its_authority_renews_by_its_own_life() -> None:
    fleet = make_fleet(now=NOW - datetime.timedelta(days=5 * 365 - 30))
    leaf = fleet.member(Role.NODE, now=NOW).certificate
    assert not renewal_due(leaf, now=NOW + 19 * DAY, jitter=0.0)
    assert renewal_due(leaf, now=NOW + 21 * DAY, jitter=0.0)


@pytest.mark.parametrize("rule", KeyRule)
@pytest.mark.parametrize("rekeyed", [False, True])
def test_rule_says_which_key_is_renewed(rule: KeyRule, rekeyed: bool) -> None:
    holder = HOME.identity(Role.NODE)
    key = generate_key() if rekeyed else NODE.key
    allowed = rule is KeyRule.EITHER or rekeyed is (rule is KeyRule.NEW)

    def ask() -> None:
        request = verify_renewal(
            make_csr(key), holder=holder, certificate=der(NODE.certificate), wanted=holder, rule=rule
        )
        assert request.rekeyed is rekeyed
        assert request.public_key == key.public_key()
        assert (request.authorization.identity, request.authorization.ground) == (holder, Renewal(holder=holder))

    if allowed:
        ask()
    else:
        with pytest.raises(RemoteProtocolError, match="key"):
            ask()


def test_renewal_for_another_name_is_refused() -> None:
    for wanted in (
        HOME.identity(Role.NODE, "two"),
        HOME.identity(Role.CONTROLLER),
        make_fleet().identity(Role.NODE),
    ):
        with pytest.raises(PeerRejectedError, match="asked to renew"):
            verify_renewal(
                make_csr(NODE.key),
                holder=HOME.identity(Role.NODE),
                certificate=der(NODE.certificate),
                wanted=wanted,
                rule=KeyRule.EITHER,
            )


def test_renewal_without_proof_of_possession_is_refused() -> None:
    csr = make_csr(generate_key())
    for bad in (csr[:-1] + bytes([csr[-1] ^ 1]), b"", b"\x30\x00"):
        with pytest.raises(RemoteProtocolError):
            verify_renewal(
                bad,
                holder=HOME.identity(Role.NODE),
                certificate=der(NODE.certificate),
                wanted=HOME.identity(Role.NODE),
                rule=KeyRule.EITHER,
            )


def renewed(key: ec.EllipticCurvePrivateKey, *, days: int) -> bytes:
    """What helm answers some days later."""
    holder = HOME.identity(Role.NODE)
    request = verify_renewal(
        make_csr(key), holder=holder, certificate=der(NODE.certificate), wanted=holder, rule=KeyRule.EITHER
    )
    return der(
        issue(
            request.authorization,
            request.public_key,
            ca=HOME.trust.fleet_ca,
            ca_key=HOME.fleet_ca_key,
            now=NOW + days * DAY,
            serial=9,
        )
    )


def test_renewed_certificate_replaces_the_old() -> None:
    for key in (generate_key(), NODE.key):
        leaf = verify_renewed(
            renewed(key, days=200),
            identity=HOME.identity(Role.NODE),
            public_key=key.public_key(),
            current=NODE.certificate,
            trust=HOME.trust,
            now=NOW + 200 * DAY,
        )
        assert leaf.not_valid_after_utc > NODE.certificate.not_valid_after_utc


def test_renewed_certificate_that_is_not_what_was_asked_for_is_refused() -> None:
    key = generate_key()
    other = make_fleet()
    answers = {
        "is for another key": renewed(generate_key(), days=0),
        "is not one": der(HOME.member(Role.NODE, "two").certificate),
        "no business": der(HOME.member(Role.RELAY).certificate),
        "another fleet": der(other.member(Role.NODE).certificate),
        "ends before": renewed(key, days=-30),
        "does not parse": b"junk",
    }
    for why, answer in answers.items():
        with pytest.raises(PeerRejectedError, match=why):
            verify_renewed(
                answer,
                identity=HOME.identity(Role.NODE),
                public_key=key.public_key(),
                current=NODE.certificate,
                trust=HOME.trust,
                now=NOW,
            )


def test_new_authority_may_end_sooner_than_the_old() -> None:
    """After a theft the new one may be made for a short time only; the old leaf's end says nothing then."""
    old = make_fleet(now=NOW - datetime.timedelta(days=5 * 365 - 30))
    new = make_fleet()
    assert old.trust.fleet_ca.not_valid_after_utc < new.trust.fleet_ca.not_valid_after_utc
    brief, long = old, old.rotated(Authority.FLEET)
    leaf, current = brief.member(Role.NODE), long.member(Role.NODE)
    assert leaf.certificate.not_valid_after_utc < current.certificate.not_valid_after_utc
    trust = believing_both(long, brief)
    verified = verify_renewed(
        der(leaf.certificate),
        identity=old.identity(Role.NODE),
        public_key=leaf.key.public_key(),
        current=current.certificate,
        trust=trust,
        now=NOW,
    )
    assert verified == leaf.certificate
