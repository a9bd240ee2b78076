"""TLS contexts: TLS 1.3 only, one authority as the only anchor, no resumption.

A context is half of the check; `verify.authorize_peer` (or `admit_peer`) on the peer's certificate is the other
half, and comes before the first byte in either direction.
"""

import datetime
import ssl
from typing import Protocol

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from pharos.wire.pki.keys import certificate_to_der
from pharos.wire.pki.roles import GRPC_ALPN, Authority, ListenerPolicy
from pharos.wire.pki.secretfd import load_key_pair
from pharos.wire.pki.trust import Trust
from pharos.wire.pki.verify import verify_presented_chain


@attrs.frozen(kw_only=True)
class Credentials:
    """What a member proves itself with."""

    certificate: x509.Certificate
    """Its leaf."""
    key: ec.EllipticCurvePrivateKey = attrs.field(repr=False)
    """The leaf's private key."""


def server_context(credentials: Credentials, *, trust: Trust, policy: ListenerPolicy) -> ssl.SSLContext:
    """Return the context of a listener under `policy`."""
    context = _context(ssl.PROTOCOL_TLS_SERVER, policy.alpn)
    # A resumed session skips the certificate, and with it the role check and the deny list.
    context.num_tickets = 0
    context.verify_mode = ssl.CERT_OPTIONAL if policy.anonymous else ssl.CERT_REQUIRED
    _anchor(context, trust.anchors(policy.authority))
    chain: tuple[x509.Certificate, ...] = (credentials.certificate,)
    if policy.anonymous:
        # A stranger with only a root hash needs the whole chain to judge us by; members are configured with it.
        chain += (trust.anchor_of(credentials.certificate, Authority.FLEET), trust.root)
    load_key_pair(context, chain, credentials.key)
    return context


def client_context(*, trust: Trust, credentials: Credentials | None = None) -> ssl.SSLContext:
    """Return the context to dial a node or a relay with; None is a member who does not show itself.

    The caller passes the peer's `Identity.dns_name` as `server_hostname`, whatever address it dials.
    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT, GRPC_ALPN)
    context.hostname_checks_common_name = False
    _anchor(context, trust.anchors(Authority.FLEET))
    if credentials is not None:
        load_key_pair(context, (credentials.certificate,), credentials.key)
    return context


def enrolment_context(*, root_hash: bytes, relay_id: str, now: datetime.datetime) -> ssl.SSLContext:
    """Return the context of one who knows no certificate of the fleet yet, only its root's hash, out of a link.

    OpenSSL has no anchor to verify with, so the handshake itself ends with `verify_presented_chain` and raises its
    PeerRejectedError. A TLS 1.3 handshake always proves that the server holds the key of the leaf it presents.
    """

    def check(connection: ssl.SSLSocket | ssl.SSLObject) -> None:
        verify_presented_chain(presented_chain(connection), root_hash=root_hash, relay_id=relay_id, now=now)

    class CheckedSocket(ssl.SSLSocket):
        def do_handshake(self, block: bool = False) -> None:
            super().do_handshake(block)
            check(self)

    class CheckedObject(ssl.SSLObject):
        def do_handshake(self) -> None:
            super().do_handshake()
            check(self)

    context = _context(ssl.PROTOCOL_TLS_CLIENT, GRPC_ALPN)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.sslsocket_class = CheckedSocket
    context.sslobject_class = CheckedObject
    return context


class _PresentedCertificate(Protocol):
    def public_bytes(self, encoding: int, /) -> bytes: ...


class _OpenSslConnection(Protocol):
    def get_unverified_chain(self) -> list[_PresentedCertificate] | None: ...


def presented_chain(connection: ssl.SSLSocket | ssl.SSLObject) -> tuple[bytes, ...]:
    """Return the DER certificates that the server sent in its handshake, as sent: unverified.

    The one use of a private name of `ssl`: it has had this since 3.10 on the object behind the socket, and
    offers it to the public since 3.13.
    """
    inner: _OpenSslConnection = connection._sslobj  # type: ignore[union-attr]
    encoding_der: int = ssl._ssl.ENCODING_DER  # type: ignore[attr-defined]
    return tuple(certificate.public_bytes(encoding_der) for certificate in inner.get_unverified_chain() or ())


def _context(protocol: ssl._SSLMethod, alpn: tuple[str, ...]) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(list(alpn))
    # By default a stranger may choose the group, and with ffdhe8192 a hello of 1 KiB costs our only thread 180 ms
    # (CVE-2002-20001). `ssl` takes the name of one, and Debian 12's knows no X25519 by that way.
    context.set_ecdh_curve("prime256v1")
    return context


def _anchor(context: ssl.SSLContext, anchors: tuple[x509.Certificate, ...]) -> None:
    # PARTIAL_CHAIN lets an intermediate be an anchor; the root is not one, or both authorities would be accepted. An
    # authority and its successor have one name, and OpenSSL tells them apart by the leaf's authority key identifier.
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN | ssl.VerifyFlags.VERIFY_X509_STRICT
    context.load_verify_locations(cadata=b"".join(certificate_to_der(anchor) for anchor in anchors))
