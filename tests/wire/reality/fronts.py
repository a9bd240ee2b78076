"""Real clients and targets around the proxies on loopback, for their tests."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import trio

from pharos.wire.reality.addresses import Address
from pharos.wire.reality.front import DatagramTunnel, Limits
from pharos.wire.reality.httpproxy import serve_http_proxy
from pharos.wire.reality.socksserver import serve_socks
from pharos.wire.reality.xudp import Datagram

HOST = "127.0.0.1"
# Nothing in these tests takes a second; a machine that was asleep must not fail them.
PATIENCE = 30
QUICK = Limits(request_timeout=PATIENCE, open_timeout=PATIENCE, idle_timeout=PATIENCE)


class Target:
    """A server on loopback. What it does with each connection is the test's to say; by default it echoes."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.connections = 0


async def echo(stream: trio.SocketStream) -> None:
    async for data in stream:
        await stream.send_all(data)
    await stream.send_eof()


@contextlib.asynccontextmanager
async def running_target(serve: Callable[[trio.SocketStream], Awaitable[None]] = echo) -> AsyncIterator[Target]:
    async with trio.open_nursery() as nursery:
        [listener] = await trio.open_tcp_listeners(0, host=HOST)
        target = Target(listener.socket.getsockname()[1])

        async def handle(stream: trio.SocketStream) -> None:
            target.connections += 1
            with contextlib.suppress(trio.BrokenResourceError):
                await serve(stream)

        nursery.start_soon(trio.serve_listeners, handle, [listener])
        yield target
        nursery.cancel_scope.cancel()


class Proxy:
    """A running proxy, and the clients that a test has made, which end with it."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self.sockets = contextlib.ExitStack()

    async def connect(self) -> trio.SocketStream:
        stream = await trio.open_tcp_stream(self.host, self.port)
        self.sockets.callback(stream.socket.close)
        return stream

    async def udp(self) -> trio.socket.SocketType:
        """Return a socket with a port of its own."""
        sock = self.sockets.enter_context(trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        await sock.bind((HOST, 0))
        return sock


def running_socks(**options):
    """Serve SOCKS while the block lasts. Streams go straight to their targets by default."""
    return running(serve_socks, **options)


def running_http_proxy(**options):
    return running(serve_http_proxy, **options)


@contextlib.asynccontextmanager
async def running(serve, **options) -> AsyncIterator[Proxy]:
    options = {"open_tcp": trio.open_tcp_stream, "limits": QUICK} | options
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            proxy = Proxy(*await nursery.start(lambda *, task_status: serve(**options, task_status=task_status)))
            with proxy.sockets:
                yield proxy
            nursery.cancel_scope.cancel()


class DirectTunnel(DatagramTunnel):
    """A socket of this machine, as if it were at the end of a tunnel."""

    def __init__(self) -> None:
        self.sock = trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.closed = trio.Event()

    async def send_datagram(self, datagram: Datagram) -> None:
        await self.sock.sendto(datagram.data, (datagram.address.host, datagram.address.port))

    async def receive_datagram(self) -> Datagram:
        data, (host, port) = await self.sock.recvfrom(65535)
        return Datagram(Address(host, port), data)

    async def aclose(self) -> None:
        self.sock.close()
        self.closed.set()
        await trio.lowlevel.checkpoint()


@contextlib.asynccontextmanager
async def running_udp_echo() -> AsyncIterator[Address]:
    """Answer each datagram with E and itself."""
    with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        await sock.bind((HOST, 0))

        async def answer() -> None:
            while True:
                data, source = await sock.recvfrom(65535)
                await sock.sendto(b"E" + data, source)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer)
            yield Address(HOST, sock.getsockname()[1])
            nursery.cancel_scope.cancel()


async def receive_exactly(stream: trio.abc.ReceiveStream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = await stream.receive_some(size - len(data))
        assert piece, f"the stream ended after {data!r}"
        data += bytes(piece)
    return data


async def receive_all(stream: trio.abc.ReceiveStream) -> bytes:
    return b"".join([bytes(piece) async for piece in stream])


async def is_reset(stream: trio.SocketStream) -> bool:
    """Read to the end, and say whether it was a reset."""
    try:
        await receive_all(stream)
    except trio.BrokenResourceError:
        return True
    return False
