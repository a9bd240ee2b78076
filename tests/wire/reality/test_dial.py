"""A device dials: over TCP, to a node, to strangers and to nobody."""

from __future__ import annotations

import functools
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from pharos.wire.errors import LinkLostError, TruncatedError
from pharos.wire.reality.client import ClientSettings
from pharos.wire.reality.dial import open_reality, start_reality
from pharos.wire.reality.errors import AlertReceivedError, RealCertificateError, TlsError
from tests.support.reality import NOW, accept, seeded, settings
from tests.wire.reality.test_openssl import believing, server_context

SECRET = b"the uuid of a VLESS request"


@asynccontextmanager
async def listening(handler: Callable[[trio.SocketStream], Awaitable[None]]) -> AsyncIterator[int]:
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(functools.partial(trio.serve_tcp, handler, 0, host="127.0.0.1"))
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def echo(transport: trio.SocketStream) -> None:
    async with await accept(transport) as stream:
        async for chunk in stream:
            await stream.send_all(chunk)
        await stream.send_eof()


async def test_a_device_and_its_node_talk_and_end_each_direction_by_itself() -> None:
    async with listening(echo) as port, open_reality("127.0.0.1", port, settings()) as stream:
        data = b"data" * 100_000
        async with trio.open_nursery() as nursery:

            async def send() -> None:
                await stream.send_all(data)
                await stream.send_eof()

            nursery.start_soon(send)
            found = b""
            while chunk := await stream.receive_some():
                found += chunk
        assert found == data


async def test_a_node_that_reads_nothing_stops_the_device_from_sending() -> None:
    async def deaf(transport: trio.SocketStream) -> None:
        async with await accept(transport):
            await trio.sleep_forever()

    async with listening(deaf) as port, open_reality("127.0.0.1", port, settings()) as stream:
        sent = 0
        with trio.move_on_after(0.5) as scope:
            while True:
                await stream.send_all(bytes(1 << 20))
                sent += 1
        assert scope.cancelled_caught
        # What the kernel's buffers on loopback hold, and no heap of ours.
        assert sent < 64


class Site:
    """A real site, which counts what comes behind the hello."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self.behind_the_hello = bytearray()
        self.said = b""
        self.ended = trio.Event()

    async def serve(self, transport: trio.SocketStream) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = self._context.wrap_bio(incoming, outgoing, server_side=True)
        answered = False
        try:
            while chunk := await transport.receive_some():
                if answered:
                    self.behind_the_hello += chunk
                incoming.write(chunk)
                try:
                    tls.do_handshake()
                    self.said += tls.read()
                except ssl.SSLWantReadError:
                    pass
                if out := outgoing.read():
                    answered = True
                    await transport.send_all(out)
        except trio.BrokenResourceError:
            pass
        finally:
            self.ended.set()


async def dial_and_tell(port: int, told: ClientSettings) -> None:
    async with open_reality("127.0.0.1", port, told) as stream:
        await stream.send_all(SECRET)
        await stream.receive_some()


async def test_a_stranger_with_a_real_certificate_hears_nothing_behind_the_hello(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    context = server_context(tmp_path, key)
    # In a build that believes any certificate, the stranger reads what is said to the node.
    with monkeypatch.context() as weakened:
        parrot = believing(weakened, key.public_key().public_bytes_raw())
        site = Site(context)
        async with listening(site.serve) as port:
            with trio.move_on_after(5):
                async with open_reality("127.0.0.1", port, settings(parrot=parrot)) as stream:
                    await stream.send_all(SECRET)
            await site.ended.wait()
        assert site.said == SECRET
        assert site.behind_the_hello
    for told in (settings(parrot=parrot), settings()):
        site = Site(context if told.parrot is parrot else server_context(tmp_path, ec.generate_private_key(CURVE)))
        async with listening(site.serve) as port:
            with pytest.raises(RealCertificateError):
                await dial_and_tell(port, told)
            await site.ended.wait()
        assert site.behind_the_hello == b""


CURVE = ec.SECP256R1()


async def test_nobody_there_and_nobody_answering_are_a_lost_link() -> None:
    with pytest.raises(LinkLostError):
        await dial_and_tell(await closed_port(), settings())
    async with listening(silent) as port:
        with pytest.raises(LinkLostError, match="within"):
            async with open_reality("127.0.0.1", port, settings(), connect_timeout=0.2):
                pytest.fail("it cannot be connected")


async def silent(_: trio.SocketStream) -> None:
    await trio.sleep_forever()


async def closed_port() -> int:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port: int = listeners[0].socket.getsockname()[1]
    for listener in listeners:
        await listener.aclose()
    return port


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", TruncatedError),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", TlsError),
        (b"\x15\3\3\0\2\2\x28", AlertReceivedError),
        (b"\x16\3\3\0\4\2\0\0\0", TlsError),
    ],
)
async def test_what_is_no_tls_server_is_told_so_and_left(answer: bytes, error: type[Exception]) -> None:
    heard = bytearray()
    ended = trio.Event()

    async def serve(transport: trio.SocketStream) -> None:
        async with transport:
            await transport.receive_some(1 << 16)
            await transport.send_all(answer)
            await transport.send_eof()
            try:
                async for chunk in transport:
                    heard.extend(chunk)
            finally:
                ended.set()

    async with listening(serve) as port:
        with pytest.raises(error):
            await dial_and_tell(port, settings())
        with trio.fail_after(5):
            await ended.wait()
    assert SECRET not in heard
    # An alert in the clear, if it was the server's fault that it ended.
    assert bytes(heard[:5]) == (b"\x15\3\3\0\2" if error is TlsError else b"")


async def test_a_handshake_that_is_cancelled_closes_the_transport() -> None:
    near, far = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(functools.partial(start_reality, near, settings(), now=NOW, random=seeded()))
        assert (await far.receive_some())[:3] == b"\x16\3\1"
        nursery.cancel_scope.cancel()
    with pytest.raises(trio.ClosedResourceError):
        await near.send_all(b"data")
