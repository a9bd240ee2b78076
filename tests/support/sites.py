"""Real sites on loopback, run by the standard library's TLS, for whoever has to judge them."""

from __future__ import annotations

import contextlib
import datetime
import functools
import ssl
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

HOST = "127.0.0.1"
SITE_NAME = "www.site.test"


@functools.cache
def authority() -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    """Return the authority that `trusting` believes."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key, _builder("site authority", key.public_key(), "site authority", ca=True).sign(key, hashes.SHA256())


def trusting() -> ssl.SSLContext:
    """Return the trust of a browser that knows `authority`."""
    _, certificate = authority()
    return ssl.create_default_context(cadata=certificate.public_bytes(serialization.Encoding.PEM).decode())


def site_context(
    *names: str,
    alpn: tuple[str, ...] = ("h2", "http/1.1"),
    large: bool = False,
    expired: bool = False,
    self_signed: bool = False,
) -> ssl.SSLContext:
    """Return a site's TLS with a certificate for these names; a ``large`` one has 5 kB."""
    key = ec.generate_private_key(ec.SECP256R1())
    ca_key, _ = authority()
    issuer = "itself" if self_signed else "site authority"
    more = tuple(f"name-{number:03}.of.a.large.site.test" for number in range(120)) if large else ()
    builder = _builder(SITE_NAME, key.public_key(), issuer, names=(*names, *more), expired=expired)
    certificate = builder.sign(key if self_signed else ca_key, hashes.SHA256())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "site.pem"
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + private)
        context.load_cert_chain(path)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


@contextlib.asynccontextmanager
async def running_tls(context: ssl.SSLContext) -> AsyncIterator[int]:
    """Run a site that shakes hands and says nothing; yields its port."""

    async def serve(stream: trio.SocketStream) -> None:
        secure = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
        with contextlib.suppress(trio.BrokenResourceError):
            await secure.do_handshake()
            await secure.receive_some(1)

    async with running_tcp(serve) as port:
        yield port


@contextlib.asynccontextmanager
async def running_tcp(serve: Callable[[trio.SocketStream], Awaitable[None]]) -> AsyncIterator[int]:
    """Run anything on TCP; yields its port."""

    async def handle(stream: trio.SocketStream) -> None:
        async with stream:
            with contextlib.suppress(trio.BrokenResourceError):
                await serve(stream)

    async with trio.open_nursery() as nursery:
        [listener] = await trio.open_tcp_listeners(0, host=HOST)
        nursery.start_soon(trio.serve_listeners, handle, [listener])
        yield listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()


class Resolver(trio.abc.HostnameResolver):
    """Says the same IPv4 addresses of every name."""

    def __init__(self, *addresses: str) -> None:
        self._addresses = addresses

    async def getaddrinfo(
        self,
        host: bytes | None,
        port: bytes | str | int | None,
        family: int = 0,
        type: int = 0,  # noqa: A002  # the interface's
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        return [(2, 1, 6, "", (address, port)) for address in self._addresses]

    async def getnameinfo(self, sockaddr: Any, flags: int) -> Any:
        raise AssertionError("nobody is asked for a name")


def _builder(
    subject: str,
    public_key: ec.EllipticCurvePublicKey,
    issuer: str,
    *,
    names: tuple[str, ...] = (),
    ca: bool = False,
    expired: bool = False,
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    start = now - datetime.timedelta(days=60)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(now - datetime.timedelta(days=1) if expired else now + datetime.timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if names:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False
        )
    return builder


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def trust_of_the_system(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let this process's own trust be `trusting`'s."""
    path = folder / "site-authority.pem"
    path.write_bytes(authority()[1].public_bytes(serialization.Encoding.PEM))
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
