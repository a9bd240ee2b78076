"""x509-limbo (C2SP, https://x509-limbo.com): 208 certificates and chains, with what RFC 5280 and the Web PKI make of each.

None of them is of our profile, so three questions are asked of each case.

1. The whole check: nobody in limbo is a member, and nothing but `PeerRejectedError` comes of asking.
2. The path, which is where a verifier of certificates can go wrong: `load_certificate`, and `verify_path` with what a
   certificate of the Web has as well, exactly the expected name and exactly the one extended key usage. What it says is
   what limbo expects, or the case is named in `TOO_LENIENT` or `TOO_STRICT` with a reason, and the reason is checked.
3. The anchors: none would ever be configured as a root or an intermediate of ours.
"""

import base64
import datetime
import enum
import ipaddress
import ssl
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import Criticality, ExtensionPolicy

from pharos.wire.errors import PeerRejectedError
from pharos.wire.pki.keys import certificate_to_der as der
from pharos.wire.pki.profile import spki_hash
from pharos.wire.pki.roles import Authority, Identity, Role
from pharos.wire.pki.trust import MAX_CERTIFICATE, Trust, load_certificate, verify_intermediate, verify_root
from pharos.wire.pki.verify import authorize_peer, require_equal, verify_path, verify_presented_chain
from tests.support.pki import home_fleet, utc_now
from tests.support.vectors import load_vectors

Case = dict[str, Any]
CASES: dict[str, Case] = {case["id"]: case for case in load_vectors("x509-limbo/limbo-generated.json")["testcases"]}
HOME = home_fleet()

every_case = pytest.mark.parametrize("name", CASES)


def leaf_of(case: Case) -> bytes:
    return ssl.PEM_cert_to_DER_cert(case["peer_certificate"])


def certificates_in(case: Case, member: str) -> list[x509.Certificate]:
    with warnings.catch_warnings():
        # Some are against the rules on purpose.
        warnings.simplefilter("ignore")
        return [x509.load_pem_x509_certificate(pem.encode()) for pem in case[member]]


def names_of(case: Case) -> list[x509.GeneralName]:
    makers: dict[str, Callable[[str], x509.GeneralName]] = {
        "DNS": x509.DNSName,
        "IP": lambda value: x509.IPAddress(ipaddress.ip_address(value)),
        "RFC822": x509.RFC822Name,
    }
    expected = [case["expected_peer_name"]] if case["expected_peer_name"] else case["expected_peer_names"]
    return [makers[name["kind"]](name["value"]) for name in expected]


def time_of(case: Case) -> datetime.datetime:
    return datetime.datetime.fromisoformat(case["validation_time"]) if case["validation_time"] else utc_now()


def verify_case(case: Case, anchors: list[x509.Certificate]) -> None:
    """Raises: PeerRejectedError — no anchor verifies the leaf."""
    leaf = load_certificate(leaf_of(case))
    usage = ExtendedKeyUsageOID.CLIENT_AUTH if case["validation_kind"] == "CLIENT" else ExtendedKeyUsageOID.SERVER_AUTH
    policy = ExtensionPolicy.webpki_defaults_ee()
    for expected in (x509.SubjectAlternativeName(names_of(case)), x509.ExtendedKeyUsage([usage])):
        policy = require_equal(policy, expected, Criticality.AGNOSTIC)
    refusal = PeerRejectedError("no anchor")
    for anchor in anchors:
        try:
            return verify_path(
                leaf,
                anchor=anchor,
                now=time_of(case),
                leaf_policy=policy,
                anchor_policy=ExtensionPolicy.webpki_defaults_ca(),
            )
        except PeerRejectedError as error:
            refusal = error
    raise refusal


def refuses(judge: Callable[[], object]) -> bool:
    try:
        judge()
    except PeerRejectedError:
        return True
    return False


# --- the reasons, each with the proof that it applies


class Reason(enum.Enum):
    """Why we differ from limbo."""

    NO_CRLS = "the fleet has no CRLs: a signed deny list takes their place, and is asked after the path"
    ANCHOR = "the fault is the anchor's: anchors are configured, and judged by our profile when they are"
    SUBJECT = "the fault is in or about the subject: ours has to be empty, and is not read"
    CRITICALITY = "the profile requires the criticality that is at fault here"
    NAME = "the fault is in a name that no id of ours can make"
    INTERMEDIATE = "the intermediate comes from the peer, whose chain is not read; configured, it verifies the leaf"
    RSA = "the leaf's key is RSA"
    MORE_NAMES = "the leaf has other names than exactly the one expected, or a wildcard for it"
    NO_USAGE = "the leaf has no extended key usage"
    AUTHORITY = "the leaf is a certificate authority"
    NO_KEY_USAGE = "the issuer has no key usage"


def anchors_are_refused(case: Case) -> bool:
    return all(
        refuses(lambda der=der(anchor): verify_root(der, root_hash=hash_of(der), now=time_of(case)))
        for anchor in certificates_in(case, "trusted_certs")
    )


def hash_of(certificate: bytes) -> bytes:
    return spki_hash(x509.load_der_x509_certificate(certificate).public_key())


def has_odd_criticality(case: Case) -> bool:
    extensions = load_certificate(leaf_of(case)).extensions
    profile = {x509.SubjectAlternativeName: True, x509.ExtendedKeyUsage: False}
    return any(extensions.get_extension_for_class(kind).critical is not critical for kind, critical in profile.items())


def is_no_id(case: Case) -> bool:
    with pytest.raises(ValueError, match="not an id"):
        Identity(fleet=HOME.id, role=Role.NODE, id=case["expected_peer_name"]["value"].split(".")[0])
    return True


def verifies_with_its_intermediate(case: Case) -> bool:
    return not refuses(lambda: verify_case(case, certificates_in(case, "untrusted_intermediates")))


def has(case: Case, kind: type[x509.ExtensionType]) -> bool:
    extensions = load_certificate(leaf_of(case)).extensions
    return any(isinstance(extension.value, kind) for extension in extensions)


def other_names(case: Case) -> bool:
    names = load_certificate(leaf_of(case)).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return list(names) != names_of(case)


def is_authority(case: Case) -> bool:
    extensions = load_certificate(leaf_of(case)).extensions
    return extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def has_rsa_key(case: Case) -> bool:
    with pytest.raises(PeerRejectedError, match="key must be"):
        load_certificate(leaf_of(case))
    return True


def anchor_has_no_key_usage(case: Case) -> bool:
    return all(
        all(not isinstance(extension.value, x509.KeyUsage) for extension in anchor.extensions)
        for anchor in certificates_in(case, "trusted_certs")
    )


APPLIES: dict[Reason, Callable[[Case], bool]] = {
    Reason.NO_CRLS: lambda case: bool(case["crls"]),
    Reason.ANCHOR: anchors_are_refused,
    Reason.SUBJECT: lambda case: len(load_certificate(leaf_of(case)).subject.rdns) > 0,
    Reason.CRITICALITY: has_odd_criticality,
    Reason.NAME: is_no_id,
    Reason.INTERMEDIATE: verifies_with_its_intermediate,
    Reason.RSA: has_rsa_key,
    Reason.MORE_NAMES: other_names,
    Reason.NO_USAGE: lambda case: not has(case, x509.ExtendedKeyUsage),
    Reason.AUTHORITY: is_authority,
    Reason.NO_KEY_USAGE: anchor_has_no_key_usage,
}

# Limbo refuses, the path alone does not; the whole check does.
TOO_LENIENT: dict[str, Reason] = {}

# Limbo accepts, we do not.
TOO_STRICT: dict[str, Reason] = {}
