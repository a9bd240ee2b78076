"""A whole node on loopback, and the site that it borrows from."""

from __future__ import annotations

import contextlib
import datetime
import functools
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import attrs
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from pharos.wire.reality.control import Change, UserChange
from pharos.wire.reality.dial import open_reality
from pharos.wire.reality.engine import RealityEngine
from pharos.wire.reality.events import Event
from pharos.wire.reality.learning import Patience
from pharos.wire.reality.serving import RealityServer
from pharos.wire.reality.vless import Flow, Request
from pharos.wire.reality.vlessstream import VlessStream, request_over
from tests.support.reality import NAME, NODE_KEY, SHORT_ID, settings
from tests.wire.reality.fronts import HOST, PATIENCE
from tests.wire.reality.proxied import OTHER_ID, USER_ID

PLAIN, VISION = "plain", "vision"
IDS = {PLAIN: OTHER_ID, VISION: USER_ID}
FLOWS = {PLAIN: Flow.NONE, VISION: Flow.VISION}
SHORT = Patience(visit=PATIENCE, quiet=0.15, alert=0.15)
"""For a target on the same machine."""
LOOPBACK = ipaddress.ip_network("127.0.0.0/8")


@functools.cache
def site_pem(names: int = 150) -> bytes:
    """Return the certificate and the key of a site. One of so many names leaves room for ML-DSA-65."""
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAME)])
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    others = [x509.DNSName(f"name-{number:03}.of.a.site.test") for number in range(names)]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=3650))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME), *others]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made.public_bytes(serialization.Encoding.PEM) + private


def site_context(folder: Path, *, alpn: tuple[str, ...] = ("h2", "http/1.1"), names: int = 150) -> ssl.SSLContext:
    path = folder / "site.pem"
    path.write_bytes(site_pem(names))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    context.set_alpn_protocols(list(alpn))
    return context


SETTINGS = bytes.fromhex("00000c0400000000000003000000640004000fffff")
"""What a site says first in HTTP/2."""
PAGE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\npage\n"


class Site:
    """A site that OpenSSL runs: it answers whatever it is asked with a page, and ends as OpenSSL's users do."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context
        self.port = 0
        self.connections = 0
        self.received = bytearray()
        self.ended = 0

    async def serve(self, stream: trio.SocketStream) -> None:
        self.connections += 1
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        greeted: list[bytes] = []
        tls = self.context.wrap_bio(incoming, outgoing, server_side=True)
        try:
            async with stream:
                with contextlib.suppress(trio.BrokenResourceError):
                    async for chunk in stream:
                        self.received += chunk
                        incoming.write(chunk)
                        goes_on = _step(tls, greeted)
                        if out := outgoing.read():
                            await stream.send_all(out)
                        if not goes_on:
                            return
        finally:
            self.ended += 1


def _step(tls: ssl.SSLObject, greeted: list[bytes]) -> bool:
    """Go on as far as it goes; says whether more may come."""
    try:
        tls.do_handshake()
        if not greeted and tls.selected_alpn_protocol() == "h2":
            greeted.append(SETTINGS)
            tls.write(SETTINGS)
        while tls.read(1 << 16):
            tls.write(PAGE)
    except ssl.SSLWantReadError:
        return True
    except ssl.SSLError:
        return False
    with contextlib.suppress(ssl.SSLError):
        tls.unwrap()
    return False


@contextlib.asynccontextmanager
async def running_site(
    context: ssl.SSLContext, serve: Callable[[trio.SocketStream], Awaitable[None]] | None = None
) -> AsyncIterator[Site]:
    site = Site(context)
    async with trio.open_nursery() as nursery:
        [listener] = await trio.open_tcp_listeners(0, host=HOST)
        site.port = listener.socket.getsockname()[1]
        handle = serve or site.serve

        async def guarded(stream: trio.SocketStream) -> None:
            # The node visits the site, too, and goes when it has seen enough.
            with contextlib.suppress(trio.BrokenResourceError):
                await handle(stream)

        nursery.start_soon(trio.serve_listeners, guarded, [listener])
        yield site
        nursery.cancel_scope.cancel()


@attrs.define
class Node:
    engine: RealityEngine
    port: int = 0

    @property
    def server(self) -> RealityServer:
        return self.engine.server

    @contextlib.asynccontextmanager
    async def asks(self, request: Request) -> AsyncIterator[VlessStream]:
        """Dial as a device does, and ask for something."""
        async with open_reality(HOST, self.port, settings()) as outer:
            yield request_over(outer, request)

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[trio.MemoryReceiveChannel[Event]]:
        async with self.server.users.watch() as events:
            yield events


def told(target: int, **changes: Any) -> Change:
    """What a node of these tests is told: it listens on loopback, where its users may go, too."""
    usual = Change(
        private_key=NODE_KEY,
        target=f"{HOST}:{target}",
        server_names=(NAME,),
        short_ids=(SHORT_ID.hex(),),
        listen=((HOST, 0),),
        allowed_networks=(LOOPBACK,),
        users=tuple(UserChange(name=name, user_id=IDS[name], flow=FLOWS[name]) for name in IDS),
    )
    return attrs.evolve(usual, **changes)


@contextlib.asynccontextmanager
async def running_node(target: int, *, learnt: bool = False, **options: Any) -> AsyncIterator[Node]:
    """Run a node in front of a target; options are those of `RealityServer`, and of `told`.

    With ``learnt`` it begins when the node knows the target's habits.
    """
    changes = {name: options.pop(name) for name in tuple(options) if name in attrs.fields_dict(Change)}
    with trio.fail_after(PATIENCE):
        node = Node(RealityEngine(RealityServer(**{"patience": SHORT} | options)))
        assert node.engine.apply(told(target, **changes)) == 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(node.engine.run)
            node.port = node.engine.state().listening[0][1]
            if learnt:
                await node.server.learnt.wait()
            yield node
            nursery.cancel_scope.cancel()
