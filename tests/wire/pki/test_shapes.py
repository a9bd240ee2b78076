"""Certificates of almost the right shape, signed by the true authority (attack rows 6 to 9)."""

import ipaddress
from collections.abc import Sequence

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.errors import PeerRejectedError
from pharos.wire.pki.keys import certificate_to_der as der
from pharos.wire.pki.roles import Authority, Identity, Role
from pharos.wire.pki.verify import authorize_peer
from tests.support.pki import home_fleet, utc_now

HOME = home_fleet()
NOW = utc_now()
SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
ANY = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE


def authorize(leaf: x509.Certificate) -> Identity:
    """Ask nothing but that the leaf is somebody of the fleet."""
    return authorize_peer(der(leaf), trust=HOME.trust, roles=frozenset(Role), peer_id=None, now=NOW)


def passes_by_default(leaf: x509.Certificate, authority: Authority) -> bool:
    """The weakened build: the verifier of `cryptography` with its own defaults, as a client check."""
    verifier = PolicyBuilder().store(Store([HOME.trust.anchor(authority)])).time(NOW).build_client_verifier()
    try:
        verifier.verify(leaf, [])
    except VerificationError:
        return False
    return True


ROLES = st.sampled_from(Role)


def spellings(identity: Identity) -> st.SearchStrategy[str]:
    """URIs that a careless reader might take for the identity's, and the identity's own."""
    uri, other = identity.uri, HOME.identity(Role.CONTROLLER, "helm").uri
    return st.sampled_from(
        [
            uri,
            uri.upper(),
            uri.replace("spiffe", "SPIFFE"),
            uri + "/",
            uri.replace("/one", "%2fone"),
            uri.replace("/one", "%2Fone"),
            uri.replace("//", "//helm@"),
            uri.replace("//", "//helm:pass@"),
            uri.replace(HOME.id, HOME.id + ":443"),
            uri.replace("one", "*"),
            uri.replace("one", "o*"),
            uri.replace(identity.role.value, "*"),
            uri + "?",
            uri + "#one",
            uri + "/../helm",
            uri.replace("spiffe", "https"),
            uri[:-1],
            uri + "1",
            other,
        ]
    )


def general_names(identity: Identity) -> st.SearchStrategy[list[x509.GeneralName]]:
    others: list[x509.GeneralName] = [
        x509.DNSName(f"one.n.{HOME.id}.internal"),
        x509.DNSName(f"one.r.{HOME.id}.internal"),
        x509.DNSName(f"*.n.{HOME.id}.internal"),
        x509.DNSName(f"ONE.N.{HOME.id}.internal"),
        x509.DNSName("helm.example"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        x509.RFC822Name("one@helm.example"),
    ]
    name = spellings(identity).map(x509.UniformResourceIdentifier) | st.sampled_from(others)
    exact = st.just(list(identity.names))
    return st.lists(name, min_size=1, max_size=3) | exact | st.tuples(exact, name).map(lambda pair: [*pair[0], pair[1]])


@given(data=st.data(), role=ROLES, critical=st.booleans())
def test_names_are_compared_whole_and_byte_for_byte(data: st.DataObject, role: Role, critical: bool) -> None:
    identity = HOME.identity(role)
    names = x509.SubjectAlternativeName(data.draw(general_names(identity)))
    leaf = HOME.forge(identity, change=[(names, critical)]).certificate
    try:
        proven = authorize(leaf)
    except PeerRejectedError:
        assert names != identity.names or not critical
    else:
        # Another member of the same authority may have been drawn whole.
        assert (names, critical) == (proven.names, True)


@given(
    role=ROLES,
    usages=st.none()
    | st.lists(st.sampled_from([SERVER, CLIENT, ANY, ExtendedKeyUsageOID.CODE_SIGNING]), min_size=1, max_size=3),
)
def test_usage_is_exactly_the_one_of_the_role(role: Role, usages: list[x509.ObjectIdentifier] | None) -> None:
    identity = HOME.identity(role)
    if usages is None:
        leaf = HOME.forge(identity, drop=[x509.ExtendedKeyUsage]).certificate
    else:
        leaf = HOME.forge(identity, change=[(x509.ExtendedKeyUsage(usages), False)]).certificate
    if usages == [role.usage]:
        assert authorize(leaf) == identity
    else:
        with pytest.raises(PeerRejectedError, match="does not verify"):
            authorize(leaf)


TWO_URIS = [*HOME.identity(Role.DEVICE).names, x509.UniformResourceIdentifier(HOME.identity(Role.ADMIN).uri)]


@pytest.mark.parametrize(
    ("change", "drop"),
    [
        ([], [x509.ExtendedKeyUsage]),
        ([(x509.ExtendedKeyUsage([CLIENT, SERVER]), False)], []),
        ([(x509.ExtendedKeyUsage([CLIENT, ANY]), False)], []),
        ([(x509.SubjectAlternativeName(TWO_URIS), True)], []),
        ([(x509.SubjectAlternativeName([x509.UniformResourceIdentifier("spiffe://evil/")]), True)], []),
        ([], [x509.KeyUsage]),
        ([], [x509.BasicConstraints]),
    ],
    ids=["no usage", "both usages", "any usage", "two URIs", "foreign URI", "no key usage", "no basic constraints"],
)
def test_what_the_library_lets_pass_is_refused(
    change: Sequence[tuple[x509.ExtensionType, bool]], drop: Sequence[type[x509.ExtensionType]]
) -> None:
    leaf = HOME.forge(HOME.identity(Role.DEVICE), change=change, drop=drop).certificate
    assert passes_by_default(leaf, Authority.DEVICE), "not a weakness of the default, then"
    with pytest.raises(PeerRejectedError):
        authorize(leaf)


@pytest.mark.parametrize("role", [Role.NODE, Role.DEVICE])
def test_leaf_that_is_an_authority_is_refused(role: Role) -> None:
    change = [(x509.BasicConstraints(ca=True, path_length=None), True)]
    with pytest.raises(PeerRejectedError, match="does not verify"):
        authorize(HOME.forge(HOME.identity(role), change=change).certificate)


def test_names_outside_the_constraint_of_the_authority_fail_by_themselves() -> None:
    """Whatever we require of names, the authority's constraint holds on its own."""
    uri = x509.UniformResourceIdentifier(HOME.identity(Role.DEVICE).uri)
    outside = (
        x509.DNSName("helm.example"),
        x509.DNSName("internal"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    )
    inside = HOME.forge(
        HOME.identity(Role.DEVICE),
        change=[(x509.SubjectAlternativeName([uri, x509.DNSName(f"x.{HOME.id}.internal")]), True)],
    )
    assert passes_by_default(inside.certificate, Authority.DEVICE)
    for name in outside:
        change = [(x509.SubjectAlternativeName([uri, name]), True)]
        leaf = HOME.forge(HOME.identity(Role.DEVICE), change=change).certificate
        assert not passes_by_default(leaf, Authority.DEVICE)
        with pytest.raises(PeerRejectedError):
            authorize(leaf)


def test_subject_beside_the_names_is_refused() -> None:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "helm")])
    identity = HOME.identity(Role.DEVICE)
    # RFC 5280 wants the names critical only where there is no subject, and the library follows it.
    for critical in (True, False):
        leaf = HOME.forge(identity, subject=subject, change=[(identity.names, critical)]).certificate
        assert passes_by_default(leaf, Authority.DEVICE) is not critical
        with pytest.raises(PeerRejectedError, match="subject"):
            authorize(leaf)


def test_unknown_extension_passes_unless_critical() -> None:
    """A later version may add to the profile; a reader of today goes on working."""
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    identity = HOME.identity(Role.NODE)
    assert authorize(HOME.forge(identity, change=[(unknown, False)]).certificate) == identity
    with pytest.raises(PeerRejectedError, match="does not verify"):
        authorize(HOME.forge(identity, change=[(unknown, True)]).certificate)


@pytest.mark.parametrize(
    "public_key",
    [ec.generate_private_key(ec.SECP384R1()).public_key(), ed25519.Ed25519PrivateKey.generate().public_key()],
    ids=["p384", "ed25519"],
)
def test_other_allowed_keys_verify(public_key: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey) -> None:
    leaf = HOME.forge(HOME.identity(Role.NODE), public_key=public_key).certificate
    assert authorize(leaf) == HOME.identity(Role.NODE)
