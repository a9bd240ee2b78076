"""Against OpenSSL, by way of the standard library: it knows nothing of REALITY, and TLS 1.3 better than we do."""

from __future__ import annotations

import contextlib
import datetime
import ssl
from pathlib import Path

import attrs
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from pharos.wire.reality.auth import Admitted, Mark
from pharos.wire.reality.client import ClientConnection
from pharos.wire.reality.codec import pack, vector
from pharos.wire.reality.connection import Connection, Event, HandshakeCompleted, PeerClosed, State
from pharos.wire.reality.errors import RealCertificateError, TlsError
from pharos.wire.reality.extensions import Extension
from pharos.wire.reality.flight import FlightRecorder
from pharos.wire.reality.groups import SECP256R1, SECP384R1, X25519, X25519MLKEM768
from pharos.wire.reality.parrots import CHROME, FIREFOX, PARROTS, SAFARI, Parrot
from pharos.wire.reality.server import ServerConnection
from tests.support.reality import (
    FOUR,
    NAME,
    NOW,
    SHAPES,
    SIGNER,
    data_in,
    events_of,
    hello_in,
    seeded,
    settings,
    target_flight,
)

HAS_MLKEM = ssl.OPENSSL_VERSION_INFO >= (3, 5)
"""OpenSSL then prefers X25519MLKEM768 where it is offered."""
CURVES = {"prime256v1": SECP256R1, "secp384r1": SECP384R1}


class OpenSsl:
    """One end that OpenSSL runs, over memory."""

    def __init__(self, context: ssl.SSLContext, *, server_side: bool) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_side, server_hostname=None if server_side else NAME
        )

    def shake(self) -> bytes:
        """Go on with the handshake as far as it goes; returns what has to be sent."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        return self._outgoing.read()

    def feed(self, data: bytes | bytearray) -> None:
        self._incoming.write(data)

    def write(self, data: bytes) -> bytes:
        self.tls.write(data)
        return self._outgoing.read()

    def read(self) -> bytes:
        found = b""
        with contextlib.suppress(ssl.SSLWantReadError):
            while chunk := self.tls.read(1 << 20):
                found += chunk
        return found


def server_context(directory: Path, key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> ssl.SSLContext:
    """A real site's: with a certificate that says so, as far as a test can have one."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAME)])
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=3650))
        .sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())
    )
    path = directory / "site.pem"
    path.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


@pytest.fixture
def site(tmp_path: Path) -> ssl.SSLContext:
    return server_context(tmp_path, ec.generate_private_key(ec.SECP256R1()))


def device(parrot: Parrot = CHROME, **changes: object) -> ClientConnection:
    return ClientConnection(settings(parrot=parrot, **changes), now=NOW, random=seeded())


def talk(client: Connection, server: OpenSsl, *, turns: int = 3) -> list[Event]:
    """Carry octets between both until nothing moves."""
    found: list[Event] = []
    for _ in range(turns):
        server.feed(client.take_output())
        client.receive(server.shake())
        found += events_of(client)
    return found


@pytest.mark.parametrize("parrot", PARROTS.values(), ids=PARROTS)
@pytest.mark.parametrize("post_quantum", [True, False])
def test_a_real_site_ends_in_its_certificate_and_hears_no_more(
    site: ssl.SSLContext, parrot: Parrot, post_quantum: bool
) -> None:
    client, server = device(parrot, post_quantum=post_quantum), OpenSsl(site, server_side=True)
    with pytest.raises(RealCertificateError):
        talk(client, server)
    answer = client._server_hello
    assert answer is not None
    assert answer.group == (X25519MLKEM768 if post_quantum and HAS_MLKEM else X25519)
    # EncryptedExtensions and Certificate were opened: our keys are OpenSSL's.
    assert client._reader.key is not None
    assert client._reader.key.sequence >= 2
    assert client.take_output() == b""


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("parrot", [CHROME, FIREFOX, SAFARI], ids=lambda parrot: parrot.name)
def test_a_site_may_ask_for_a_curve_of_its_own(site: ssl.SSLContext, curve: str, parrot: Parrot) -> None:
    site.set_ecdh_curve(curve)
    client, server = device(parrot), OpenSsl(site, server_side=True)
    with pytest.raises(RealCertificateError):
        talk(client, server)
    answer = client._server_hello
    assert answer is not None
    assert answer.group == CURVES[curve]
    asked = parrot is not FIREFOX or curve == "secp384r1"
    assert (client._retry is not None) is asked


def test_a_site_of_tls12_is_told_that_this_is_not_enough(site: ssl.SSLContext) -> None:
    site.maximum_version = ssl.TLSVersion.TLSv1_2
    client = device()
    with pytest.raises(TlsError, match=r"not of TLS 1\.3"):
        talk(client, OpenSsl(site, server_side=True))


def believing(monkeypatch: pytest.MonkeyPatch, context_key: bytes) -> Parrot:
    """Weaken the build: any certificate is believed. The hello then has to offer Ed25519, as OpenSSL insists on it."""
    monkeypatch.setattr("pharos.wire.reality.client.verify_certificate", lambda *_, **__: context_key)
    schemes = vector(2, pack((0x0807, 0x0403)))
    extensions = tuple(
        (code, schemes if code == Extension.SIGNATURE_ALGORITHMS else body) for code, body in CHROME.extensions
    )
    return attrs.evolve(CHROME, extensions=extensions)


def test_a_stranger_gets_data_only_from_a_build_that_believes_any_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    context = server_context(tmp_path, key)
    with monkeypatch.context() as weakened:
        parrot = believing(weakened, key.public_key().public_bytes_raw())
        client, server = device(parrot), OpenSsl(context, server_side=True)
        assert talk(client, server) == [HandshakeCompleted(suite=0x1302, group=X25519)]
        client.send(b"uuid")
        server.feed(client.take_output())
        assert server.read() == b"uuid"
        # The rest of TLS is OpenSSL's, too: tickets, data, another key, the end.
        client.receive(server.write(b"answer" * 10_000))
        assert data_in(events_of(client)) == b"answer" * 10_000
        client.update_keys(request=True)
        client.send(b"more")
        server.feed(client.take_output())
        assert server.read() == b"more"
        client.receive(server.write(b"under another key"))
        assert data_in(events_of(client)) == b"under another key"
        client.send_end()
        server.feed(client.take_output())
        assert server.read() == b""
        with contextlib.suppress(ssl.SSLWantReadError):
            server.tls.unwrap()
        client.receive(server._outgoing.read())
        assert events_of(client) == [PeerClosed()]
    client, server = device(parrot), OpenSsl(context, server_side=True)
    with pytest.raises(RealCertificateError):
        talk(client, server)
    assert client.take_output() == b""


@pytest.mark.parametrize("shape", SHAPES)
def test_openssl_as_a_client_takes_a_nodes_handshake_for_tls(shape: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    client = OpenSsl(context, server_side=False)
    hello = hello_in(client.shake())
    admitted = Admitted(auth_key=bytes(32), mark=Mark.decode(bytes(16)))
    node = ServerConnection(
        hello,
        admitted,
        target_flight(hello, group=X25519, records=SHAPES[shape]),
        SIGNER,
        random=seeded(),
        post_handshake=(255, 255),
    )
    client.feed(node.take_output())
    node.receive(client.shake())
    assert events_of(node) == [HandshakeCompleted(suite=0x1301, group=X25519)]
    assert client.tls.version() == "TLSv1.3"
    node.send(b"hello" * 10_000)
    client.feed(node.take_output())
    assert client.read() == b"hello" * 10_000
    node.receive(client.write(b"answer"))
    assert data_in(events_of(node)) == b"answer"
    node.update_keys(request=True)
    node.send(b"under another key")
    client.feed(node.take_output())
    assert client.read() == b"under another key"
    node.receive(client.write(b"and back"))
    assert data_in(events_of(node)) == b"and back"
    assert node.state is State.CONNECTED


def test_the_flight_of_openssl_is_borrowed_and_its_lengths_are_kept(site: ssl.SSLContext) -> None:
    client, target = device(), OpenSsl(site, server_side=True)
    output = client.take_output()
    hello = hello_in(output)
    target.feed(output)
    recorder = FlightRecorder()
    flight = recorder.feed(target.shake())
    assert flight is not None
    assert len(flight.records) == 4
    flight.check(hello)
    assert max(flight.records) < max(FOUR)
