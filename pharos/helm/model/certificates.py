"""A certificate that the fleet's authority issued."""

from __future__ import annotations

import enum
import hashlib

import attrs
from cryptography import x509

from pharos.wire.pki.keys import certificate_to_der
from pharos.wire.pki.profile import spki_hash
from pharos.wire.pki.roles import Role


class CertificateState(enum.Enum):
    """Whether its subject still goes by it."""

    ACTIVE = "active"
    SUPERSEDED = "superseded"
    """Its subject has a newer one; this one is valid until it expires."""
    REVOKED = "revoked"


@attrs.frozen(kw_only=True)
class Certificate:
    """A certificate's record."""

    id: str
    """SHA-256 fingerprint of the certificate, lower-case hexadecimal."""
    role: str
    """``controller``, ``node``, ``relay``, ``device`` or ``admin``."""
    subject: str
    """Id of the record it was issued for."""
    serial: str
    """Hexadecimal."""
    spki: bytes
    """SHA-256 of its public key (RFC 5280 §4.1.2.7)."""
    certificate: bytes = attrs.field(repr=False)
    """DER."""
    state: CertificateState = CertificateState.ACTIVE
    not_before_at: int
    """Microseconds since 1970."""
    not_after_at: int
    version: int = 1
    created_at: int = 0
    updated_at: int = 0
    updated_by: str = ""


def facts_of(certificate: x509.Certificate, role: Role, subject: str) -> Certificate:
    """Return a certificate as the record keeps it."""
    der = certificate_to_der(certificate)
    return Certificate(
        id=hashlib.sha256(der).hexdigest(),
        role=role.value,
        subject=subject,
        serial=f"{certificate.serial_number:x}",
        spki=spki_hash(certificate.public_key()),
        certificate=der,
        not_before_at=int(certificate.not_valid_before_utc.timestamp()) * 1_000_000,
        not_after_at=int(certificate.not_valid_after_utc.timestamp()) * 1_000_000,
    )
