"""helm's page over TLS, and browsers before it: admins with a certificate, and whoever else has one of the fleet."""

from __future__ import annotations

import secrets
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import attrs
import h11
import trio
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12

from pharos.demo.processes import free_port
from pharos.helm.accounts.admins import add_admin
from pharos.helm.accounts.browsers import BrowserKey, add_browser
from pharos.helm.ca.webkey import web_credentials
from pharos.helm.model.admins import Role as AdminRole
from pharos.helm.web.app import _config, make_loopback_app
from pharos.helm.web.tls import Gate, serve_browsers
from pharos.wire.pki.csr import make_csr
from pharos.wire.pki.keys import certificate_to_der, generate_key
from pharos.wire.pki.roles import Identity, Role
from pharos.wire.pki.secretfd import load_key_pair
from pharos.wire.pki.tls import Credentials
from tests.support.helm import SampleHelm, now, sample_act
from tests.support.http import LOOPBACK, Answer, answer_of
from tests.support.pki import ground_for

HOST = "localhost:8440"
"""What browsers call helm, whatever port the test has."""
STATUS = "/api/v1/status"
REFUSED = (trio.BrokenResourceError, ssl.SSLError, h11.RemoteProtocolError)


@attrs.define
class TlsEdge:
    """A running page."""

    port: int
    gate: Gate
    shows: x509.Certificate
    """What a browser has to believe."""


@asynccontextmanager
async def serving_tls(helm: SampleHelm) -> AsyncIterator[TlsEdge]:
    """Serve the page of ``helm`` as `web_tls` does; browsers may call it ``HOST``, too."""
    gate = Gate(helm.store, helm.context.authorities, helm.vault)
    port = free_port(socket.SOCK_STREAM)
    app = make_loopback_app(helm.context, {HOST, f"localhost:{port}"}, tls=True)
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_browsers, app, _config("localhost"), gate, LOOPBACK, port)
        shows = (await helm.store.run(web_credentials, helm.vault, now=now())).certificate
        yield TlsEdge(port, gate, shows)
        nursery.cancel_scope.cancel()


async def new_admin(helm: SampleHelm, name: str = "ada", role: AdminRole = AdminRole.OWNER) -> str:
    """Return the id of a new admin."""
    return await helm.store.run(lambda db: add_admin(db, sample_act(), name, role).id)


async def new_browser(helm: SampleHelm, admin_id: str) -> tuple[BrowserKey, Credentials]:
    """Return a new browser certificate of an admin, and what a browser makes of the file."""
    made = await helm.store.run(lambda db: add_browser(db, sample_act(), helm.authority, admin_id))
    return made, opened(made.store, made.password)


def opened(store: bytes, password: str) -> Credentials:
    """Return what is in a PKCS #12 file."""
    key, certificate, others = pkcs12.load_key_and_certificates(store, password.encode())
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert certificate is not None
    assert others == []
    return Credentials(certificate=certificate, key=key)


def member_of(helm: SampleHelm, role: Role) -> Credentials:
    """Return credentials of a member of this role, by the fleet's own authority."""
    member = secrets.token_hex(8)
    identity, key = Identity(fleet=helm.authority.trust.fleet, role=role, id=member), generate_key()
    certificate = helm.authority._issue(role, member, make_csr(key), ground_for(identity), now())
    return Credentials(certificate=certificate, key=key)


def browser_context(
    shows: x509.Certificate, credentials: Credentials | None, *, alpn: Sequence[str] = ("http/1.1",)
) -> ssl.SSLContext:
    """Return the TLS of a browser that believes the page's certificate, and has one of its own or none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=certificate_to_der(shows))
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if credentials is not None:
        load_key_pair(context, (credentials.certificate,), credentials.key)
    return context


@asynccontextmanager
async def connected(port: int, context: ssl.SSLContext) -> AsyncIterator[trio.SSLStream[trio.SocketStream]]:
    """Connect as a browser does; that it is refused shows only with the first read."""
    with trio.fail_after(10):
        tcp = await trio.open_tcp_stream(LOOPBACK, port)
        stream = trio.SSLStream(tcp, context, server_hostname="localhost", https_compatible=True)
        try:
            yield stream
        finally:
            await trio.aclose_forcefully(stream)


async def ask(
    stream: trio.SSLStream[trio.SocketStream], target: str = STATUS, *headers: tuple[str, str], host: str = HOST
) -> Answer:
    """Ask on a connection that stays open.

    Raises: one of ``REFUSED`` — there is no answer.
    """
    connection = h11.Connection(h11.CLIENT)
    request = h11.Request(method="GET", target=target, headers=[("Host", host), *headers])
    await stream.send_all((connection.send(request) or b"") + (connection.send(h11.EndOfMessage()) or b""))
    return await answer_of(stream, connection)


async def gets_in(port: int, context: ssl.SSLContext) -> bool:
    """Tell whether one octet of HTTP comes back."""
    try:
        async with connected(port, context) as stream:
            await ask(stream)
    except REFUSED:
        return False
    return True
