import datetime
import ipaddress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import AttributeOID, ExtendedKeyUsageOID, NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from pharos.wire.errors import LocalProtocolError
from pharos.wire.pki.csr import MAX_CSR, verify_csr
from pharos.wire.pki.issue import issue, make_fleet_ca, make_root
from pharos.wire.pki.keys import generate_key
from pharos.wire.pki.policy import Setup, authorize_issue
from pharos.wire.pki.profile import fleet_id, leaf_template, spki_hash
from pharos.wire.pki.roles import Authority, Role
from tests.support.pki import ground_for, home_fleet, make_fleet, other_fleet, utc_now

SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
NOON = datetime.datetime(2026, 7, 1, 12, 0, 0, tzinfo=datetime.UTC)
FLEET = make_fleet(now=NOON)


def key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def extension(certificate: x509.Certificate, kind: type[x509.ExtensionType]) -> tuple[x509.ExtensionType, bool]:
    found = certificate.extensions.get_extension_for_class(kind)
    return found.value, found.critical


def days(certificate: x509.Certificate) -> float:
    return (certificate.not_valid_after_utc - certificate.not_valid_before_utc) / datetime.timedelta(days=1)


FIVE_MINUTES = 5 / (24 * 60)


def test_root_is_of_the_profile() -> None:
    root = home_fleet().trust.root
    key = root.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert isinstance(key.curve, ec.SECP384R1)
    assert isinstance(root.signature_hash_algorithm, hashes.SHA384)
    assert extension(root, x509.BasicConstraints) == (x509.BasicConstraints(ca=True, path_length=1), True)
    assert extension(root, x509.KeyUsage) == (key_usage(ca=True), True)
    assert days(root) == pytest.approx(3650 + FIVE_MINUTES)
    root.verify_directly_issued_by(root)


@pytest.mark.parametrize(("authority", "usages"), [(Authority.FLEET, [SERVER, CLIENT]), (Authority.DEVICE, [CLIENT])])
def test_intermediate_is_of_the_profile(authority: Authority, usages: list[x509.ObjectIdentifier]) -> None:
    fleet = home_fleet()
    ca = fleet.trust.anchor(authority)
    key = ca.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert isinstance(key.curve, ec.SECP256R1)
    assert extension(ca, x509.BasicConstraints) == (x509.BasicConstraints(ca=True, path_length=0), True)
    assert extension(ca, x509.KeyUsage) == (key_usage(ca=True), True)
    assert extension(ca, x509.ExtendedKeyUsage) == (x509.ExtendedKeyUsage(usages), False)
    everywhere = [ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")]
    constraints = x509.NameConstraints([x509.DNSName(f"{fleet.id}.internal")], [x509.IPAddress(n) for n in everywhere])
    assert extension(ca, x509.NameConstraints) == (constraints, True)
    assert days(ca) == pytest.approx(1825 + FIVE_MINUTES)
    ca.verify_directly_issued_by(fleet.trust.root)


@pytest.mark.parametrize("role", Role)
def test_leaf_is_of_the_profile(role: Role) -> None:
    fleet = make_fleet(now=NOON)
    member = fleet.member(role, now=NOON + datetime.timedelta(days=365))
    leaf = member.certificate
    ca = fleet.trust.anchor(role.authority)
    server = role in (Role.NODE, Role.RELAY)
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(f"spiffe://{fleet.id}/{role.value}/one")]
    if server:
        names.append(x509.DNSName(f"one.{role.value[0]}.{fleet.id}.internal"))
    assert leaf.subject == x509.Name([])
    assert extension(leaf, x509.SubjectAlternativeName) == (x509.SubjectAlternativeName(names), True)
    assert extension(leaf, x509.ExtendedKeyUsage)[0] == x509.ExtendedKeyUsage([SERVER if server else CLIENT])
    assert extension(leaf, x509.KeyUsage) == (key_usage(ca=False), True)
    assert extension(leaf, x509.BasicConstraints) == (x509.BasicConstraints(ca=False, path_length=None), True)
    own = x509.SubjectKeyIdentifier.from_public_key(member.key.public_key())
    assert extension(leaf, x509.SubjectKeyIdentifier) == (own, False)
    identifier = extension(leaf, x509.AuthorityKeyIdentifier)[0]
    assert isinstance(identifier, x509.AuthorityKeyIdentifier)
    assert identifier.key_identifier == x509.SubjectKeyIdentifier.from_public_key(ca.public_key()).digest
    assert leaf.not_valid_before_utc == NOON + datetime.timedelta(days=365, minutes=-5)
    assert leaf.not_valid_after_utc == NOON + datetime.timedelta(days=730)
    leaf.verify_directly_issued_by(ca)


def test_fleet_id_is_the_head_of_the_root_hash() -> None:
    fleet = home_fleet()
    assert fleet_id(fleet.trust.root) == fleet.id == fleet.root_hash.hex()[:16]
    assert spki_hash(fleet.root_key.public_key()) == fleet.root_hash


def test_leaf_ends_with_its_authority() -> None:
    founded = NOON - datetime.timedelta(days=1825 - 30)
    fleet = make_fleet(now=founded)
    leaf = fleet.member(Role.NODE, now=NOON).certificate
    assert leaf.not_valid_after_utc == fleet.trust.fleet_ca.not_valid_after_utc == NOON + datetime.timedelta(days=30)


def test_an_expired_authority_signs_nothing() -> None:
    fleet = make_fleet(now=NOON - datetime.timedelta(days=1825))
    with pytest.raises(LocalProtocolError, match="expired"):
        fleet.member(Role.NODE, now=NOON)


@pytest.mark.parametrize("serial", [0, -1, 1 << 159])
def test_serial_out_of_range_is_refused(serial: int) -> None:
    with pytest.raises(LocalProtocolError, match="serial"):
        make_root(ec.generate_private_key(ec.SECP384R1()), now=NOON, serial=serial)


def test_time_without_zone_is_refused() -> None:
    with pytest.raises(LocalProtocolError, match="time zone"):
        make_root(ec.generate_private_key(ec.SECP384R1()), now=NOON.replace(tzinfo=None), serial=1)


def test_root_of_another_curve_is_refused() -> None:
    with pytest.raises(LocalProtocolError, match="secp384r1"):
        make_root(generate_key(), now=NOON, serial=1)


def test_issuing_needs_an_authorization() -> None:
    fleet = home_fleet()
    with pytest.raises(LocalProtocolError, match="Authorization"):
        issue(
            fleet.identity(Role.NODE),  # type: ignore[arg-type]
            generate_key().public_key(),
            ca=fleet.trust.fleet_ca,
            ca_key=fleet.fleet_ca_key,
            now=utc_now(),
            serial=1,
        )


@pytest.mark.parametrize("role", Role)
def test_only_its_own_authority_issues_a_role(role: Role) -> None:
    fleet = home_fleet()
    authorization = authorize_issue(fleet.identity(role), ground_for(fleet.identity(role)))
    for owner, authority in ((fleet, _other(role.authority)), (other_fleet(), role.authority)):
        ca, ca_key = owner.trust.anchor(authority), owner.ca_key(authority)
        with pytest.raises(LocalProtocolError, match="cannot vouch"):
            issue(authorization, generate_key().public_key(), ca=ca, ca_key=ca_key, now=utc_now(), serial=1)


def test_authority_and_key_must_belong_together() -> None:
    fleet = home_fleet()
    authorization = authorize_issue(fleet.identity(Role.CONTROLLER), Setup())
    with pytest.raises(LocalProtocolError, match="private key"):
        issue(
            authorization,
            generate_key().public_key(),
            ca=fleet.trust.fleet_ca,
            ca_key=generate_key(),
            now=utc_now(),
            serial=1,
        )
    with pytest.raises(LocalProtocolError, match="private key"):
        make_fleet_ca(
            generate_key().public_key(),
            root=fleet.trust.root,
            root_key=other_fleet().root_key,
            now=utc_now(),
            serial=1,
        )


def test_leaf_key_of_another_curve_is_refused() -> None:
    fleet = home_fleet()
    authorization = authorize_issue(fleet.identity(Role.CONTROLLER), Setup())
    public_key = ec.generate_private_key(ec.SECP384R1()).public_key()
    with pytest.raises(LocalProtocolError, match="secp256r1"):
        issue(authorization, public_key, ca=fleet.trust.fleet_ca, ca_key=fleet.fleet_ca_key, now=utc_now(), serial=1)


def _other(authority: Authority) -> Authority:
    return Authority.DEVICE if authority is Authority.FLEET else Authority.FLEET


names = st.lists(
    st.text(st.characters(codec="ascii", min_codepoint=32), min_size=1, max_size=20).map(
        lambda text: x509.NameAttribute(NameOID.COMMON_NAME, text)
    ),
    max_size=3,
).map(x509.Name)
wishes: st.SearchStrategy[x509.ExtensionType] = st.one_of(
    st.builds(
        x509.SubjectAlternativeName,
        st.lists(
            st.sampled_from(
                [
                    x509.UniformResourceIdentifier(FLEET.identity(Role.CONTROLLER, "evil").uri),
                    x509.DNSName("helm.example"),
                    x509.DNSName(f"two.n.{FLEET.id}.internal"),
                    x509.IPAddress(ipaddress.ip_address("192.0.2.1")),
                ]
            ),
            min_size=1,
        ),
    ),
    st.builds(lambda depth: x509.BasicConstraints(ca=True, path_length=depth), st.none() | st.integers(0, 3)),
    st.builds(x509.ExtendedKeyUsage, st.lists(st.sampled_from([SERVER, CLIENT]), min_size=1, unique=True)),
    st.just(key_usage(ca=True)),
    st.builds(lambda data: x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), data), st.binary(max_size=64)),
)


@settings(max_examples=50)
@given(
    role=st.sampled_from(Role),
    subject=names,
    wished=st.lists(st.tuples(wishes, st.booleans()), unique_by=lambda wish: wish[0].oid),
    password=st.none() | st.text(min_size=1, max_size=32),
    hash_algorithm=st.sampled_from([hashes.SHA256(), hashes.SHA384(), hashes.SHA512()]),
)
def test_issued_certificate_equals_the_template_whatever_the_csr_says(
    role: Role,
    subject: x509.Name,
    wished: list[tuple[x509.ExtensionType, bool]],
    password: str | None,
    hash_algorithm: hashes.SHA256,
) -> None:
    fleet, key = FLEET, generate_key()
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    for value, critical in wished:
        builder = builder.add_extension(value, critical)
    if password is not None:
        builder = builder.add_attribute(AttributeOID.CHALLENGE_PASSWORD, password.encode())
    der = builder.sign(key, hash_algorithm).public_bytes(serialization.Encoding.DER)
    assert len(der) <= MAX_CSR

    identity = fleet.identity(role)
    ca = fleet.trust.anchor(role.authority)
    issued = issue(
        authorize_issue(identity, ground_for(identity)),
        verify_csr(der),
        ca=ca,
        ca_key=fleet.ca_key(role.authority),
        now=NOON,
        serial=7,
    )
    assert issued.public_key() == key.public_key()
    assert issued.subject == x509.Name([])
    assert issued.issuer == ca.subject
    assert issued.serial_number == 7
    expected = leaf_template(identity, key.public_key(), ca=ca)
    assert [(found.value, found.critical) for found in issued.extensions] == list(expected)
