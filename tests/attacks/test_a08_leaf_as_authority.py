"""Row 8. Position: a member's certificate and key. Wants: to sign certificates with them, or pass for an authority.

Countermeasure: leaves say CA=false and are held to it; the path is one step long, from a configured intermediate.
"""

import pytest
from cryptography import x509
from cryptography.x509.verification import ExtensionPolicy

from pharos.wire.errors import PeerRejectedError
from pharos.wire.pki.keys import generate_key
from pharos.wire.pki.profile import leaf_template
from pharos.wire.pki.roles import Role
from pharos.wire.pki.verify import verify_path
from tests.support.pki import sign_certificate, utc_now
from tests.wire.pki import test_trust as trust
from tests.wire.pki import test_verify as verify

HOME = verify.HOME


@pytest.mark.parametrize("path_length", [None, 0, 1])
@pytest.mark.red_inside
def test_a08_leaf_that_says_it_is_an_authority_is_refused(path_length: int | None) -> None:
    change = [(x509.BasicConstraints(ca=True, path_length=path_length), True)]
    leaf = HOME.forge(HOME.identity(Role.NODE), change=change).certificate
    # Red: a path whose leaf nobody looks at.
    verify_path(
        leaf,
        anchor=HOME.trust.fleet_ca,
        now=utc_now(),
        leaf_policy=ExtensionPolicy.permit_all(),
        anchor_policy=ExtensionPolicy.webpki_defaults_ca(),
    )
    with pytest.raises(PeerRejectedError, match="does not verify"):
        verify.authorize(leaf)


@pytest.mark.red_inside
def test_a08_certificate_that_a_leaf_signed_is_refused() -> None:
    node, key = HOME.member(Role.NODE), generate_key()
    minted = sign_certificate(
        subject=x509.Name([]),
        public_key=key.public_key(),
        template=leaf_template(HOME.identity(Role.CONTROLLER), key.public_key(), ca=node.certificate),
        issuer=node.certificate.subject,
        issuer_key=node.key,
    )
    # Red: each signature is good, and each certificate is its issuer's; nobody asks whether the issuer may.
    minted.verify_directly_issued_by(node.certificate)
    node.certificate.verify_directly_issued_by(HOME.trust.fleet_ca)
    with pytest.raises(PeerRejectedError, match="does not verify"):
        verify.authorize(minted)


def test_a08_intermediate_of_an_intermediate_is_not_configured() -> None:
    for missing in range(6):
        trust.test_intermediate_without_one_of_its_limits_is_refused(missing)
    trust.test_intermediate_that_the_root_did_not_sign_is_refused()


@pytest.mark.red_inside
def test_a08_published_path_cases_are_refused() -> None:
    from tests.wire.pki import test_limbo as limbo  # skips this test alone where the vectors are missing

    limbo.test_path_is_judged_as_limbo_has_it_or_for_a_reason()
    # Red inside: each of these verifies for one who takes such an intermediate.
    limbo.test_faults_above_the_leaf_are_caught_where_anchors_are_configured()
    limbo.test_no_anchor_of_limbo_would_be_configured()
