"""An engine to test with: a throw-away CA, the Echo service, and every way to wire a client to a server."""

import datetime
import ssl
import struct
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import attrs
import grpclib.server
import trio
import trio.testing
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf.message import Message
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from pharos.beacon.forward import forward
from pharos.wire.rpc.client import Channel, open_channel
from pharos.wire.rpc.flow import EDGE, INNER, TUNNEL, Windows
from pharos.wire.rpc.h2conn import Connection
from pharos.wire.rpc.h2stream import H2Stream, Headers
from pharos.wire.rpc.peer import Peer
from pharos.wire.rpc.server import Service, peer_of, serve_connection
from pharos.wire.rpc.transport import SecureStream, SslStream, TlsStream, open_tls, serve_tls
from tests.support.gen.pharos_test.v1 import echo_grpc
from tests.support.gen.pharos_test.v1.echo_pb2 import Event, Ping, Pong, WatchRequest

HOST = "127.0.0.1"
SERVER_NAME = "server.test"

# What `EchoService.Echo` does with a sequence number that is not just echoed.
NOT_FOUND = 13
CRASH = 14
SLEEP = 15
RAISE_IN_NURSERY = 16
ANSWER_NOTHING = 17


@attrs.frozen(kw_only=True)
class Pems:
    """A certificate and its key."""

    certificate: bytes
    key: bytes = attrs.field(repr=False)

    @property
    def der(self) -> bytes:
        return x509.load_pem_x509_certificate(self.certificate).public_bytes(serialization.Encoding.DER)


class ThrowawayCa:
    """A CA that signs anybody, for TLS tests that are about the engine and not about roles."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "throw-away CA")])
        self._name = name
        self._certificate = (
            self._builder(name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.certificate = self._certificate.public_bytes(serialization.Encoding.PEM)

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + datetime.timedelta(hours=1))
        )

    def issue(self, name: str) -> Pems:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        certificate = (
            self._builder(subject, key.public_key())
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return Pems(
            certificate=certificate.public_bytes(serialization.Encoding.PEM),
            key=key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
        )

    def server_context(self, pems: Pems) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.verify_mode = ssl.CERT_REQUIRED
        context.num_tickets = 0
        return self._filled(context, pems)

    def client_context(self, pems: Pems | None) -> ssl.SSLContext:
        return self._filled(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), pems)

    def _filled(self, context: ssl.SSLContext, pems: Pems | None) -> ssl.SSLContext:
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.set_alpn_protocols(["h2"])
        context.load_verify_locations(cadata=self.certificate.decode())
        if pems is not None:
            with tempfile.NamedTemporaryFile(suffix=".pem") as file:
                file.write(pems.key + pems.certificate)
                file.flush()
                context.load_cert_chain(file.name)
        return context


class EchoService(echo_grpc.EchoBase):
    """Does what it is asked, and tells the test what became of its handlers."""

    def __init__(self) -> None:
        self.sent = 0
        """Messages that Watch has handed to the engine in its last call."""
        self.peers: list[Peer] = []
        self.metadata: list[dict[str, Any]] = []
        self.running = self.most_running = 0
        self._changed = trio.Event()
        self.cancelled = 0

    @asynccontextmanager
    async def _watched(self) -> AsyncIterator[None]:
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        self._change()
        try:
            yield
        except trio.Cancelled:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
            self._change()

    def _change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def wait_running(self, number: int) -> None:
        """Wait until so many handlers run."""
        while self.running != number:
            await self._changed.wait()

    async def wait_idle(self) -> None:
        """Wait until no handler runs."""
        await self.wait_running(0)

    async def Echo(self, stream: grpclib.server.Stream[Ping, Pong]) -> None:
        async with self._watched():
            self.peers.append(peer_of(stream))
            self.metadata.append(dict(stream.metadata or {}))
            request = await stream.recv_message()
            assert request is not None
            if request.seq == NOT_FOUND:
                raise GRPCError(Status.NOT_FOUND, "no such thing: é")
            if request.seq == CRASH:
                raise RuntimeError("boom")
            if request.seq == SLEEP:
                await trio.sleep_forever()
            if request.seq == RAISE_IN_NURSERY:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(trio.sleep_forever)
                    nursery.start_soon(_raise_not_found)
            if request.seq == ANSWER_NOTHING:
                return
            await stream.send_initial_metadata(metadata={"initial": "yes", "blob-bin": b"\x00\xff"})
            await stream.send_message(Pong(seq=request.seq, payload=request.payload))
            await stream.send_trailing_metadata(metadata={"trailing": "yes"})

    async def Watch(self, stream: grpclib.server.Stream[WatchRequest, Event]) -> None:
        async with self._watched():
            request = await stream.recv_message()
            assert request is not None
            body = b"z" * request.size
            self.sent = 0
            while not request.count or self.sent < request.count:
                if request.interval:
                    await trio.sleep(request.interval)
                await stream.send_message(Event(seq=self.sent, body=body))
                self.sent += 1

    async def Collect(self, stream: grpclib.server.Stream[Ping, Pong]) -> None:
        async with self._watched():
            total = 0
            async for ping in stream:
                total += ping.seq
            await stream.send_message(Pong(seq=total))

    async def Chat(self, stream: grpclib.server.Stream[Ping, Pong]) -> None:
        async with self._watched():
            async for ping in stream:
                await stream.send_message(Pong(seq=ping.seq * 2, payload=ping.payload))
            await stream.send_message(Pong(seq=999))


async def _raise_not_found() -> None:
    raise GRPCError(Status.NOT_FOUND, "in a nursery")


def frame(message: Message, *, compressed: int = 0, claim: int | None = None) -> bytes:
    """Prefix a message as gRPC does, or as it does not."""
    data = message.SerializeToString()
    return struct.pack(">BI", compressed, len(data) if claim is None else claim) + data


def request_headers(method: str, *more: tuple[str, str]) -> Headers:
    """Headers of a call to a method of the Echo service."""
    return [
        (":method", "POST"),
        (":scheme", "https"),
        (":path", f"/pharos_test.v1.Echo/{method}"),
        (":authority", SERVER_NAME),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        *more,
    ]


@asynccontextmanager
async def over_memory(
    handlers: Iterable[Any],
    *,
    client_windows: Windows = INNER,
    server_windows: Windows = INNER,
    max_streams: int = 100,
    max_message: int | None = None,
    keepalive: float | None = None,
) -> AsyncIterator[Channel]:
    """A client and a server over a pair of memory streams."""
    ours, theirs = trio.testing.memory_stream_pair()
    caps = {} if max_message is None else {"max_message": max_message}
    service = Service(list(handlers), **caps)
    async with trio.open_nursery() as nursery:

        async def serve() -> None:
            await serve_connection(
                theirs, service, windows=server_windows, max_streams=max_streams, keepalive=keepalive
            )

        nursery.start_soon(serve)
        async with open_channel(
            ours, authority=SERVER_NAME, windows=client_windows, keepalive=keepalive, **caps
        ) as channel:
            yield channel
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def over_tls(handlers: Iterable[Any], *, transport: type[SecureStream] = TlsStream) -> AsyncIterator[Channel]:
    """A client and a server over mTLS on loopback."""
    ca = ThrowawayCa()
    service = Service(list(handlers))
    async with running_server(service, ca, transport=transport) as address:
        stream = await dial(ca, address, transport=transport)
        async with open_channel(stream, authority=SERVER_NAME) as channel:
            yield channel


@asynccontextmanager
async def over_fallback_tls(handlers: Iterable[Any]) -> AsyncIterator[Channel]:
    """The same with `trio.SSLStream` below."""
    async with over_tls(handlers, transport=SslStream) as channel:
        yield channel


@asynccontextmanager
async def over_swapped_tls(handlers: Iterable[Any]) -> AsyncIterator[Channel]:
    """The TLS client is the HTTP/2 server, as helm is on the tunnel."""
    ca = ThrowawayCa()
    service = Service(list(handlers))
    send, receive = trio.open_memory_channel[Channel](0)
    done = trio.Event()

    async def call_back(stream: SecureStream) -> None:
        async with open_channel(stream, authority=SERVER_NAME) as channel:
            await send.send(channel)
            await done.wait()

    async with trio.open_nursery() as nursery:
        address = await nursery.start(_listen, call_back, ca)
        stream = await dial(ca, address)
        nursery.start_soon(serve_connection, stream, service)
        yield await receive.receive()
        done.set()
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def over_relay(handlers: Iterable[Any]) -> AsyncIterator[Channel]:
    """Through a forwarder, over memory streams; the tunnel's HTTP/2 roles are those of a beacon and helm."""
    service = Service(list(handlers))
    device_end, relay_down = trio.testing.memory_stream_pair()
    relay_up, helm_end = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        up = Connection(relay_up, client_side=True, windows=TUNNEL, keepalive=None)

        async def hand_on(down: H2Stream) -> None:
            await forward(down, up, down.headers or [])

        down = Connection(relay_down, client_side=False, windows=EDGE, accept=hand_on, keepalive=None)
        nursery.start_soon(up.run)
        nursery.start_soon(down.run)
        nursery.start_soon(serve_helm, helm_end, service)
        async with open_channel(device_end, authority=SERVER_NAME, windows=EDGE, keepalive=None) as channel:
            yield channel
        await wait_released(up)
        await wait_released(down)
        nursery.cancel_scope.cancel()


async def serve_helm(stream: trio.abc.Stream, service: Service) -> None:
    await serve_connection(stream, service, windows=TUNNEL, keepalive=None)


async def wait_released(connection: Connection) -> None:
    """Wait until nobody holds a stream of ``connection``, and see that HTTP/2 holds none either."""
    await trio.testing.wait_all_tasks_blocked()
    assert not connection.streams
    assert connection.closed or not connection.machine.streams


Wiring = Callable[[Iterable[Any]], AbstractAsyncContextManager[Channel]]
WIRINGS: dict[str, Wiring] = {
    "memory": over_memory,
    "tls": over_tls,
    "fallback": over_fallback_tls,
    "swapped": over_swapped_tls,
    "relay": over_relay,
}


@asynccontextmanager
async def running_server(
    service: Service,
    ca: ThrowawayCa,
    *,
    transport: type[SecureStream] = TlsStream,
    handshake_timeout: float = 5,
) -> AsyncIterator[tuple[str, int]]:
    """Serve over mTLS on loopback while the block runs; gives the address."""

    async def handle(stream: SecureStream) -> None:
        peer = Peer(address=stream.peer_address, certificate=stream.peer_certificate)
        await serve_connection(stream, service, peer=peer)

    async with trio.open_nursery() as nursery:
        yield await nursery.start(_listen, handle, ca, transport, handshake_timeout)
        nursery.cancel_scope.cancel()


async def _listen(
    handler: Any,
    ca: ThrowawayCa,
    transport: type[SecureStream] = TlsStream,
    handshake_timeout: float = 5,
    *,
    task_status: trio.TaskStatus[tuple[str, int]],
) -> None:
    await serve_tls(
        handler,
        host=HOST,
        port=0,
        context=ca.server_context(ca.issue(SERVER_NAME)),
        transport=transport,
        handshake_timeout=handshake_timeout,
        task_status=task_status,
    )


async def dial(
    ca: ThrowawayCa,
    address: tuple[str, int],
    *,
    pems: Pems | None = None,
    transport: type[SecureStream] = TlsStream,
) -> SecureStream:
    """Connect as a client with a certificate of ``ca``."""
    context = ca.client_context(pems or ca.issue("client.test"))
    return await open_tls(*address, context, server_hostname=SERVER_NAME, transport=transport)
