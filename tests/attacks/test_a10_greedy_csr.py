"""Row 10. Position: whoever may send a CSR. Wants: a subject, names, a CA bit or usages of its own choosing.

Countermeasure: a CSR contributes its public key and the proof of possession; the template is made of the authorization.
"""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from pharos.wire.errors import PeerRejectedError, RemoteProtocolError
from pharos.wire.pki.csr import make_csr, verify_csr
from pharos.wire.pki.issue import issue
from pharos.wire.pki.keys import certificate_to_der as der
from pharos.wire.pki.keys import generate_key
from pharos.wire.pki.policy import authorize_issue
from pharos.wire.pki.profile import leaf_template
from pharos.wire.pki.roles import Role
from pharos.wire.pki.verify import authorize_peer
from tests.support.pki import ground_for, home_fleet, sign_certificate, utc_now
from tests.wire.pki import test_issue as issuing

HOME = home_fleet()
CONTROLLER = HOME.identity(Role.CONTROLLER, "evil")


def is_controller(certificate: x509.Certificate) -> bool:
    try:
        authorize_peer(der(certificate), trust=HOME.trust, roles={Role.CONTROLLER}, peer_id=None, now=utc_now())
    except PeerRejectedError:
        return False
    return True


@pytest.mark.red_inside
def test_a10_node_that_asks_to_be_the_controller_is_a_node() -> None:
    key = generate_key()
    wishes = leaf_template(CONTROLLER, key.public_key(), ca=HOME.trust.fleet_ca)
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    for extension, critical in wishes:
        builder = builder.add_extension(extension, critical)
    csr = builder.sign(key, hashes.SHA256())
    # Red: an issuer that copies what it is asked for.
    copied = sign_certificate(
        subject=csr.subject,
        public_key=verify_csr(csr.public_bytes(serialization.Encoding.DER)),
        template=tuple((extension.value, extension.critical) for extension in csr.extensions),
        issuer=HOME.trust.fleet_ca.subject,
        issuer_key=HOME.fleet_ca_key,
    )
    assert is_controller(copied)
    node = HOME.identity(Role.NODE)
    issued = issue(
        authorize_issue(node, ground_for(node)),
        verify_csr(csr.public_bytes(serialization.Encoding.DER)),
        ca=HOME.trust.fleet_ca,
        ca_key=HOME.fleet_ca_key,
        now=utc_now(),
        serial=1,
    )
    assert not is_controller(issued)
    assert [(found.value, found.critical) for found in issued.extensions] == list(
        leaf_template(node, key.public_key(), ca=HOME.trust.fleet_ca)
    )


def test_a10_issued_certificate_equals_the_template_whatever_is_asked() -> None:
    issuing.test_issued_certificate_equals_the_template_whatever_the_csr_says()


@pytest.mark.red_inside
def test_a10_request_for_a_key_that_signed_nothing_is_refused() -> None:
    """Two keys in one request: one stands in it, another signed."""
    mine, theirs = generate_key(), generate_key()
    request = x509.load_der_x509_csr(make_csr(mine))
    spki = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    swapped = make_csr(mine).replace(request.public_key().public_bytes(*spki), theirs.public_key().public_bytes(*spki))
    # Red: it parses, and names the key of somebody else.
    assert x509.load_der_x509_csr(swapped).public_key() == theirs.public_key()
    with pytest.raises(RemoteProtocolError, match="possession"):
        verify_csr(swapped)
