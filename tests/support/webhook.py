"""Receivers of alerts on loopback: a webhook and a mail server, as well and as badly behaved as a test wants them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio


@attrs.define
class Webhook:
    """What came to a webhook, and how it answers."""

    port: int
    status: int = 200
    silent: bool = False
    """Take requests, and answer none."""
    received: list[dict[str, Any]] = attrs.field(factory=list)
    paths: list[str] = attrs.field(factory=list)
    _changed: trio.Event = attrs.field(factory=trio.Event)

    @property
    def url(self) -> str:
        """As apprise knows it."""
        return f"json://127.0.0.1:{self.port}/hook"

    async def wait(self, holds: Callable[[], bool]) -> None:
        """Return once something holds of what came; it is looked at whenever something comes."""
        while not holds():
            await self._changed.wait()

    async def serve(self, stream: trio.SocketStream) -> None:
        """Take requests of one connection."""
        data = b""
        while True:
            while b"\r\n\r\n" not in data:
                more = await stream.receive_some(65536)
                if not more:
                    return
                data += more
            head, _, data = data.partition(b"\r\n\r\n")
            lines = head.decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
            size = int(headers.get("content-length", "0"))
            while len(data) < size:
                data += await stream.receive_some(65536)
            body, data = data[:size], data[size:]
            self.paths.append(lines[0].split(" ")[1])
            self.received.append(json.loads(body) if body else {})
            self._changed.set()
            self._changed = trio.Event()
            if self.silent:
                await trio.sleep_forever()
            await stream.send_all(f"HTTP/1.1 {self.status} It\r\nContent-Length: 0\r\n\r\n".encode())


@asynccontextmanager
async def running_webhook(port: int = 0, *, status: int = 200, silent: bool = False) -> AsyncIterator[Webhook]:
    """Serve a webhook while the block runs; at a port that was used before, if it is given."""
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
        hook = Webhook(port=listeners[0].socket.getsockname()[1], status=status, silent=silent)

        async def handle(stream: trio.SocketStream) -> None:
            async with stream:
                await hook.serve(stream)

        nursery.start_soon(trio.serve_listeners, handle, listeners)
        yield hook
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def running_mail_server() -> AsyncIterator[tuple[int, list[str]]]:
    """Serve SMTP (RFC 5321) without TLS while the block runs; gives its port and the messages that came."""
    messages: list[str] = []

    async def handle(stream: trio.SocketStream) -> None:
        data = b""

        async def line() -> str:
            nonlocal data
            while b"\r\n" not in data:
                more = await stream.receive_some(65536)
                if not more:
                    return "QUIT"
                data += more
            found, _, data = data.partition(b"\r\n")
            return found.decode("latin-1")

        async with stream:
            await stream.send_all(b"220 here\r\n")
            while True:
                word = (await line()).split(" ")[0].upper()
                if word == "EHLO":
                    await stream.send_all(b"250-here\r\n250 AUTH PLAIN\r\n")
                elif word == "AUTH":
                    await stream.send_all(b"235 in\r\n")
                elif word == "DATA":
                    await stream.send_all(b"354 go on\r\n")
                    lines: list[str] = []
                    while (text := await line()) != ".":
                        lines.append(text)
                    messages.append("\n".join(lines))
                    await stream.send_all(b"250 taken\r\n")
                elif word == "QUIT":
                    await stream.send_all(b"221 bye\r\n")
                    return
                else:
                    await stream.send_all(b"250 well\r\n")

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, handle, listeners)
        yield listeners[0].socket.getsockname()[1], messages
        nursery.cancel_scope.cancel()
