"""The certificate by which a node shows that it knows the authentication key; nobody else could have made it.

It is self-made, its key is Ed25519, and its signature is none: it is HMAC-SHA512 of that key under the authentication
key. With ML-DSA-65 its first extension is a signature, too, over an HMAC that covers both hellos.
"""

import hmac
from typing import Final

import attrs
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey, MLDSA65PublicKey

from pharos.wire.reality import der
from pharos.wire.reality.der import DerReader, element
from pharos.wire.reality.errors import Alert, RealCertificateError, TlsError

ED25519_SCHEME: Final = 0x0807
"""Code of the signature in CertificateVerify (RFC 8446 §4.2.3)."""
MLDSA65_KEY_LENGTH: Final = 1952
MLDSA65_SIGNATURE_LENGTH: Final = 3309

_ED25519: Final = element(der.SEQUENCE, element(der.OBJECT_IDENTIFIER, bytes.fromhex("2b6570")))
"""AlgorithmIdentifier (RFC 8410 §3)."""
_SPKI_PREFIX: Final = _ED25519 + b"\x03\x21\x00"
"""Before the key: the rest of a SubjectPublicKeyInfo."""
_KEY_LENGTH: Final = 32
_NO_NAME: Final = element(der.SEQUENCE)
_ALWAYS: Final = element(der.SEQUENCE, *[element(der.UTC_TIME, date) for date in (b"000101000000Z", b"491231235959Z")])
_EXTENSION_ID: Final = element(der.OBJECT_IDENTIFIER, b"\0")
"""0.0, as Xray has it: nobody reads it."""
_VERIFY_CONTEXT: Final = b" " * 64 + b"TLS 1.3, server CertificateVerify\0"


class NodeSigner:
    """A node's keys for its certificates: an Ed25519 key, new in each process, and perhaps one of ML-DSA-65."""

    def __init__(self, ed25519_seed: bytes, *, mldsa65_seed: bytes | None = None) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(ed25519_seed)
        self._post_quantum = None if mldsa65_seed is None else MLDSA65PrivateKey.from_seed_bytes(mldsa65_seed)
        self.public: Final = self._private.public_key().public_bytes_raw()

    @property
    def mldsa65_key(self) -> bytes | None:
        """The public key that clients are told to verify with."""
        return None if self._post_quantum is None else self._post_quantum.public_key().public_bytes_raw()

    def certificate(self, auth_key: bytes, *, client_hello: bytes, server_hello: bytes) -> bytes:
        """Return the certificate in DER. The hellos are whole handshake messages."""
        running = hmac.new(auth_key, self.public, "sha512")
        mark = running.digest()
        extension = b""
        if self._post_quantum is not None:
            running.update(client_hello + server_hello)
            signature = element(der.OCTET_STRING, self._post_quantum.sign(running.digest()))
            entry = element(der.SEQUENCE, _EXTENSION_ID, signature)
            extension = element(der.EXTENSIONS, element(der.SEQUENCE, entry))
        body = element(
            der.SEQUENCE,
            element(der.VERSION, element(der.INTEGER, b"\2")),
            element(der.INTEGER, b"\0"),
            _ED25519,
            _NO_NAME,
            _ALWAYS,
            _NO_NAME,
            element(der.SEQUENCE, _SPKI_PREFIX, self.public),
            extension,
        )
        return element(der.SEQUENCE, body, _ED25519, element(der.BIT_STRING, b"\0", mark))

    def sign(self, transcript_hash: bytes) -> bytes:
        """Return the signature for CertificateVerify (RFC 8446 §4.4.3)."""
        return self._private.sign(_VERIFY_CONTEXT + transcript_hash)

    def __repr__(self) -> str:
        return f"<NodeSigner {self.public.hex()[:16]}…>"


@attrs.frozen(kw_only=True)
class _Parts:
    public: bytes
    mark: bytes
    extension: bytes | None
    """Value of the first one."""


def verify_certificate(
    certificate: bytes, auth_key: bytes, *, mldsa65_key: bytes | None, client_hello: bytes, server_hello: bytes
) -> bytes:
    """Return the Ed25519 key of a certificate that only our node can have made.

    Raises: RealCertificateError — it is any other certificate; nothing may be sent to who showed it.
    """
    try:
        parts = _take_apart(certificate)
    except TlsError as error:
        raise RealCertificateError(f"the server's certificate is not a node's: {error}") from None
    running = hmac.new(auth_key, parts.public, "sha512")
    if not hmac.compare_digest(running.digest(), parts.mark):
        raise RealCertificateError("the server's certificate is not marked by our node")
    if mldsa65_key is not None:
        running.update(client_hello + server_hello)
        try:
            MLDSA65PublicKey.from_public_bytes(mldsa65_key).verify(parts.extension or b"", running.digest())
        except (InvalidSignature, ValueError):
            raise RealCertificateError("the server's certificate is not signed with our node's ML-DSA-65 key") from None
    return parts.public


def verify_signature(public: bytes, signature: bytes, transcript_hash: bytes) -> None:
    """Raises: TlsError — the CertificateVerify's signature is not this key's."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, _VERIFY_CONTEXT + transcript_hash)
    except (InvalidSignature, ValueError):
        raise TlsError(Alert.DECRYPT_ERROR, "the server's CertificateVerify is not signed by its certificate") from None


def _take_apart(certificate: bytes) -> _Parts:
    """RFC 5280 §4.1; what is of no interest here is only walked over."""
    outer = DerReader(certificate)
    whole = outer.enter(der.SEQUENCE)
    outer.finish()
    body = whole.enter(der.SEQUENCE)
    whole.take(der.SEQUENCE)
    signature = whole.take(der.BIT_STRING)
    whole.finish()
    if body.next_is(der.VERSION):
        body.take(der.VERSION)
    body.take(der.INTEGER)
    for _ in ("signature", "issuer", "validity", "subject"):
        body.take(der.SEQUENCE)
    key = body.take(der.SEQUENCE)
    if not key.startswith(_SPKI_PREFIX) or len(key) != len(_SPKI_PREFIX) + _KEY_LENGTH:
        raise der.broken("has no Ed25519 key")
    public = key[len(_SPKI_PREFIX) :]
    # The first octet of a bit string counts the bits that are missing in its last one.
    return _Parts(public=public, mark=signature[1:], extension=_first_extension(body))


def _first_extension(body: DerReader) -> bytes | None:
    if not body.next_is(der.EXTENSIONS):
        return None
    entry = body.enter(der.EXTENSIONS).enter(der.SEQUENCE).enter(der.SEQUENCE)
    entry.take(der.OBJECT_IDENTIFIER)
    # Whether it is critical may stand between (a BOOLEAN); a node's is not.
    return entry.take(der.OCTET_STRING) if entry.next_is(der.OCTET_STRING) else None
