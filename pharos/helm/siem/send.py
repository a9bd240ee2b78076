"""Batches over the network: to a webhook or a collector by HTTP, to a syslog receiver over TLS."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Final
from urllib.parse import urlsplit

import httpx
import trio

import pharos
from pharos.helm.errors import SinkError
from pharos.helm.model.sinks import Sink, SinkKind, port_of
from pharos.helm.siem import otlp, syslog, webhook
from pharos.helm.siem.records import Record
from pharos.wire.units import KIB, MINUTES, SECONDS

Send = Callable[[Sequence[Record]], Awaitable[str]]
"""Returns once a batch was acknowledged, with what was remarked on it, or an empty text. Raises: SinkError."""

# A receiver that writes 500 records to disk takes milliseconds; one that takes so long is in trouble.
TIMEOUT: Final = 30 * SECONDS
# An answer says nothing but a status, and OTLP's how many it left out.
MAX_ANSWER: Final = 16 * KIB
LONGEST_WAIT: Final = 5 * MINUTES
"""However long a receiver wants to be left alone."""
_TOO_LARGE: Final = 413
_DIGITS: Final = len(str(MAX_ANSWER))


SIZES: Final[Mapping[SinkKind, Callable[[Record], int]]] = {
    SinkKind.WEBHOOK: webhook.size_of,
    SinkKind.SYSLOG: syslog.size_of,
    SinkKind.OTLP: otlp.size_of,
}
"""How many octets a record adds to a batch."""


@asynccontextmanager
async def open_sender(
    sink: Sink, headers: Mapping[str, str], fleet: str, *, timeout: float = TIMEOUT
) -> AsyncIterator[Send]:
    """Yield what sends a batch to a sink and waits at most ``timeout`` seconds for its acknowledgement.

    Raises: SinkError — there can be no TLS with what the sink says.
    """
    context = _context(sink.ca)
    if sink.kind is SinkKind.SYSLOG:

        async def send(records: Sequence[Record]) -> str:
            with _errors_told(timeout), trio.fail_after(timeout):
                await _send_stream(sink, context, syslog.frame(records))
            return ""

        yield send
        return
    otlp_kind = sink.kind is SinkKind.OTLP
    said = {
        # A gzip bomb is none to who asks for plain octets, and reads few of them.
        "Accept-Encoding": "identity",
        "User-Agent": f"pharos-helm/{pharos.__version__}",
        **headers,
        "Content-Type": otlp.CONTENT_TYPE if otlp_kind else webhook.CONTENT_TYPE,
    }
    # Not by way of a proxy that happens to stand in somebody's environment.
    async with httpx.AsyncClient(verify=context, headers=said, timeout=timeout, trust_env=False) as client:

        async def post(records: Sequence[Record]) -> str:
            body = (otlp if otlp_kind else webhook).encode(fleet, records)
            with _errors_told(timeout), trio.fail_after(timeout):
                answer = await _post(client, sink.url, body)
            rejected = otlp.rejected_in(answer) if otlp_kind else 0
            return f"the collector left out {rejected} of {len(records)} records" if rejected else ""

        yield post


async def _post(client: httpx.AsyncClient, url: str, body: bytes) -> bytes:
    async with client.stream("POST", url, content=body) as response:
        if not response.is_success:
            raise SinkError(
                f"it answered {response.status_code}"
                + (" (redirections are not followed)" if response.has_redirect_location else ""),
                smaller=response.status_code == _TOO_LARGE,
                wait=_seconds(response.headers.get("Retry-After", "")),
            )
        # Of an answer that may never end nothing is read: the status has said it, and the connection is closed.
        length = response.headers.get("Content-Length", "")
        is_short = length.isascii() and length.isdigit() and len(length) <= _DIGITS and int(length) <= MAX_ANSWER
        return await response.aread() if is_short else b""


async def _send_stream(sink: Sink, context: ssl.SSLContext, octets: bytes) -> None:
    """Send a batch on a connection of its own, and return once the receiver has closed it without complaint.

    Syslog acknowledges nothing (RFC 5425 §4.4). We say that no more will come, and whoever then closes in good order
    has read to the end: a kernel that throws away what nobody read resets the connection instead.
    """
    parts = urlsplit(sink.url)
    assert parts.hostname is not None, "it was checked when the sink was made"
    stream = trio.SSLStream(
        await trio.open_tcp_stream(parts.hostname, port_of(parts)), context, server_hostname=parts.hostname
    )
    try:
        await stream.do_handshake()
        await stream.send_all(octets)
        transport = stream.transport_stream
        try:
            await stream.unwrap()
        except trio.BrokenResourceError as error:
            # Many receivers end with TCP's word alone: the data was read, for it came in order before our own end.
            if not isinstance(error.__cause__, ssl.SSLEOFError):
                raise
        await trio.aclose_forcefully(transport)
    finally:
        if stream.transport_stream is not None:
            await trio.aclose_forcefully(stream)


@contextmanager
def _errors_told(timeout: float) -> Iterator[None]:
    """Turn what a network can do into one sentence that holds no header and no path.

    Raises: SinkError.
    """
    try:
        yield
    except (trio.TooSlowError, httpx.TimeoutException) as error:
        raise SinkError(f"no acknowledgement within {timeout:.0f} s", smaller=True) from error
    except httpx.LocalProtocolError:
        # Its text may hold a header.
        raise SinkError("no request can be made of what the sink says") from None
    except (OSError, httpx.HTTPError, trio.BrokenResourceError, UnicodeError) as error:
        raise SinkError(_why(error)) from error


def _why(error: BaseException) -> str:
    """Return what an error says, or what caused it where it says nothing itself, which is how TLS's come out."""
    cause: BaseException | None = error
    while cause is not None and not str(cause):
        cause = cause.__cause__ or cause.__context__
    text = str(cause or "") or "the connection was lost"
    return "".join(sign if sign.isprintable() else " " for sign in text)[:300]


def _context(ca: str | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cadata=ca)
    except ssl.SSLError as error:
        raise SinkError(f"its CA file cannot be used: {error.reason}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _seconds(retry_after: str) -> float:
    """Read a Retry-After that is a number (RFC 9110 §10.2.3); a date is as good as none."""
    return min(float(retry_after), LONGEST_WAIT) if retry_after.isascii() and retry_after.isdigit() else 0.0
