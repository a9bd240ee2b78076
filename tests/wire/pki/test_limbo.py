"""x509-limbo (C2SP, https://x509-limbo.com): 208 chains, with what RFC 5280 and the Web PKI make of each.

None of them is of our profile, so three questions are asked of each case.

1. The whole check: nobody in limbo is a member, and nothing but `PeerRejectedError` comes of asking.
2. The path, which is where a verifier of certificates can go wrong: `load_certificate`, and `verify_path` with what a
   certificate of the Web has as well, exactly the expected name and exactly the one extended key usage. What it says is
   what limbo expects, or the case is named in `TOO_LENIENT` or `TOO_STRICT` with a reason, and the reason is checked.
3. The anchors: none would ever be configured as a root or an intermediate of ours. That is where faults above the leaf
   are caught (`FAULT_ABOVE`), for the chain that a peer sends is not read.
"""

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


def verifies(case: Case, anchors: str) -> bool:
    """Tell whether the leaf verifies with one of these certificates as our anchor."""
    return not refuses(lambda: verify_case(case, certificates_in(case, anchors)))


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
    def is_refused(anchor: bytes) -> bool:
        return refuses(lambda: verify_root(anchor, root_hash=hash_of(anchor), now=time_of(case)))

    return all(is_refused(der(anchor)) for anchor in certificates_in(case, "trusted_certs"))


def hash_of(certificate: bytes) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        key = x509.load_der_x509_certificate(certificate).public_key()
    return spki_hash(key)


def has_odd_criticality(case: Case) -> bool:
    extensions = load_certificate(leaf_of(case)).extensions
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName)
    usages = extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    return not names.critical or usages.critical


def is_no_id(case: Case) -> bool:
    with pytest.raises(ValueError, match="not an id"):
        Identity(fleet=HOME.id, role=Role.NODE, id=case["expected_peer_name"]["value"].split(".")[0])
    return True


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
    Reason.INTERMEDIATE: lambda case: verifies(case, "untrusted_intermediates"),
    Reason.RSA: has_rsa_key,
    Reason.MORE_NAMES: other_names,
    Reason.NO_USAGE: lambda case: not has(case, x509.ExtendedKeyUsage),
    Reason.AUTHORITY: is_authority,
    Reason.NO_KEY_USAGE: anchor_has_no_key_usage,
}

# Limbo refuses, the path alone does not; the whole check does, for the reason given.
TOO_LENIENT = {
    Reason.NO_CRLS: [
        "crl::revoked-certificate-with-crl",
        "crl::crlnumber-missing",
        "crl::crlnumber-critical",
        "crl::issuer-missing-crlsign",
    ],
    Reason.ANCHOR: [
        "rfc5280::aki::cross-signed-root-missing-aki",
        "rfc5280::nc::permitted-dns-match-noncritical",
        "rfc5280::ski::root-missing-ski",
        "webpki::aki::root-with-aki-authoritycertissuer",
        "webpki::aki::root-with-aki-authoritycertserialnumber",
        "webpki::aki::root-with-aki-all-fields",
        "webpki::aki::root-with-aki-ski-mismatch",
        "webpki::forbidden-rsa-not-divisible-by-8-in-root",
    ],
    Reason.SUBJECT: [
        "webpki::cn::ipv4-hex-mismatch",
        "webpki::cn::ipv4-leading-zeros-mismatch",
        "webpki::cn::ipv6-uppercase-mismatch",
        "webpki::cn::ipv6-uncompressed-mismatch",
        "webpki::cn::ipv6-non-rfc5952-mismatch",
        "webpki::cn::punycode-not-in-san",
        "webpki::cn::utf8-vs-punycode-mismatch",
        "webpki::cn::case-mismatch",
        "webpki::san::san-critical-with-nonempty-subject",
    ],
    Reason.CRITICALITY: ["rfc5280::san::noncritical-with-empty-subject", "webpki::eku::ee-critical-eku"],
    Reason.NAME: ["rfc5280::san::underscore-dns"],
}

# Limbo accepts, the path does not.
TOO_STRICT = {
    Reason.INTERMEDIATE: [
        "cve::cve-2024-0567",
        "pathlen::ee-with-intermediate-pathlen-0",
        "pathlen::ee-with-intermediate-pathlen-1",
        "pathlen::ee-with-intermediate-pathlen-2",
        "pathlen::intermediate-pathlen-may-increase",
        "pathlen::self-issued-certs-pathlen",
        "pathlen::max-chain-depth-1",
        "pathlen::max-chain-depth-1-self-issued",
        "rfc5280::nc::permitted-self-issued",
        "rfc5280::nc::nc-forbids-alternate-chain-ica",
        "rfc5280::nc::nc-forbids-same-chain-ica",
        "rfc5280::nc::nc-permits-email-exact",
        "rfc5280::nc::nc-permits-email-domain",
        "rfc5280::nc::nc-permits-email-literal-asterisk-exact-match",
        "rfc5280::nc::nc-permits-email-literal-double-asterisk",
        "rfc5280::nc::nc-permits-email-literal-mid-asterisk",
        "rfc5280::nc::nc-forbids-othername-noop",
        "rfc5280::validity::notbefore-exact",
        "rfc5280::validity::notafter-exact",
        "rfc5280::validity::notafter-fractional",
        "rfc5280::unknown-critical-extension-unrelated-intermediate",
        "online::apple.com",
        "online::storage.googleapis.com",
    ],
    Reason.RSA: [
        "webpki::cryptographydotio-chain",
        "online::aws.amazon.com",
        "online::fastly.com",
        "online::microsoft.com",
        "online::amazon.com",
        "online::s3.amazonaws.com",
        "online::docs.python.org",
        "online::bing.com",
    ],
    Reason.MORE_NAMES: [
        "rfc5280::nc::permitted-dn-match",
        "webpki::nc::nc-permits-dns-san-pattern",
        "webpki::san::leftmost-wildcard-san",
        "online::google.com",
        "online::stackoverflow.com",
        "online::cloudflare.com",
        "online::facebook.com",
        "online::akamai.com",
    ],
    Reason.NO_USAGE: ["rfc5280::eku::ee-without-eku"],
    Reason.AUTHORITY: ["pathlen::validation-ignores-pathlen-in-leaf", "rfc5280::ca-as-leaf"],
    Reason.NO_KEY_USAGE: ["crl::issuer-no-keyusage-extension"],
}

# Limbo refuses the chain, and the leaf would verify below one of its intermediates: the fault is further up, or in an
# intermediate itself. Ours are configured after `verify_intermediate`, which takes none of these.
FAULT_ABOVE = [
    "pathlen::intermediate-violates-pathlen-0",
    "pathlen::intermediate-pathlen-too-long",
    "pathlen::max-chain-depth-0-exhausted",
    "pathlen::max-chain-depth-1-exhausted",
    "pathological::intermediate-cycle-distinct-cas",
    "pathological::intermediate-cycle-distinct-cas-max-depth",
    "pathological::pathological-chain-distinct-subject-distinct-key",
    "pathological::pathological-chain-same-subject-distinct-key",
    "pathological::pathological-chain-distinct-subject-same-key",
    "pathological::pathological-chain-same-subject-same-key",
    "rfc5280::aki::intermediate-missing-aki",
    "rfc5280::nc::excluded-self-issued-leaf",
    "rfc5280::nc::intermediate-with-san-rejected-by-intermediate-nc",
    "rfc5280::nc::intermediate-with-san-rejected-by-root-nc",
    "rfc5280::pc::ica-noncritical-pc",
    "rfc5280::ski::intermediate-missing-ski",
    "rfc5280::validity::expired-root",
    "rfc5280::chain-untrusted-root",
]

LENIENT, STRICT = (
    {name: reason for reason, names in table.items() for name in names} for table in (TOO_LENIENT, TOO_STRICT)
)


# --- the questions


def test_nobody_in_limbo_is_a_member() -> None:
    for case in CASES.values():
        anchor = certificates_in(case, "trusted_certs")[0]
        trust = Trust(root=HOME.trust.root, fleet_ca=anchor, device_ca=anchor)
        with pytest.raises(PeerRejectedError):
            authorize_peer(leaf_of(case), trust=trust, roles=frozenset(Role), peer_id=None, now=time_of(case))


def test_path_is_judged_as_limbo_has_it_or_for_a_reason() -> None:
    differing = {
        name
        for name, case in CASES.items()
        if verifies(case, "trusted_certs") is (case["expected_result"] == "FAILURE")
    }
    assert differing == LENIENT.keys() | STRICT.keys()
    for name, reason in (LENIENT | STRICT).items():
        case = CASES[name]
        assert case["expected_result"] == ("FAILURE" if name in LENIENT else "SUCCESS"), name
        assert APPLIES[reason](case), name


def test_faults_above_the_leaf_are_caught_where_anchors_are_configured() -> None:
    verified_below = {
        name
        for name, case in CASES.items()
        if case["expected_result"] == "FAILURE" and verifies(case, "untrusted_intermediates")
    }
    assert verified_below == set(FAULT_ABOVE)


def test_no_anchor_of_limbo_would_be_configured() -> None:
    for name, case in CASES.items():
        assert anchors_are_refused(case), name
        roots, intermediates = (certificates_in(case, which) for which in ("trusted_certs", "untrusted_intermediates"))
        for certificate in (*roots, *intermediates):
            for authority in Authority:
                with pytest.raises(PeerRejectedError):
                    verify_intermediate(der(certificate), authority=authority, root=roots[0], now=time_of(case))


def test_no_chain_of_limbo_is_taken_from_a_relay() -> None:
    for case in CASES.values():
        chain = [leaf_of(case), *map(der, certificates_in(case, "untrusted_intermediates"))]
        root = der(certificates_in(case, "trusted_certs")[0])
        for presented in (chain, [*chain, root], [chain[0], root, root]):
            with pytest.raises(PeerRejectedError):
                verify_presented_chain(presented, root_hash=hash_of(root), relay_id="one", now=time_of(case))


def test_every_difference_is_of_a_case_and_has_one_reason() -> None:
    assert {*LENIENT, *STRICT, *FAULT_ABOVE} <= CASES.keys()
    assert not LENIENT.keys() & STRICT.keys()
    assert len(LENIENT) + len(STRICT) == sum(map(len, (*TOO_LENIENT.values(), *TOO_STRICT.values())))
    assert set(APPLIES) == {*TOO_LENIENT, *TOO_STRICT} == set(Reason)
    assert len(CASES) == 208


def test_bombs_are_refused_before_they_are_parsed() -> None:
    for name in ("pathological::nc-dos-1", "pathological::nc-dos-2", "pathological::nc-dos-3"):
        bomb = leaf_of(CASES[name])
        assert len(bomb) > MAX_CERTIFICATE
        with pytest.raises(PeerRejectedError, match="limit"):
            load_certificate(bomb)
