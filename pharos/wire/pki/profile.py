"""The shape of every certificate: what issue.py writes is what verify.py requires.

RFC 5280 profile, in full in docs/protocols/pki.md: an offline P-384 root signs two P-256 intermediates (Fleet CA,
Device CA), which sign leaves only.
"""

import datetime
import hashlib
import ipaddress
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pharos.wire.errors import LocalProtocolError
from pharos.wire.ids import FLEET_ID_LENGTH, FleetId
from pharos.wire.pki.roles import Authority, Identity

ROOT_LIFETIME: Final = datetime.timedelta(days=10 * 365)
INTERMEDIATE_LIFETIME: Final = datetime.timedelta(days=5 * 365)
LEAF_LIFETIME: Final = datetime.timedelta(days=365)

# A peer whose clock is a little behind must not find a fresh certificate "not yet valid".
BACKDATE: Final = datetime.timedelta(minutes=5)

# RFC 5280 §4.1.2.2: positive, at most 20 octets; 159 bits never need a 21st for the sign.
SERIAL_BITS: Final = 159

Template = tuple[tuple[x509.ExtensionType, bool], ...]
"""Extensions in order, each with its criticality."""


def encode_spki(key: CertificatePublicKeyTypes) -> bytes:
    """Return the key's DER SubjectPublicKeyInfo, a point on a curve uncompressed (RFC 5480 §2.2)."""
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def spki_hash(key: CertificatePublicKeyTypes) -> bytes:
    """Return SHA-256 of the key's SubjectPublicKeyInfo: how roots are pinned and keys are revoked."""
    return hashlib.sha256(encode_spki(key)).digest()


def fleet_id(root: x509.Certificate) -> FleetId:
    """Return the fleet's id: the first 16 hex digits of its root's `spki_hash`."""
    return _fleet_of(root.public_key())


def _fleet_of(root_key: CertificatePublicKeyTypes) -> FleetId:
    return FleetId(spki_hash(root_key).hex()[:FLEET_ID_LENGTH])


def as_utc(now: datetime.datetime) -> datetime.datetime:
    """Return `now` in UTC and whole seconds, as X.509 counts.

    Raises: LocalProtocolError — it has no time zone, and would be off by hours where it is not UTC.
    """
    if now.tzinfo is None:
        raise LocalProtocolError("certificate times need a time zone")
    return now.astimezone(datetime.UTC).replace(microsecond=0)


def root_template(public_key: CertificatePublicKeyTypes) -> Template:
    """Return the extensions of a root with this key."""
    return (
        (x509.BasicConstraints(ca=True, path_length=1), True),
        (_key_usage(ca=True), True),
        (x509.SubjectKeyIdentifier.from_public_key(public_key), False),
    )


def intermediate_template(
    authority: Authority, public_key: CertificatePublicKeyTypes, *, root: x509.Certificate
) -> Template:
    """Return the extensions of a fleet's intermediate with this key.

    The name constraint is a DNS one, for `cryptography` refuses every chain that has a URI constraint in it. Extended
    key usage in an intermediate limits its leaves (both verifiers enforce it): the Device CA can make no server.
    """
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
    if authority is Authority.FLEET:
        usages.insert(0, ExtendedKeyUsageOID.SERVER_AUTH)
    constraints = x509.NameConstraints(
        permitted_subtrees=[x509.DNSName(f"{fleet_id(root)}.internal")],
        excluded_subtrees=[
            x509.IPAddress(ipaddress.ip_network("0.0.0.0/0")),
            x509.IPAddress(ipaddress.ip_network("::/0")),
        ],
    )
    return (
        (x509.BasicConstraints(ca=True, path_length=0), True),
        (_key_usage(ca=True), True),
        (x509.ExtendedKeyUsage(usages), False),
        (constraints, True),
        (x509.SubjectKeyIdentifier.from_public_key(public_key), False),
        (_key_of(root), False),
    )


def leaf_template(identity: Identity, public_key: CertificatePublicKeyTypes, *, ca: x509.Certificate) -> Template:
    """Return the extensions of a member's certificate with this key."""
    return (
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_key_usage(ca=False), True),
        (x509.ExtendedKeyUsage([identity.role.usage]), False),
        # RFC 5280 §4.2.1.6: critical, because the subject is empty.
        (identity.names, True),
        (x509.SubjectKeyIdentifier.from_public_key(public_key), False),
        (_key_of(ca), False),
    )


def web_template(public_key: CertificatePublicKeyTypes) -> Template:
    """Return the extensions of helm's self-signed web certificate with this key."""
    addresses = [x509.IPAddress(ipaddress.ip_address(text)) for text in ("127.0.0.1", "::1")]
    return (
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_key_usage(ca=False), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
        (x509.SubjectAlternativeName([x509.DNSName("localhost"), *addresses]), False),
        (x509.SubjectKeyIdentifier.from_public_key(public_key), False),
    )


def root_name(root_key: CertificatePublicKeyTypes) -> x509.Name:
    """Return the subject of the root with this key. No name in a certificate says what product it is of."""
    return _name(f"{_fleet_of(root_key)} root")


def authority_name(fleet: FleetId, authority: Authority) -> x509.Name:
    """Return the subject of a fleet's intermediate."""
    return _name(f"{fleet} {authority.value}")


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _key_usage(*, ca: bool) -> x509.KeyUsage:
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


def key_identifier(authority: x509.Certificate) -> bytes:
    """Return what the leaves of an authority of the profile call its key (RFC 5280 §4.2.1.2)."""
    return authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest


def _key_of(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier(key_identifier(issuer), None, None)


WEB_NAME: Final = _name("localhost")
"""Subject and issuer of helm's web certificate."""
