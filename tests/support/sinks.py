"""Log systems to send to, on loopback: HTTP receivers and a syslog receiver over TLS, each as well-behaved as told."""

from __future__ import annotations

import datetime
import functools
import ipaddress
import socket
import ssl
import struct
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import h11
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pharos.helm.audit.chain import AuditRow
from pharos.helm.model.sinks import Sink, SinkKind, Source
from pharos.helm.siem.records import Record, of_audit

LOOPBACK = "127.0.0.1"
FLEET = "0123456789abcdef"


@attrs.frozen(kw_only=True)
class Authority:
    """A CA of a company's own, and what it made for its receiver on 127.0.0.1."""

    pem: str
    server: ssl.SSLContext


@functools.cache
def own_ca(name: str = "a test") -> Authority:
    """Make a CA and a receiver's certificate."""
    key, leaf_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"CA of {name}")])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(LOOPBACK))])
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    ca = (
        _builder(issuer, issuer, key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(identifier, critical=False)
        .add_extension(_usage(cert_sign=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    leaf = (
        _builder(issuer, subject, leaf_key.public_key())
        .add_extension(address, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(cert_sign=False), critical=True)
        .sign(key, hashes.SHA256())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "receiver.pem"
        path.write_bytes(
            leaf_key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + leaf.public_bytes(serialization.Encoding.PEM)
        )
        context.load_cert_chain(path)
    return Authority(pem=ca.public_bytes(serialization.Encoding.PEM).decode(), server=context)


def _builder(issuer: x509.Name, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .subject_name(subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
    )


def _usage(*, cert_sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not cert_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=cert_sign,
        crl_sign=cert_sign,
        encipher_only=False,
        decipher_only=False,
    )


class Inbox:
    """What a receiver got; a test waits for so many."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        self.port = 0
        self._changed = trio.lowlevel.ParkingLot()

    def put(self, item: object) -> None:
        """Take one in."""
        self.items.append(item)
        self._changed.unpark_all()

    async def wait(self, fits: Callable[[list[Any]], bool]) -> list[Any]:
        """Return all once they fit."""
        with trio.fail_after(10):
            while not fits(self.items):
                await self._changed.park()
        return self.items


@attrs.frozen(kw_only=True)
class Posted:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes


Respond = Callable[[int], tuple[int, list[tuple[str, str]], bytes] | None]
"""Status, headers and body of the answer to request number so many, from 0; None: no answer ever."""


def takes_all(_number: int) -> tuple[int, list[tuple[str, str]], bytes]:
    """Acknowledge."""
    return 200, [], b""


@asynccontextmanager
async def http_receiver(
    respond: Respond = takes_all, *, tls: ssl.SSLContext | None = None, port: int = 0
) -> AsyncIterator[Inbox]:
    """Serve a webhook or a collector; the inbox has a `Posted` a request, whatever was answered."""
    inbox = Inbox()

    async def serve(stream: trio.abc.Stream) -> None:
        connection = h11.Connection(h11.SERVER)
        request, body = None, b""
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(bytes(await stream.receive_some(65536)))
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                assert request is not None
                headers = {name.decode(): value.decode() for name, value in request.headers}
                answer = respond(len(inbox.items))
                inbox.put(Posted(path=request.target.decode(), headers=headers, body=body))
                if answer is None:
                    await trio.sleep_forever()
                assert answer is not None
                status, more, content = answer
                lines = [*more, ("content-length", str(len(content)))]
                data = connection.send(h11.Response(status_code=status, headers=lines)) or b""
                data += connection.send(h11.Data(data=content)) or b""
                await stream.send_all(data + (connection.send(h11.EndOfMessage()) or b""))
                connection.start_next_cycle()
                request, body = None, b""
            else:
                return

    async with _listening(serve, inbox, tls, port):
        yield inbox


@asynccontextmanager
async def syslog_receiver(
    tls: ssl.SSLContext, *, ends: Callable[[int], str] = lambda _number: "close_notify", port: int = 0
) -> AsyncIterator[Inbox]:
    """Serve syslog; the inbox has each message, once its connection was read to its end.

    ``ends`` says of connection number so many what its end is: ``close_notify``, TCP's ``fin`` alone, ``reset`` before
    anything was read, ``crash`` when half of it was read, or ``silent``, which reads and says nothing.
    """
    inbox = Inbox()
    connections = 0

    async def serve(stream: trio.abc.Stream) -> None:
        nonlocal connections
        assert isinstance(stream, trio.SSLStream)
        how, connections = ends(connections), connections + 1
        transport = stream.transport_stream
        await stream.do_handshake()
        if how == "reset":
            reset(transport)
            return
        octets = b""
        while data := await stream.receive_some(65536):
            octets += data
            if how == "crash":
                reset(transport)
                return
        for message in unframed(octets):
            inbox.put(message)
        if how == "close_notify":
            await stream.unwrap()
        if how == "silent":
            await trio.sleep_forever()
        await trio.aclose_forcefully(transport)

    async with _listening(serve, inbox, tls, port):
        yield inbox


def reset(stream: trio.SocketStream) -> None:
    """Close so that the other end gets RST: with what it sent unread."""
    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.socket.close()


@asynccontextmanager
async def _listening(
    serve: Callable[[trio.abc.Stream], Any], inbox: Inbox, tls: ssl.SSLContext | None, port: int
) -> AsyncIterator[None]:
    async def guarded(stream: trio.abc.Stream) -> None:
        try:
            await serve(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError, h11.RemoteProtocolError):
            # The sender went away, or was meant to be surprised.
            pass
        finally:
            await trio.aclose_forcefully(stream)

    listeners = await trio.open_tcp_listeners(port, host=LOOPBACK)
    inbox.port = listeners[0].socket.getsockname()[1]
    chosen: Any = [trio.SSLListener(each, tls) for each in listeners] if tls else listeners
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, guarded, chosen)
        yield
        nursery.cancel_scope.cancel()


def unframed(octets: bytes) -> list[bytes]:
    """Read octet-counted frames (RFC 5425 §4.3), to the last octet."""
    messages = []
    while octets:
        length, blank, rest = octets.partition(b" ")
        assert blank, octets[:40]
        assert length.isdigit(), length
        assert not length.startswith(b"0"), length
        assert len(rest) >= int(length), "a frame is cut off"
        messages.append(rest[: int(length)])
        octets = rest[int(length) :]
    return messages


def sink_of(kind: SinkKind, url: str, **changes: Any) -> Sink:
    """A sink that is in no record."""
    return attrs.evolve(Sink(id="sink", name="soc", kind=kind, url=url, sources=tuple(Source)), **changes)


def audit_row(**changes: Any) -> AuditRow:
    """A row as helm writes them."""
    values: dict[str, Any] = {
        "sequence": 7,
        "at": 1_800_000_000_000_001,
        "actor": "ada",
        "via": "session",
        "verb": "device_revoked",
        "noun": "device",
        "subject": "019b7c12-0000-7000-8000-000000000010",
        "version": 3,
        "detail": "Ada's phone",
        "hash": bytes(32),
    }
    return AuditRow(**values | changes)


def sample(**changes: Any) -> Record:
    """What such a row says."""
    return of_audit(FLEET, audit_row(**changes))
