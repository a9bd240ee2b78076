"""Raw HTTP/1.1 and WebSocket against a real listener: a test says every byte of Host and Origin itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import h11
import httpx
import trio
import wsproto
from quart_trio import QuartTrio
from wsproto.events import AcceptConnection, CloseConnection, RejectConnection, Request, TextMessage

from pharos.helm.web.app import _config
from pharos.helm.web.server import serve

LOOPBACK = "127.0.0.1"


@attrs.frozen(kw_only=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    """By lower-case name."""
    body: bytes


@asynccontextmanager
async def serving(app: QuartTrio) -> AsyncIterator[int]:
    """Serve ``app`` as helm does, on a free port of loopback; give the port."""
    async with trio.open_nursery() as nursery:
        (url,) = await nursery.start(serve, app, _config(f"{LOOPBACK}:0"))
        yield int(url.rpartition(":")[2])
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def asking(app: QuartTrio, base: str = "http://localhost:8440") -> AsyncIterator[httpx.AsyncClient]:
    """Ask ``app`` without a socket between."""
    transport: Any = httpx.ASGITransport(app)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url=base) as client:
        yield client


async def fetch(port: int, target: str, *headers: tuple[str, str], method: str = "GET", body: bytes = b"") -> Answer:
    """Ask with exactly these headers."""
    connection = h11.Connection(h11.CLIENT)
    length = [("content-length", str(len(body)))] if body else []
    with trio.fail_after(5):
        async with await trio.open_tcp_stream(LOOPBACK, port) as stream:
            for event in (
                h11.Request(method=method, target=target, headers=[*headers, *length]),
                *([h11.Data(data=body)] if body else []),
                h11.EndOfMessage(),
            ):
                await stream.send_all(connection.send(event) or b"")
            return await answer_of(stream, connection)


async def answer_of(stream: trio.abc.Stream, connection: h11.Connection) -> Answer:
    """Read the answer to what was asked."""
    status, headers, body = 0, {}, b""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await stream.receive_some())
        elif isinstance(event, h11.Response):
            status = event.status_code
            headers = {name.decode(): value.decode() for name, value in event.headers}
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        else:
            return Answer(status=status, headers=headers, body=body)


class WebSocket:
    """The browser's end of one WebSocket; it answers no PING."""

    def __init__(self, stream: trio.SocketStream, machine: wsproto.WSConnection) -> None:
        self._stream = stream
        self._machine = machine
        self._events = machine.events()

    async def send(self, event: wsproto.events.Event) -> None:
        """Send a message, or close."""
        await self._stream.send_all(self._machine.send(event))

    async def receive(self) -> str | int:
        """Return the next message, or the code with which the other end closed."""
        text = ""
        while True:
            for event in self._events:
                if isinstance(event, TextMessage):
                    text += event.data
                    if event.message_finished:
                        return text
                elif isinstance(event, CloseConnection):
                    return event.code
            self._machine.receive_data(await self._stream.receive_some() or None)
            self._events = self._machine.events()


@asynccontextmanager
async def open_websocket(
    port: int, target: str, *headers: tuple[str, str], host: str
) -> AsyncIterator[WebSocket | int]:
    """Open a WebSocket with exactly these headers; give the status where the upgrade is refused."""
    machine = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
    extra = [(name.encode(), value.encode()) for name, value in headers]
    async with await trio.open_tcp_stream(LOOPBACK, port) as stream:
        await stream.send_all(machine.send(Request(host=host, target=target, extra_headers=extra)))
        with trio.fail_after(5):
            while True:
                machine.receive_data(await stream.receive_some() or None)
                event = next(machine.events(), None)
                if isinstance(event, AcceptConnection):
                    yield WebSocket(stream, machine)
                    return
                if isinstance(event, RejectConnection):
                    yield event.status_code
                    return
                assert event is None, event
