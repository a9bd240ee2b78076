"""Certificate keys and certificates as bytes, for state files and wrapped rows."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pharos.wire.errors import RemoteProtocolError, StateFileError


def generate_key() -> ec.EllipticCurvePrivateKey:
    """Draw a P-256 key, for a leaf or an intermediate."""
    return ec.generate_private_key(ec.SECP256R1())


def generate_root_key() -> ec.EllipticCurvePrivateKey:
    """Draw a P-384 key, for a root."""
    return ec.generate_private_key(ec.SECP384R1())


def key_to_der(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return the private key as unencrypted PKCS #8; the caller wraps it or writes it mode 0600."""
    return key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def key_from_der(der: bytes) -> ec.EllipticCurvePrivateKey:
    """Read a private key that ``key_to_der`` wrote.

    Raises: StateFileError — it is none.
    """
    try:
        key = serialization.load_der_private_key(der, None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise StateFileError("a stored certificate key is damaged; restore the state from a copy")
    return key


def certificate_to_der(certificate: x509.Certificate) -> bytes:
    """Return the certificate in DER."""
    return certificate.public_bytes(serialization.Encoding.DER)


def certificate_from_der(der: bytes) -> x509.Certificate:
    """Read a certificate.

    Raises: RemoteProtocolError — it is none.
    """
    try:
        return x509.load_der_x509_certificate(der)
    except ValueError as error:
        raise RemoteProtocolError(f"a certificate does not parse: {error}") from error
