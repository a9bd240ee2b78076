"""A device before its enrolment, which has a root hash and nothing else."""

import pytest

from pharos.wire.errors import PeerRejectedError
from pharos.wire.pki.keys import certificate_to_der as der
from pharos.wire.pki.roles import Authority, Role
from pharos.wire.pki.trust import Trust
from pharos.wire.pki.verify import verify_presented_chain
from tests.support.pki import home_fleet, make_fleet, other_fleet, sign_certificate, utc_now

HOME = home_fleet()
NOW = utc_now()
RELAY = der(HOME.member(Role.RELAY, "r1").certificate)
FLEET_CA, ROOT = der(HOME.trust.fleet_ca), der(HOME.trust.root)


def presented(*chain: bytes) -> Trust:
    return verify_presented_chain(chain, root_hash=HOME.root_hash, relay_id="r1", now=NOW)


def test_presented_chain_establishes_trust() -> None:
    assert presented(RELAY, FLEET_CA, ROOT) == Trust(root=HOME.trust.root, fleet_ca=HOME.trust.fleet_ca)


def test_presented_chain_of_another_relay_role_or_fleet_is_refused() -> None:
    other = other_fleet()
    strangers = {
        "another id": (der(HOME.member(Role.RELAY, "r2").certificate), FLEET_CA, ROOT),
        "another role": (der(HOME.member(Role.NODE, "r1").certificate), FLEET_CA, ROOT),
        "a device": (der(HOME.member(Role.DEVICE, "r1").certificate), FLEET_CA, ROOT),
        "its device ca": (RELAY, der(HOME.trust.anchor(Authority.DEVICE)), ROOT),
        "another fleet": (
            der(other.member(Role.RELAY, "r1").certificate),
            der(other.trust.fleet_ca),
            der(other.trust.root),
        ),
        "another root": (RELAY, FLEET_CA, der(other.trust.root)),
        "another fleet ca": (RELAY, der(other.trust.fleet_ca), ROOT),
        "no root": (RELAY, FLEET_CA),
        "doubled": (RELAY, FLEET_CA, FLEET_CA, ROOT),
        "reversed": (ROOT, FLEET_CA, RELAY),
        "nothing": (),
        "junk": (b"\x30\x80", FLEET_CA, ROOT),
    }
    for name, chain in strangers.items():
        with pytest.raises(PeerRejectedError):
            pytest.fail(f"{name}: {presented(*chain)}")


def test_true_root_behind_a_forged_authority_is_refused() -> None:
    """An attacker can present the fleet's public root; nothing below it is theirs to sign."""
    evil = make_fleet()
    leaf = evil.forge(HOME.identity(Role.RELAY, "r1")).certificate
    forged_ca = sign_certificate(
        subject=HOME.trust.fleet_ca.subject,
        public_key=evil.fleet_ca_key.public_key(),
        template=tuple((found.value, found.critical) for found in HOME.trust.fleet_ca.extensions),
        issuer=HOME.trust.root.subject,
        issuer_key=evil.root_key,
    )
    with pytest.raises(PeerRejectedError, match="not signed"):
        presented(der(leaf), der(forged_ca), ROOT)
