import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.errors import RemoteProtocolError
from pharos.wire.pki.csr import MAX_CSR, make_csr, verify_csr
from pharos.wire.pki.keys import generate_key

KEY = generate_key()
CSR = make_csr(KEY)


def request_by(key: CertificateIssuerPrivateKeyTypes, algorithm: hashes.HashAlgorithm | None) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, algorithm).public_bytes(serialization.Encoding.DER)  # type: ignore[arg-type]


def test_csr_yields_its_public_key() -> None:
    assert verify_csr(CSR) == KEY.public_key()
    assert len(CSR) < 256


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP384R1()),
        ec.generate_private_key(ec.SECP256K1()),
        rsa.generate_private_key(65537, 2048),
    ],
    ids=["p384", "secp256k1", "rsa"],
)
def test_csr_of_another_key_type_is_refused(key: CertificateIssuerPrivateKeyTypes) -> None:
    with pytest.raises(RemoteProtocolError, match="P-256"):
        verify_csr(request_by(key, hashes.SHA256()))


def test_csr_of_an_ed25519_key_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="P-256"):
        verify_csr(request_by(ed25519.Ed25519PrivateKey.generate(), None))


def test_csr_signed_by_another_key_is_refused() -> None:
    spki = KEY.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    victim = generate_key().public_key()
    theirs = victim.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    forged = CSR.replace(spki, theirs)
    assert x509.load_der_x509_csr(forged).public_key() == victim
    with pytest.raises(RemoteProtocolError, match="possession"):
        verify_csr(forged)


def test_oversized_csr_is_refused() -> None:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a" * 64)] * 64)
    big = x509.CertificateSigningRequestBuilder().subject_name(name).sign(KEY, hashes.SHA256())
    der = big.public_bytes(serialization.Encoding.DER)
    assert len(der) > MAX_CSR
    with pytest.raises(RemoteProtocolError, match="limit"):
        verify_csr(der)


@given(at=st.integers(0, len(CSR) - 1), byte=st.integers(0, 255))
def test_damaged_csr_is_refused(at: int, byte: int) -> None:
    damaged = CSR[:at] + bytes([byte]) + CSR[at + 1 :]
    if damaged == CSR:
        return
    with pytest.raises(RemoteProtocolError):
        verify_csr(damaged)


@given(junk=st.binary(max_size=300) | st.binary(max_size=40).map(lambda tail: CSR + tail))
def test_junk_is_no_csr(junk: bytes) -> None:
    if junk == CSR:
        return
    with pytest.raises(RemoteProtocolError):
        verify_csr(junk)
