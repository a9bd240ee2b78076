"""Certificate requests (PKCS #10, RFC 2986): a public key, and proof that the sender holds its private half.

Whatever else a request says — subject, names, extensions, attributes — is not read, so it cannot be believed.
"""

from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pharos.wire.errors import RemoteProtocolError
from pharos.wire.units import KIB

# Ours take about 200 bytes; other people's tools add a subject, names and a few attributes.
MAX_CSR: Final = 4 * KIB

# A proof of possession is a signature over the request, so a broken hash would be a broken proof.
_PROOF_HASHES: Final = (hashes.SHA256, hashes.SHA384, hashes.SHA512)


def make_csr(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a DER request for `key` that asks for nothing: the issuer decides what the certificate says."""
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.DER)


def verify_csr(der: bytes) -> ec.EllipticCurvePublicKey:
    """Return the P-256 public key whose private half signed this DER request.

    Raises: RemoteProtocolError — it is too big, no request, of another key type, or not signed by its key.
    """
    if len(der) > MAX_CSR:
        raise RemoteProtocolError(f"a certificate request of {len(der)} bytes is over the limit of {MAX_CSR}")
    try:
        request = x509.load_der_x509_csr(der)
        public_key = request.public_key()
        proven = request.is_signature_valid and isinstance(request.signature_hash_algorithm, _PROOF_HASHES)
        # Nobody signs the count of unused bits of the signature, and the parser takes another one than 0.
        proven = proven and der.endswith(b"\0" + request.signature)
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise RemoteProtocolError(f"a certificate request does not parse: {error}") from error
    if not isinstance(public_key, ec.EllipticCurvePublicKey) or not isinstance(public_key.curve, ec.SECP256R1):
        raise RemoteProtocolError("a certificate request must be for a P-256 key")
    if not proven:
        raise RemoteProtocolError("a certificate request does not prove possession of its private key")
    return public_key
