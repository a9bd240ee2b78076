"""One connection of a browser to the desk on loopback: HTTP/1.1 in, requests out, within limits."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Final

import attrs
import h11
import trio

from pharos.caravel.admin.link import Head, Headers
from pharos.wire.units import KIB, SECONDS

MAX_HEAD: Final = 16 * KIB
"""Request line and headers; as helm's page has it."""
MAX_BODY: Final = 256 * KIB
"""As helm's page has it."""
READ: Final = 64 * KIB
IDLE: Final = 30 * SECONDS
"""For a request, whole. A browser opens another connection within a millisecond; this one holds a call of helm's."""
SEND_PATIENCE: Final = 30 * SECONDS
"""For a browser to take what it asked for; one that was put to sleep asks anew."""
LINGER: Final = 1 * SECONDS
"""For a browser to stop sending (RFC 9112 §9.6)."""
_OWN_FRAMING: Final = frozenset({"connection", "keep-alive", "transfer-encoding", "upgrade", "proxy-connection", "te"})
_SAFE_HEADERS: Final = (
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cache-control", "no-store"),
)


@attrs.frozen(kw_only=True)
class Asked:
    """What a browser asked."""

    method: str
    target: str
    headers: Headers = attrs.field(repr=False)
    """Names in lower case."""
    body: bytes = attrs.field(repr=False)
    websocket: bool


class BodyTooLargeError(Exception):
    """A request has more of a body than helm takes."""


class BrowserConnection:
    """A browser's connection, which it owns. A browser that leaves or stalls raises trio.BrokenResourceError."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream: Final = stream
        self.http: Final = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)

    async def read_request(self) -> Asked | None:
        """Return the next request; None where none comes.

        Raises: h11.RemoteProtocolError — it is no HTTP. BodyTooLargeError.
        """
        with trio.move_on_after(IDLE):
            return await self._read_request()
        return None

    async def _read_request(self) -> Asked | None:
        event = await self._next_event()
        if not isinstance(event, h11.Request):
            return None
        body = bytearray()
        while isinstance(data := await self._next_event(), h11.Data):
            body += data.data
            if len(body) > MAX_BODY:
                raise BodyTooLargeError
        if not isinstance(data, h11.EndOfMessage):
            return None
        return Asked(
            method=event.method.decode("ascii"),
            target=event.target.decode("latin-1"),
            headers=tuple((name.decode("ascii"), value.decode("latin-1")) for name, value in event.headers),
            body=bytes(body),
            websocket=_is_websocket(event),
        )

    async def _next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        while (event := self.http.next_event()) is h11.NEED_DATA:
            if self.http.they_are_waiting_for_100_continue:
                await self.send(self.http.send(h11.InformationalResponse(status_code=100, headers=[])))
            self.http.receive_data(await self.stream.receive_some(READ))
        return event

    async def answer(self, head: Head, pieces: AsyncIterator[bytes], *, bodiless: bool) -> None:
        """Send an answer of helm's; its framing is our own."""
        headers = [
            (name.encode("latin-1"), value.encode("latin-1"))
            for name, value in head.headers
            if name not in _OWN_FRAMING
        ]
        await self.send(self.http.send(h11.Response(status_code=head.status, headers=headers)))
        async for piece in pieces:
            if not bodiless:
                await self.send(self.http.send(h11.Data(data=piece)))
        await self.send(self.http.send(h11.EndOfMessage()))

    async def say(self, status: int, detail: str, *headers: tuple[str, str]) -> None:
        """Send an answer of our own: a problem (RFC 9457), or where to go on."""
        document = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
        body = json.dumps(document).encode()
        fields = [
            ("content-type", "application/problem+json"),
            ("content-length", str(len(body))),
            *_SAFE_HEADERS,
            *headers,
        ]
        await self.send(self.http.send(h11.Response(status_code=status, headers=fields)))
        await self.send(self.http.send(h11.Data(data=body)))
        await self.send(self.http.send(h11.EndOfMessage()))

    async def turn_away(self, status: int, detail: str) -> None:
        """Answer what cannot be read further, and let the browser hear it: octets that nobody reads would reset it."""
        await self.say(status, detail, ("connection", "close"))
        await self.stream.send_eof()
        with trio.move_on_after(LINGER):
            while await self.stream.receive_some(READ):
                pass

    async def send(self, data: bytes | None) -> None:
        """Send octets.

        Raises: trio.BrokenResourceError — the browser left, or takes nothing.
        """
        if not data:
            return
        with trio.move_on_after(SEND_PATIENCE):
            await self.stream.send_all(data)
            return
        raise trio.BrokenResourceError("the browser takes nothing")


def _is_websocket(request: h11.Request) -> bool:
    named = [value.lower() for name, value in request.headers if name == b"upgrade"]
    return request.method == b"GET" and named == [b"websocket"]
