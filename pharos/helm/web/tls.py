"""The web edge over TLS (`web_tls`): for browsers that hold a certificate of an admin, and for nobody else.

helm shows a self-signed certificate for localhost and wants one of the Device CA. Who is revoked is not only kept out
but put out, at the commit that says so. Signing in comes on top of it.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import socket
import ssl
from contextlib import suppress
from typing import Final, NoReturn

import attrs
import trio
from hypercorn.config import Config
from quart import Response, g, request, websocket
from quart_trio import QuartTrio

from pharos.helm.ca.live import LiveAuthority
from pharos.helm.ca.vault import Vault
from pharos.helm.ca.webkey import web_credentials, web_due
from pharos.helm.errors import BusyError
from pharos.helm.live.board import now_us
from pharos.helm.store.database import Store
from pharos.helm.store.denials import deny_list, deny_order
from pharos.helm.store.times import moment
from pharos.helm.web.problems import problem
from pharos.helm.web.server import Application, Connection, open_application
from pharos.wire.errors import PeerRejectedError, RemoteProtocolError
from pharos.wire.pki.roles import WEB, Identity
from pharos.wire.pki.sessions import Sessions
from pharos.wire.pki.tls import Credentials, server_context
from pharos.wire.pki.trust import Trust
from pharos.wire.pki.verify import admit_peer
from pharos.wire.rpc.secure import SecureStream
from pharos.wire.rpc.transport import TlsStream, serve_tls
from pharos.wire.units import HOURS, SECONDS

log = logging.getLogger(__name__)

HTTP1: Final = "http/1.1"
# hypercorn is kept from HTTP/2 (server.py), so browsers are not offered it.
POLICY: Final = attrs.evolve(WEB, alpn=(HTTP1,))
RETRY: Final = 1 * SECONDS
LOOK: Final = 1 * HOURS
"""Between looks whether the web certificate ends soon."""
CERTIFICATE: Final = "browser_certificate"
"""In the ASGI scope's ``state``, and in `quart.g`: SHA-256 of the browser's certificate, hexadecimal."""


class WebStream(TlsStream):
    """TLS 1.3 with HTTP/1.1 in it."""

    @property
    def socket(self) -> socket.socket:
        """Whose addresses the app is told."""
        return self._socket

    def _check(self) -> None:
        version, alpn = self._socket.version(), self._socket.selected_alpn_protocol()
        # A browser says that it wants HTTP. What does not may be some other program's words (ALPACA, USENIX 2021).
        if version != "TLSv1.3" or alpn != HTTP1:
            raise RemoteProtocolError(f"the peer negotiated {version} with {alpn}, not TLSv1.3 with {HTTP1}")

    async def send_eof(self) -> None:
        """Say that nothing follows: an alert (RFC 8446 §6.1), then TCP's own end. Reading goes on."""
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            with suppress(ssl.SSLError):
                # It is not waited for that the other end says so too, nor for room to say it.
                self._socket.unwrap()
            # The method of SSLSocket would forget TLS, and read what is left as if it were plain.
            socket.socket.shutdown(self._socket, socket.SHUT_WR)
        except (OSError, ValueError) as error:
            raise trio.BrokenResourceError(str(error)) from error


@attrs.define(eq=False)
class Gate:
    """Who is let in."""

    _store: Store
    _authorities: LiveAuthority
    _vault: Vault
    _sessions: Sessions = attrs.field(factory=Sessions, init=False)
    _open: dict[Connection, bytes] = attrs.field(factory=dict, init=False)
    """Each connection with the certificate (DER) that it was admitted by."""
    _credentials: Credentials | None = attrs.field(default=None, init=False)
    _order: tuple[int, int] | None = attrs.field(default=None, init=False)
    """Epoch and version of the deny list in force."""
    _heeded: int = attrs.field(default=-1, init=False)
    """Commits of the record that it takes into account."""
    _turn: trio.Lock = attrs.field(factory=trio.Lock, init=False)
    _made: tuple[Trust, Credentials, ssl.SSLContext] | None = attrs.field(default=None, init=False)

    async def load(self) -> None:
        """Read, or make, what helm proves itself with, and who is denied.

        Raises: BusyError, StateFileError.
        """
        self._credentials = await self._store.run(web_credentials, self._vault, now=moment(now_us()))
        await self._heed()

    async def _heed(self) -> None:
        """Put the deny list in force as of every commit so far, and cut whom it names.

        Raises: BusyError.
        """
        # One at a time, for of two reads the later one may come back first.
        async with self._turn:
            commits = self._store.commits
            if commits == self._heeded:
                return
            order = (await self._store.read(deny_order)).order
            if order != self._order:
                for denied in self._sessions.apply(await self._store.read(deny_list)):
                    log.info("%s was revoked; its connection ends", denied.uri)
                self._order = order
            self._heeded = commits

    def context(self) -> ssl.SSLContext:
        """Return what the next handshake goes by: the authority may have been exchanged since the last."""
        trust, credentials = self._authorities.current.trust, self._credentials
        assert credentials is not None, "it is loaded first"
        if self._made is None or self._made[0] is not trust or self._made[1] is not credentials:
            self._made = (trust, credentials, server_context(credentials, trust=trust, policy=POLICY))
        return self._made[2]

    async def serve(self, application: Application, stream: WebStream) -> None:
        """Serve one browser to the end of its connection, or until it is revoked.

        Raises: PeerRejectedError — it is not an admin's. BusyError — nobody knows whether it was revoked.
        """
        # Whoever was told that a browser is revoked may rely on it, also before the task below has heard.
        await self._heed()
        certificate = stream.peer_certificate
        identity = self._admit(certificate)
        assert identity is not None, "this listener admits nobody without a certificate"
        assert certificate is not None, "and that is what names an identity"
        fingerprint = hashlib.sha256(certificate).hexdigest()
        connection = Connection(application, stream, secure=True, **{CERTIFICATE: fingerprint})
        with self._sessions.session(identity, certificate, cut=connection.cut):
            self._open[connection] = certificate
            try:
                await connection
            finally:
                del self._open[connection]

    def _admit(self, certificate: bytes | None) -> Identity | None:
        trust = self._authorities.current.trust
        return admit_peer(POLICY, certificate, trust=trust, now=moment(now_us()), deny=self._sessions.deny)

    def look_again(self) -> None:
        """Cut whose certificate would not be admitted now: it has ended, or its authority is not believed any more."""
        for connection, certificate in self._open.items():
            try:
                self._admit(certificate)
            except PeerRejectedError as error:
                log.info("a browser's connection ends: %s", error)
                connection.cut()

    async def run_authority(self) -> NoReturn:
        """Look again whenever the authority was exchanged, until cancelled."""
        seen = self._authorities.changes
        while True:
            seen = await self._authorities.wait_changed(seen)
            self.look_again()

    async def run_denials(self) -> NoReturn:
        """Follow the deny list and cut whom it names, until cancelled."""
        while True:
            commits = self._store.commits
            try:
                await self._heed()
            except BusyError:
                await trio.sleep(RETRY)
                continue
            await self._store.wait_commit(commits)

    async def run_certificate(self) -> NoReturn:
        """Replace the web certificate a month before it ends, and look for browsers' that have, until cancelled."""
        while True:
            await trio.sleep(LOOK)
            self.look_again()
            now = moment(now_us())
            if self._credentials is None or web_due(self._credentials, now=now):
                with suppress(BusyError):
                    self._credentials = await self._store.run(web_credentials, self._vault, now=now)
                    log.warning("the page shows a new certificate; helm admins certificate writes it for browsers")


async def serve_browsers(
    app: QuartTrio,
    config: Config,
    gate: Gate,
    host: str,
    port: int,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve ``app`` by TLS on one loopback address, until cancelled."""
    await gate.load()
    async with open_application(app, config) as application, trio.open_nursery() as nursery:

        async def serve_one(stream: SecureStream) -> None:
            assert isinstance(stream, WebStream)
            await gate.serve(application, stream)

        nursery.start_soon(gate.run_denials)
        nursery.start_soon(gate.run_authority)
        nursery.start_soon(gate.run_certificate)
        listen = functools.partial(
            serve_tls, serve_one, host=host, port=port, context=gate.context, transport=WebStream
        )
        await nursery.start(listen)
        task_status.started()


def know_browsers(app: QuartTrio, *, required: bool) -> None:
    """Let the app find the browser's certificate in ``g``; None where the edge is plain.

    ``required``: whatever comes without one is refused, by whatever way it came.
    """

    def verdict(state: object) -> Response | None:
        found = state.get(CERTIFICATE) if isinstance(state, dict) else None
        g.browser_certificate = found
        if required and found is None:
            return problem(403, "this page takes a browser with a certificate: helm admins certificate makes one")
        return None

    @app.before_request
    async def know_request() -> Response | None:
        return verdict(request.scope.get("state"))

    @app.before_websocket
    async def know_websocket() -> Response | None:
        return verdict(websocket.scope.get("state"))
