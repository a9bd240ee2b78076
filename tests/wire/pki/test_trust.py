import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.errors import LocalProtocolError, PeerRejectedError
from pharos.wire.pki.issue import make_root
from pharos.wire.pki.keys import certificate_to_der as der
from pharos.wire.pki.keys import generate_key
from pharos.wire.pki.profile import Template, authority_name, intermediate_template, spki_hash
from pharos.wire.pki.roles import Authority, Role
from pharos.wire.pki.trust import (
    MAX_CERTIFICATE,
    Trust,
    load_certificate,
    verify_intermediate,
    verify_root,
    verify_trust,
)
from tests.support.pki import home_fleet, make_fleet, other_fleet, sign_certificate, utc_now

SECOND = datetime.timedelta(seconds=1)
HOME = home_fleet()
LEAF = der(HOME.member(Role.NODE).certificate)


def padding_of(size: int) -> tuple[x509.ExtensionType, bool]:
    return x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), bytes(size)), False


def test_trust_is_established_from_the_root_hash() -> None:
    trust = verify_trust(
        root=der(HOME.trust.root),
        fleet_ca=der(HOME.trust.fleet_ca),
        device_ca=der(HOME.trust.device_ca or HOME.trust.root),
        root_hash=HOME.root_hash,
        now=utc_now(),
    )
    assert trust == HOME.trust


def test_member_without_device_ca_has_no_anchor_for_devices() -> None:
    trust = Trust(root=HOME.trust.root, fleet_ca=HOME.trust.fleet_ca)
    assert trust.anchor(Authority.FLEET) == HOME.trust.fleet_ca
    with pytest.raises(LocalProtocolError):
        trust.anchor(Authority.DEVICE)


def test_another_root_is_refused() -> None:
    with pytest.raises(PeerRejectedError, match="another fleet"):
        verify_root(der(other_fleet().trust.root), root_hash=HOME.root_hash, now=utc_now())


def test_root_hash_counts_in_full() -> None:
    almost = HOME.root_hash[:-1] + bytes([HOME.root_hash[-1] ^ 1])
    for wrong in (almost, HOME.root_hash[:8], b""):
        with pytest.raises(PeerRejectedError, match="another fleet"):
            verify_root(der(HOME.trust.root), root_hash=wrong, now=utc_now())


def test_root_key_in_a_certificate_it_did_not_sign_is_refused() -> None:
    """The hash pins the key alone, so the self-signature has to vouch for the rest."""
    root = HOME.trust.root
    forged = sign_certificate(
        subject=root.subject,
        public_key=root.public_key(),
        template=tuple((found.value, found.critical) for found in root.extensions),
        issuer=root.subject,
        issuer_key=generate_key(),
    )
    with pytest.raises(PeerRejectedError, match="not signed"):
        verify_root(der(forged), root_hash=HOME.root_hash, now=utc_now())


@pytest.mark.parametrize("authority", Authority)
def test_validity_of_authorities_is_to_the_second(authority: Authority) -> None:
    intermediate = HOME.trust.anchor(authority)
    for certificate in (HOME.trust.root, intermediate):
        first, last = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        for now, valid in ((first - SECOND, False), (first, True), (last, True), (last + SECOND, False)):
            if valid:
                _verify(certificate, authority, now)
            else:
                with pytest.raises(PeerRejectedError, match="not valid at"):
                    _verify(certificate, authority, now)


def _verify(certificate: x509.Certificate, authority: Authority, now: datetime.datetime) -> None:
    if certificate == HOME.trust.root:
        verify_root(der(certificate), root_hash=HOME.root_hash, now=now)
    else:
        verify_intermediate(der(certificate), authority=authority, root=HOME.trust.root, now=now)


def test_intermediates_do_not_stand_in_for_each_other() -> None:
    for authority in Authority:
        for certificate in (*_all_but(HOME.trust.anchor(authority)), other_fleet().trust.anchor(authority)):
            with pytest.raises(PeerRejectedError):
                verify_intermediate(der(certificate), authority=authority, root=HOME.trust.root, now=utc_now())


def _all_but(anchor: x509.Certificate) -> list[x509.Certificate]:
    everyone = (
        HOME.trust.root,
        HOME.trust.fleet_ca,
        HOME.trust.anchor(Authority.DEVICE),
        HOME.member(Role.NODE).certificate,
    )
    return [certificate for certificate in everyone if certificate != anchor]


def forged_intermediate(
    template: Template, issuer_key: ec.EllipticCurvePrivateKey, key: ec.EllipticCurvePublicKey
) -> bytes:
    return der(
        sign_certificate(
            subject=authority_name(HOME.id, Authority.FLEET),
            public_key=key,
            template=template,
            issuer=HOME.trust.root.subject,
            issuer_key=issuer_key,
        )
    )


def test_intermediate_that_the_root_did_not_sign_is_refused() -> None:
    key = generate_key().public_key()
    template = intermediate_template(Authority.FLEET, key, root=HOME.trust.root)
    ours = forged_intermediate(template, HOME.root_key, key)
    verified = verify_intermediate(ours, authority=Authority.FLEET, root=HOME.trust.root, now=utc_now())
    assert verified.public_key() == key
    for signer in (generate_key(), HOME.fleet_ca_key, other_fleet().root_key):
        with pytest.raises(PeerRejectedError, match="not signed"):
            verify_intermediate(
                forged_intermediate(template, signer, key),
                authority=Authority.FLEET,
                root=HOME.trust.root,
                now=utc_now(),
            )


@pytest.mark.parametrize("missing", range(6))
def test_intermediate_without_one_of_its_limits_is_refused(missing: int) -> None:
    key = generate_key().public_key()
    template = list(intermediate_template(Authority.FLEET, key, root=HOME.trust.root))
    del template[missing]
    loose = forged_intermediate(tuple(template), HOME.root_key, key)
    with pytest.raises(PeerRejectedError, match="profile"):
        verify_intermediate(loose, authority=Authority.FLEET, root=HOME.trust.root, now=utc_now())


def test_fleets_with_the_same_names_have_different_roots() -> None:
    first, second = make_fleet(), make_fleet()
    assert first.id != second.id
    with pytest.raises(PeerRejectedError):
        verify_trust(
            root=der(first.trust.root),
            fleet_ca=der(second.trust.fleet_ca),
            device_ca=None,
            root_hash=first.root_hash,
            now=utc_now(),
        )


@pytest.mark.parametrize(
    ("public_key", "allowed"),
    [
        (ec.generate_private_key(ec.SECP256R1()).public_key(), True),
        (ec.generate_private_key(ec.SECP384R1()).public_key(), True),
        (ed25519.Ed25519PrivateKey.generate().public_key(), True),
        (ed448.Ed448PrivateKey.generate().public_key(), False),
        (ec.generate_private_key(ec.SECP521R1()).public_key(), False),
        (ec.generate_private_key(ec.SECP256K1()).public_key(), False),
        (ec.generate_private_key(ec.SECP224R1()).public_key(), False),
        (rsa.generate_private_key(65537, 1024).public_key(), False),
        (rsa.generate_private_key(65537, 2048).public_key(), False),
    ],
    ids=["p256", "p384", "ed25519", "ed448", "p521", "secp256k1", "p224", "rsa1024", "rsa2048"],
)
def test_key_types_outside_the_list_are_refused(public_key: CertificatePublicKeyTypes, allowed: bool) -> None:
    certificate = der(HOME.forge(HOME.identity(Role.NODE), public_key=public_key).certificate)
    if allowed:
        assert load_certificate(certificate).public_key() == public_key
    else:
        with pytest.raises(PeerRejectedError, match="key must be"):
            load_certificate(certificate)


def test_size_cap_is_exact() -> None:
    identity = HOME.identity(Role.NODE)
    empty = len(der(HOME.forge(identity, change=[padding_of(8000)]).certificate)) - 8000
    # ECDSA signatures vary by a few bytes in length.
    fits = der(HOME.forge(identity, change=[padding_of(MAX_CERTIFICATE - empty - 16)]).certificate)
    assert MAX_CERTIFICATE - 32 < len(fits) <= MAX_CERTIFICATE
    assert der(load_certificate(fits)) == fits
    for too_big in (fits + bytes(33), bytes(1 << 20)):
        with pytest.raises(PeerRejectedError, match="limit"):
            load_certificate(too_big)


def test_doubled_and_foreign_extensions_do_not_escape_as_other_errors() -> None:
    """`cryptography` parses extensions on first use and raises errors of its own."""
    doubled = LEAF.replace(bytes.fromhex("0603551d0e"), bytes.fromhex("0603551d23"))
    assert doubled != LEAF
    with pytest.raises(PeerRejectedError, match="parse"):
        load_certificate(doubled)


@given(at=st.integers(0, len(LEAF) - 1), byte=st.integers(0, 255))
def test_a_changed_byte_is_refused_or_parses_wholly(at: int, byte: int) -> None:
    damaged = LEAF[:at] + bytes([byte]) + LEAF[at + 1 :]
    try:
        certificate = load_certificate(damaged)
    except PeerRejectedError:
        return
    # Each of these raises if it does not parse.
    for part in (certificate.extensions, certificate.subject, certificate.issuer):
        list(part)
    spki_hash(certificate.public_key())


@given(junk=st.binary(max_size=200) | st.binary(min_size=1, max_size=40).map(lambda tail: LEAF + tail))
def test_junk_is_no_certificate(junk: bytes) -> None:
    with pytest.raises(PeerRejectedError):
        load_certificate(junk)


def test_signature_has_one_spelling() -> None:
    while (leaf := der(HOME.member(Role.NODE).certificate))[-1] % 2:
        pass
    signature = x509.load_der_x509_certificate(leaf).signature
    unused = len(leaf) - len(signature) - 1
    respelt = leaf[:unused] + b"\x01" + leaf[unused + 1 :]
    assert x509.load_der_x509_certificate(respelt).signature == signature
    with pytest.raises(PeerRejectedError, match="DER"):
        load_certificate(respelt)


def test_a_stranger_cannot_make_us_warn() -> None:
    """Warnings are errors in tests, so that one would show here as another exception."""
    with pytest.warns(UserWarning, match="length"):
        country = x509.NameAttribute(NameOID.COUNTRY_NAME, "far too long", _validate=False)
    odd_name = HOME.forge(HOME.identity(Role.NODE), subject=x509.Name([country])).certificate
    assert load_certificate(der(odd_name)).serial_number > 0

    serial = LEAF.index(bytes.fromhex("a00302010202")) + 7
    negative = LEAF[:serial] + b"\xff" + LEAF[serial + 1 :]
    with pytest.raises(PeerRejectedError, match="serial"):
        load_certificate(negative)


def test_pem_is_not_taken_for_der() -> None:
    with pytest.raises(PeerRejectedError):
        load_certificate(HOME.trust.root.public_bytes(serialization.Encoding.PEM))


def test_root_that_is_no_root_by_profile_is_refused() -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    proper = make_root(key, now=utc_now(), serial=1)
    kept = tuple((found.value, found.critical) for found in proper.extensions)[1:]
    loose = sign_certificate(
        subject=proper.subject, public_key=key.public_key(), template=kept, issuer=proper.subject, issuer_key=key
    )
    pin = spki_hash(key.public_key())
    assert verify_root(der(proper), root_hash=pin, now=utc_now()) == proper
    with pytest.raises(PeerRejectedError, match="profile"):
        verify_root(der(loose), root_hash=pin, now=utc_now())
