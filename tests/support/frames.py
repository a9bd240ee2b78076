"""A WebSocket client that means ill: it speaks frames by hand, and sees what becomes of it."""

from __future__ import annotations

import base64
import functools
import os
import struct
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import attrs
import hypercorn.trio
import trio
from hypercorn.config import Config
from quart_trio import QuartTrio

from tests.support.http import LOOPBACK

# RFC 6455 §5.2
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def frame(
    opcode: int, payload: bytes = b"", *, fin: bool = True, masked: bool = True, rsv: int = 0, length: int | None = None
) -> bytes:
    """One frame; ``length`` is what it says of itself, where that is not so."""
    said = len(payload) if length is None else length
    first, mask = fin << 7 | rsv << 4 | opcode, masked << 7
    if said < 126:
        head = struct.pack(">BB", first, mask | said)
    elif said < 65536:
        head = struct.pack(">BBH", first, mask | 126, said)
    else:
        head = struct.pack(">BBQ", first, mask | 127, said)
    # A mask of zeros changes nothing.
    return head + (bytes(4) if masked else b"") + payload


@attrs.define
class Attacker:
    """One connection, the handshake over."""

    stream: trio.SocketStream
    head: str
    """Of the answer to the handshake, in lower case."""
    _octets: bytearray = attrs.field(factory=bytearray, init=False)

    async def send(self, octets: bytes) -> bool:
        """Send; tell whether anybody was there."""
        try:
            await self.stream.send_all(octets)
        except trio.BrokenResourceError:
            return False
        return True

    async def receive(self) -> tuple[int, bytes] | None:
        """Return opcode and payload of the next frame, None when the server has closed."""
        while (found := self._take()) is None:
            try:
                octets = await self.stream.receive_some()
            except trio.BrokenResourceError:
                return None
            if not octets:
                return None
            self._octets += octets
        return found

    async def closed(self) -> int | None:
        """Read until the server closes, and return the code it gave; None for none."""
        code = None
        while (found := await self.receive()) is not None:
            if found[0] == CLOSE:
                code = int.from_bytes(found[1][:2])
        return code

    def _take(self) -> tuple[int, bytes] | None:
        if len(self._octets) < 2:
            return None
        length, start = self._octets[1] & 127, 2
        if length > 125:
            width = 2 if length == 126 else 8
            length, start = int.from_bytes(self._octets[2 : 2 + width]), 2 + width
        if len(self._octets) < start + length:
            return None
        found = self._octets[0] & 15, bytes(self._octets[start : start + length])
        del self._octets[: start + length]
        return found


@asynccontextmanager
async def attacking(
    port: int, *headers: tuple[str, str], target: str = "/", host: str = "localhost:8440"
) -> AsyncIterator[Attacker]:
    """Connect and shake hands with these headers beside those that have to be."""
    key = base64.b64encode(os.urandom(16)).decode()
    needed = [
        ("Host", host),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", key),
    ]
    lines = [f"GET {target} HTTP/1.1", *(f"{name}: {value}" for name, value in (*needed, *headers)), "", ""]
    with trio.fail_after(30):
        async with await trio.open_tcp_stream(LOOPBACK, port) as stream:
            await stream.send_all("\r\n".join(lines).encode())
            head = bytearray()
            while not head.endswith(b"\r\n\r\n"):
                octets = await stream.receive_some(1)
                assert octets, head
                head += octets
            yield Attacker(stream, head.decode().lower())


@asynccontextmanager
async def plainly_serving(app: QuartTrio, *, limit: int = 16 * 2**20) -> AsyncIterator[int]:
    """Weakened: hypercorn as it is, with its own defaults."""
    config = Config()
    config.bind = [f"{LOOPBACK}:0"]
    config.loglevel = "ERROR"
    config.accesslog = None
    config.websocket_max_message_size = limit
    async with trio.open_nursery() as nursery:
        (url,) = await nursery.start(functools.partial(hypercorn.trio.serve, app, config, mode="asgi"))
        yield int(url.rpartition(":")[2])
        nursery.cancel_scope.cancel()


def chunks(first: int, payload: bytes, count: int) -> Iterable[bytes]:
    """A message in ``count`` fragments that never ends."""
    for number in range(count):
        yield frame(CONTINUATION if number else first, payload, fin=False)
