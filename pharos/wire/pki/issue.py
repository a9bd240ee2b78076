"""Where certificates are made: the only user of `CertificateBuilder`, and one function for every leaf.

Clock and serial are arguments; keys are made by the callers.
"""

import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from pharos.wire.errors import LocalProtocolError
from pharos.wire.pki.policy import Authorization
from pharos.wire.pki.profile import (
    BACKDATE,
    INTERMEDIATE_LIFETIME,
    LEAF_LIFETIME,
    ROOT_LIFETIME,
    SERIAL_BITS,
    WEB_NAME,
    Template,
    as_utc,
    authority_name,
    fleet_id,
    intermediate_template,
    leaf_template,
    root_name,
    root_template,
    web_template,
)
from pharos.wire.pki.roles import Authority


def make_root(key: ec.EllipticCurvePrivateKey, *, now: datetime.datetime, serial: int) -> x509.Certificate:
    """Return a fleet's self-signed root for a P-384 key."""
    public_key = key.public_key()
    _require_curve(public_key, ec.SECP384R1)
    name = root_name(public_key)
    return _sign(
        subject=name,
        public_key=public_key,
        template=root_template(public_key),
        issuer=name,
        issuer_key=key,
        now=now,
        not_after=as_utc(now) + ROOT_LIFETIME,
        serial=serial,
    )


def make_fleet_ca(
    public_key: ec.EllipticCurvePublicKey,
    *,
    root: x509.Certificate,
    root_key: ec.EllipticCurvePrivateKey,
    now: datetime.datetime,
    serial: int,
) -> x509.Certificate:
    """Return the intermediate that vouches for controller, nodes and relays, for a P-256 key."""
    return _make_intermediate(Authority.FLEET, public_key, root, root_key, now, serial)


def make_device_ca(
    public_key: ec.EllipticCurvePublicKey,
    *,
    root: x509.Certificate,
    root_key: ec.EllipticCurvePrivateKey,
    now: datetime.datetime,
    serial: int,
) -> x509.Certificate:
    """Return the intermediate that vouches for devices and admins, for a P-256 key."""
    return _make_intermediate(Authority.DEVICE, public_key, root, root_key, now, serial)


def issue(
    authorization: Authorization,
    public_key: ec.EllipticCurvePublicKey,
    *,
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    now: datetime.datetime,
    serial: int,
) -> x509.Certificate:
    """Return the leaf that `authorization` allows, for a P-256 key whose possession was proven (csr.py).

    It ends after a year, or with `ca` if that is sooner. All of its content comes from the authorization.

    Raises: LocalProtocolError — no authorization, another key type, or a CA that cannot vouch for the role.
    """
    if not isinstance(authorization, Authorization):
        raise LocalProtocolError("a certificate is issued on an Authorization only")
    identity = authorization.identity
    if ca.subject != authority_name(identity.fleet, identity.role.authority):
        raise LocalProtocolError(f"{ca.subject.rfc4514_string()} cannot vouch for {identity.uri}")
    _require_pair(ca, ca_key)
    _require_curve(public_key, ec.SECP256R1)
    return _sign(
        subject=x509.Name([]),
        public_key=public_key,
        template=leaf_template(identity, public_key, ca=ca),
        issuer=ca.subject,
        issuer_key=ca_key,
        now=now,
        not_after=min(as_utc(now) + LEAF_LIFETIME, ca.not_valid_after_utc),
        serial=serial,
    )


def make_web_certificate(key: ec.EllipticCurvePrivateKey, *, now: datetime.datetime, serial: int) -> x509.Certificate:
    """Return the self-signed certificate of helm's web edge on localhost. No fleet member ever trusts it."""
    public_key = key.public_key()
    _require_curve(public_key, ec.SECP256R1)
    return _sign(
        subject=WEB_NAME,
        public_key=public_key,
        template=web_template(public_key),
        issuer=WEB_NAME,
        issuer_key=key,
        now=now,
        not_after=as_utc(now) + LEAF_LIFETIME,
        serial=serial,
    )


def _make_intermediate(
    authority: Authority,
    public_key: ec.EllipticCurvePublicKey,
    root: x509.Certificate,
    root_key: ec.EllipticCurvePrivateKey,
    now: datetime.datetime,
    serial: int,
) -> x509.Certificate:
    _require_pair(root, root_key)
    _require_curve(public_key, ec.SECP256R1)
    return _sign(
        subject=authority_name(fleet_id(root), authority),
        public_key=public_key,
        template=intermediate_template(authority, public_key, root=root),
        issuer=root.subject,
        issuer_key=root_key,
        now=now,
        not_after=min(as_utc(now) + INTERMEDIATE_LIFETIME, root.not_valid_after_utc),
        serial=serial,
    )


def _sign(
    *,
    subject: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    template: Template,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
    now: datetime.datetime,
    not_after: datetime.datetime,
    serial: int,
) -> x509.Certificate:
    if not 0 < serial < 1 << SERIAL_BITS:
        raise LocalProtocolError(f"a serial number has 1 to {SERIAL_BITS} bits")
    if not_after <= as_utc(now):
        raise LocalProtocolError(f"{issuer.rfc4514_string()} has expired and can sign nothing")
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(serial)
        .not_valid_before(as_utc(now) - BACKDATE)
        .not_valid_after(not_after)
    )
    for extension, critical in template:
        builder = builder.add_extension(extension, critical)
    # RFC 5758 §3.2: the hash that matches the strength of the signer's curve.
    strong = isinstance(issuer_key.curve, ec.SECP384R1)
    return builder.sign(issuer_key, hashes.SHA384() if strong else hashes.SHA256())


def _require_curve(public_key: ec.EllipticCurvePublicKey, curve: type[ec.EllipticCurve]) -> None:
    if not isinstance(public_key.curve, curve):
        raise LocalProtocolError(f"this certificate takes a {curve.name} key")


def _require_pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    if certificate.public_key() != key.public_key():
        raise LocalProtocolError(f"not the private key of {certificate.subject.rfc4514_string()}")
