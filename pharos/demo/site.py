"""What the tunnels need around them, on loopback: a site that the nodes stand before, and a page to fetch by them."""

from __future__ import annotations

import contextlib
import datetime
import functools
import secrets
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import attrs
import trio

from pharos.demo.errors import DemoError
from pharos.wire.pki.issue import make_web_certificate
from pharos.wire.pki.keys import generate_key
from pharos.wire.pki.secretfd import load_key_pair
from pharos.wire.tasks import open_background
from pharos.wire.units import KIB

HOST: Final = "127.0.0.1"
NAME: Final = "localhost"
"""What the site's certificate is for, and devices' hellos ask for."""
MAX_HEAD: Final = 8 * KIB
"""Octets of a request's or an answer's head; ours have a hundred."""
_PAGE: Final = "you have come through a node: {}\n"


@attrs.frozen(kw_only=True)
class Site:
    """Both, running."""

    target_port: int
    """TLS 1.3."""
    page_port: int
    """HTTP."""
    page: bytes

    async def fetch(
        self, open_tcp: Callable[[str, int], Awaitable[trio.abc.HalfCloseableStream]], host: str = HOST
    ) -> int:
        """Get the page over whatever opens a stream; return how many octets it has.

        ``host`` is what this machine is called where the stream comes out.

        Raises: DemoError — what came is not the page.
        """
        async with await open_tcp(host, self.page_port) as stream:
            await stream.send_all(b"GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" % NAME.encode())
            answer = b""
            while len(answer) < MAX_HEAD and (piece := await stream.receive_some()):
                answer += piece
        head, _, body = answer.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200 ") or body != self.page:
            raise DemoError(f"another page came through: {answer[:80]!r}")
        return len(body)


@asynccontextmanager
async def open_site() -> AsyncIterator[Site]:
    """Run both while the block lasts, in this process."""
    page = _PAGE.format(secrets.token_hex(8)).encode()
    context = _context()

    async def serve_target(stream: trio.SocketStream) -> None:
        await _answer(trio.SSLStream(stream, context, server_side=True, https_compatible=True), page)

    async def serve_page(stream: trio.SocketStream) -> None:
        await _answer(stream, page)

    async with (
        open_background(functools.partial(_serve, serve_target)) as target_port,
        open_background(functools.partial(_serve, serve_page)) as page_port,
    ):
        yield Site(target_port=target_port, page_port=page_port, page=page)


async def _serve(
    handle: Callable[[trio.SocketStream], Awaitable[None]],
    *,
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> None:
    [listener] = await trio.open_tcp_listeners(0, host=HOST)
    task_status.started(listener.socket.getsockname()[1])

    async def guarded(stream: trio.SocketStream) -> None:
        # Nodes visit their target to see what it bears, and leave as they like.
        async with stream:
            with contextlib.suppress(trio.BrokenResourceError):
                await handle(stream)

    await trio.serve_listeners(guarded, [listener])


async def _answer(stream: trio.abc.Stream, page: bytes) -> None:
    request = b""
    while b"\r\n\r\n" not in request:
        piece = await stream.receive_some()
        if not piece or len(request) > MAX_HEAD:
            return
        request += piece
    await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(page), page))
    await stream.aclose()


def _context() -> ssl.SSLContext:
    key = generate_key()
    certificate = make_web_certificate(key, now=datetime.datetime.now(datetime.UTC), serial=secrets.randbits(64) | 1)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["http/1.1"])
    load_key_pair(context, (certificate,), key)
    return context
