"""Row 9. Position: an authority's key. Wants: a certificate for a name outside the fleet, or for an address.

Countermeasure: both authorities are constrained to `<fid>.internal` and exclude all IPs, which both verifiers enforce;
leaves carry no address, and whoever dials an address asks for the name behind it.
"""

import ipaddress
import ssl

import pytest
from cryptography import x509

from pharos.wire.pki.keys import certificate_to_der as der
from pharos.wire.pki.roles import CONTROL, Role
from pharos.wire.pki.tls import client_context, server_context
from tests.support.pki import home_fleet
from tests.support.tls import shake_hands
from tests.wire.pki import test_shapes as shapes

HOME = home_fleet()
OUTSIDE: list[x509.GeneralName] = [
    x509.DNSName("helm.example"),
    x509.DNSName("internal"),
    x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    x509.IPAddress(ipaddress.ip_address("::1")),
]


@pytest.mark.parametrize("outside", OUTSIDE, ids=lambda name: str(name.value))
@pytest.mark.red_inside
def test_a09_name_outside_the_constraint_is_refused_in_tls(outside: x509.GeneralName) -> None:
    uri = x509.UniformResourceIdentifier(HOME.identity(Role.NODE).uri)
    forged = HOME.forge(HOME.identity(Role.NODE), change=[(x509.SubjectAlternativeName([uri, outside]), True)])
    server = server_context(forged, trust=HOME.trust, policy=CONTROL)
    controller = HOME.member(Role.CONTROLLER)
    # Red: a Fleet CA without its constraint.
    weakened = client_context(trust=HOME.unconstrained().trust, credentials=controller)
    near, _ = shake_hands(server, weakened, server_hostname=str(outside.value))
    assert near.getpeercert(binary_form=True) == der(forged.certificate)
    with pytest.raises(ssl.SSLCertVerificationError, match="subtree violation"):
        shake_hands(
            server,
            client_context(trust=HOME.trust, credentials=controller),
            server_hostname=str(outside.value),
        )


@pytest.mark.red_inside
def test_a09_name_outside_the_constraint_is_refused_by_the_path() -> None:
    # Red inside: the same certificate with a name inside passes the library's defaults.
    shapes.test_names_outside_the_constraint_of_the_authority_fail_by_themselves()


def test_a09_address_is_never_what_is_compared() -> None:
    """A node's genuine certificate does not verify for the address that it is reached at."""
    server = server_context(HOME.member(Role.NODE), trust=HOME.trust, policy=CONTROL)
    dialler = client_context(trust=HOME.trust, credentials=HOME.member(Role.CONTROLLER))
    shake_hands(server, dialler, server_hostname=HOME.identity(Role.NODE).dns_name)
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        shake_hands(server, dialler, server_hostname="127.0.0.1")
