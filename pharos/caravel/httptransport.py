"""httpx over a tunnel: `httpx.AsyncClient(transport=TunnelTransport(tunnel))`. Names are resolved beyond the node."""

from __future__ import annotations

import math
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, Self

import httpcore
import httpx
import trio

from pharos.caravel.tunnel.parts import StreamOpener
from pharos.wire.errors import WireError

MAX_CONNECTIONS: Final = 100
"""At once, as httpx has it; 20 of them are kept for the next request."""
KEPT: Final = 20
KEPT_FOR: Final = 5.0
"""Seconds."""


class TunnelTransport(httpx.AsyncBaseTransport):
    """Carries requests through whatever opens streams: a tunnel, or anything with its `open_tcp_stream`.

    It does not own the tunnel. Failures are httpx's: ConnectError, ReadError, the timeouts.
    """

    def __init__(self, opener: StreamOpener, *, verify: ssl.SSLContext | None = None, http2: bool = False) -> None:
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=verify or ssl.create_default_context(),
            max_connections=MAX_CONNECTIONS,
            max_keepalive_connections=KEPT,
            keepalive_expiry=KEPT_FOR,
            http2=http2,
            network_backend=_Backend(opener),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = httpcore.URL(
            scheme=request.url.raw_scheme, host=request.url.raw_host, port=request.url.port, target=request.url.raw_path
        )
        asked = httpcore.Request(
            method=request.method,
            url=url,
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        with _failures():
            answer = await self._pool.handle_async_request(asked)
        return httpx.Response(
            status_code=answer.status,
            headers=answer.headers,
            stream=_Body(answer.stream),  # type: ignore[arg-type]  # of an asynchronous pool it is asynchronous
            extensions=answer.extensions,
        )

    async def aclose(self) -> None:
        await self._pool.aclose()

    async def __aenter__(self) -> Self:
        await self._pool.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self._pool.__aexit__(exc_type, exc_value, traceback)


class _Body(httpx.AsyncByteStream):
    """The body of an answer, with httpx's errors."""

    def __init__(self, stream: AsyncIterable[bytes]) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _failures():
            async for piece in self._stream:
                yield piece

    async def aclose(self) -> None:
        close = getattr(self._stream, "aclose", None)
        if close is not None:
            await close()


class _Backend(httpcore.AsyncNetworkBackend):
    def __init__(self, opener: StreamOpener) -> None:
        self._opener = opener

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        with _raises(httpcore.ConnectTimeout, httpcore.ConnectError), trio.fail_after(_seconds(timeout)):
            return _Stream(await self._opener.open_tcp_stream(host, port))

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)


class _Stream(httpcore.AsyncNetworkStream):
    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with _raises(httpcore.ReadTimeout, httpcore.ReadError), trio.fail_after(_seconds(timeout)):
            return bytes(await self._stream.receive_some(max_bytes))

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        with _raises(httpcore.WriteTimeout, httpcore.WriteError), trio.fail_after(_seconds(timeout)):
            if buffer:
                await self._stream.send_all(buffer)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        inner = trio.SSLStream(
            self._stream, ssl_context, server_hostname=server_hostname, server_side=False, https_compatible=True
        )
        with _raises(httpcore.ConnectTimeout, httpcore.ConnectError), trio.fail_after(_seconds(timeout)):
            try:
                await inner.do_handshake()
            except BaseException:
                await trio.aclose_forcefully(self._stream)
                raise
        return _Stream(inner)

    def get_extra_info(self, info: str) -> Any:
        # With HTTP/2 the pool asks what was agreed on.
        if info == "ssl_object" and isinstance(self._stream, trio.SSLStream):
            return self._stream
        return None


@contextmanager
def _raises(late: type[Exception], broken: type[Exception]) -> Iterator[None]:
    try:
        yield
    except trio.TooSlowError as error:
        raise late(str(error)) from error
    except (OSError, trio.BrokenResourceError, trio.ClosedResourceError, WireError) as error:
        raise broken(str(error) or type(error).__name__) from error


@contextmanager
def _failures() -> Iterator[None]:
    """Turn httpcore's errors into httpx's, which have the same names."""
    try:
        yield
    except (
        httpcore.TimeoutException,
        httpcore.NetworkError,
        httpcore.ProtocolError,
        httpcore.UnsupportedProtocol,
        httpcore.ProxyError,
    ) as error:
        raise getattr(httpx, type(error).__name__, httpx.TransportError)(str(error)) from error


def _seconds(timeout: float | None) -> float:
    return math.inf if timeout is None else timeout
