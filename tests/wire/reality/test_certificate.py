import contextlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.reality import der
from pharos.wire.reality.certificate import MLDSA65_KEY_LENGTH, NodeSigner, verify_certificate, verify_signature
from pharos.wire.reality.errors import RealCertificateError, TlsError
from tests.support.reality import PQ_SIGNER, SIGNER
from tests.support.strategies import quick

AUTH_KEY = bytes(range(32))
HELLOS = {"client_hello": b"client's", "server_hello": b"server's"}
BOTH = pytest.mark.parametrize("signer", [SIGNER, PQ_SIGNER], ids=["Ed25519", "ML-DSA-65"])


def verify(certificate: bytes, auth_key: bytes = AUTH_KEY, *, mldsa65_key: bytes | None = None) -> bytes:
    return verify_certificate(certificate, auth_key, mldsa65_key=mldsa65_key, **HELLOS)


@BOTH
def test_a_device_believes_its_nodes_certificate(signer: NodeSigner) -> None:
    certificate = signer.certificate(AUTH_KEY, **HELLOS)
    assert verify(certificate) == signer.public
    assert verify(certificate, mldsa65_key=signer.mldsa65_key) == signer.public


@BOTH
def test_the_certificate_is_one_to_other_programs_too(signer: NodeSigner) -> None:
    certificate = signer.certificate(AUTH_KEY, **HELLOS)
    with pytest.warns(UserWarning, match="serial number"):
        parsed = x509.load_der_x509_certificate(certificate)
    key = parsed.public_key()
    assert isinstance(key, Ed25519PublicKey)
    assert key.public_bytes_raw() == signer.public
    assert len(parsed.signature) == 64
    assert [len(extension.value.public_bytes()) for extension in parsed.extensions] == (
        [] if signer is SIGNER else [3309]
    )


@BOTH
def test_a_certificate_under_another_key_is_not_believed(signer: NodeSigner) -> None:
    certificate = signer.certificate(AUTH_KEY, **HELLOS)
    with pytest.raises(RealCertificateError):
        verify(certificate, bytes(32))


def test_a_device_that_asks_for_ml_dsa_takes_nothing_less() -> None:
    wanted = PQ_SIGNER.mldsa65_key
    assert wanted is not None
    assert len(wanted) == MLDSA65_KEY_LENGTH
    other = NodeSigner(bytes(32), mldsa65_seed=bytes(32))
    for signer in (SIGNER, other):
        with pytest.raises(RealCertificateError):
            verify(signer.certificate(AUTH_KEY, **HELLOS), mldsa65_key=wanted)
    with pytest.raises(RealCertificateError):
        verify(PQ_SIGNER.certificate(AUTH_KEY, client_hello=b"another", server_hello=b"server's"), mldsa65_key=wanted)
    with pytest.raises(RealCertificateError):
        verify(PQ_SIGNER.certificate(AUTH_KEY, **HELLOS), mldsa65_key=b"no key")


@BOTH
@given(st.data())
@quick
def test_a_certificate_that_was_touched_is_not_believed(signer: NodeSigner, data: st.DataObject) -> None:
    good = signer.certificate(AUTH_KEY, **HELLOS)
    certificate = bytearray(good)
    certificate[data.draw(st.integers(0, len(good) - 1))] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(RealCertificateError):
        # What is neither key nor mark nor signature is not covered by any of them; it does not change the key.
        assert verify(bytes(certificate), mldsa65_key=signer.mldsa65_key) == signer.public
    for start in (good.index(signer.public), len(good) - 64):
        certificate = bytearray(good)
        certificate[start + data.draw(st.integers(0, 31))] ^= data.draw(st.integers(1, 255))
        with pytest.raises(RealCertificateError):
            verify(bytes(certificate))


@given(st.binary(max_size=300))
@quick
def test_no_octets_raise_anything_but_real_certificate_error(certificate: bytes) -> None:
    with pytest.raises(RealCertificateError):
        verify(certificate)


def test_a_signature_is_the_certificates_or_refused() -> None:
    signature = SIGNER.sign(b"transcript")
    verify_signature(SIGNER.public, signature, b"transcript")
    for public, made, transcript in (
        (bytes(32), signature, b"transcript"),
        (SIGNER.public, signature[:-1], b"transcript"),
        (SIGNER.public, signature, b"another"),
    ):
        with pytest.raises(TlsError):
            verify_signature(public, made, transcript)


@pytest.mark.parametrize(
    "data",
    [b"", b"\x30", b"\x31\0", b"\x30\1", b"\x30\x81\1a", b"\x30\x82\0\x81" + bytes(129), b"\x30\x80\0\0", b"\x30\x84"],
)
def test_what_is_not_der_is_refused(data: bytes) -> None:
    with pytest.raises(TlsError):
        der.DerReader(data).take(der.SEQUENCE)


@given(st.binary(max_size=70_000))
@quick
def test_an_element_comes_back_as_it_went(content: bytes) -> None:
    reader = der.DerReader(der.element(der.OCTET_STRING, content))
    assert reader.take(der.OCTET_STRING) == content
    reader.finish()


def test_keys_are_not_printed() -> None:
    assert repr(PQ_SIGNER) == f"<NodeSigner {PQ_SIGNER.public.hex()[:16]}…>"
