"""A client that means ill: it speaks frames by hand, over real mTLS, and sees what becomes of it."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import hpack
import trio

from pharos.wire.rpc import limits
from pharos.wire.rpc.client import Channel, open_channel
from pharos.wire.rpc.h2stream import Headers
from pharos.wire.rpc.server import Service
from tests.support.gen.pharos_test.v1.echo_grpc import EchoStub
from tests.support.gen.pharos_test.v1.echo_pb2 import Ping
from tests.support.h2peer import EMPTY_SETTINGS, PREFACE
from tests.support.rpc import SERVER_NAME, EchoService, ThrowawayCa, dial, request_headers, running_server

# RFC 9113 §6
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 2, 3, 4, 6, 7, 8, 9
END_STREAM, END_HEADERS, ACK = 1, 4, 1
CALM = 11
"""ENHANCE_YOUR_CALM (RFC 9113 §7)."""
MARKER = b"survived"
"""The PING at an attack's end: whoever answers it has borne the attack."""
PATIENCE = 60.0


def raw(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """One frame (RFC 9113 §4.1)."""
    size = len(payload)
    return struct.pack(">HBBBL", size >> 8, size & 255, kind, flags, stream_id) + payload


def request(stream_id: int, method: str = "Echo", *more: tuple[str, str], end: bool = False) -> bytes:
    """HEADERS of a call, in literals, so that no state is needed."""
    return raw(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream_id, block(request_headers(method, *more)))


def block(headers: Headers) -> bytes:
    """Encode a header list without the dynamic table."""
    encoder = hpack.Encoder()
    encoder.header_table_size = 0
    # The change of the table's size is announced before the first field; nobody has to hear of it.
    encoder.table_size_changes = []
    return bytes(encoder.encode([(name, value, True) for name, value in headers]))


@attrs.frozen
class Outcome:
    """What the server did."""

    survived: bool
    """It answered the marker: it took all of it."""
    goaway: int | None
    """The code of its GOAWAY."""
    resets: int
    """RST_STREAM frames that it sent."""
    octets: int
    """That it sent, in all."""


async def attack(stream: trio.abc.Stream, blob: Iterable[bytes], *, settings: bytes = EMPTY_SETTINGS) -> Outcome:
    """Send a preface, ``settings`` and the chunks of ``blob``, and then a PING; return what came of it.

    Ends when the server closes or answers the PING; a server that does neither fails the test.
    """
    seen = bytearray()
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:

            async def speak() -> None:
                with contextlib.suppress(trio.BrokenResourceError):
                    await stream.send_all(PREFACE + settings)
                    for chunk in blob:
                        await stream.send_all(chunk)
                    await stream.send_all(raw(PING, 0, 0, MARKER))

            nursery.start_soon(speak)
            with contextlib.suppress(trio.BrokenResourceError):
                while raw(PING, ACK, 0, MARKER) not in seen:
                    data = await stream.receive_some(65536)
                    if not data:
                        break
                    seen += data
            nursery.cancel_scope.cancel()
    frames = list(_frames(bytes(seen)))
    goodbyes = [payload for kind, payload in frames if kind == GOAWAY]
    return Outcome(
        survived=raw(PING, ACK, 0, MARKER) in seen,
        goaway=struct.unpack_from(">L", goodbyes[-1], 4)[0] if goodbyes else None,
        resets=sum(kind == RST_STREAM for kind, _ in frames),
        octets=len(seen),
    )


def _frames(data: bytes) -> Iterable[tuple[int, bytes]]:
    position = 0
    while position + 9 <= len(data):
        high, low, kind, _flags, _stream_id = struct.unpack_from(">HBBBL", data, position)
        end = position + 9 + (high << 8 | low)
        yield kind, data[position + 9 : end]
        position = end


@attrs.frozen(kw_only=True)
class Target:
    """A server under attack."""

    service: EchoService
    ca: ThrowawayCa
    address: tuple[str, int]

    async def attack(self, blob: Iterable[bytes], **options: Any) -> Outcome:
        """Attack it over a connection of its own."""
        stream = await dial(self.ca, self.address)
        try:
            return await attack(stream, blob, **options)
        finally:
            await trio.aclose_forcefully(stream)

    @asynccontextmanager
    async def good_client(self) -> AsyncIterator[Channel]:
        """A client that only wants to call."""
        async with open_channel(await dial(self.ca, self.address), authority=SERVER_NAME) as channel:
            yield channel


@asynccontextmanager
async def target(service: EchoService | None = None) -> AsyncIterator[Target]:
    """Serve Echo over mTLS while the block runs; a good client's calls work before, beside and after."""
    service = service or EchoService()
    ca = ThrowawayCa()
    async with running_server(Service([service]), ca) as address:
        under_attack = Target(service=service, ca=ca, address=address)
        async with under_attack.good_client() as channel:
            stub = EchoStub(channel)
            assert (await stub.Echo(Ping(seq=1))).seq == 1
            yield under_attack
            with trio.fail_after(PATIENCE):
                assert (await stub.Echo(Ping(seq=2))).seq == 2


def forever(monkeypatch: Any, *names: str) -> None:
    """Weaken the build: these limits are no limits."""
    for name in names:
        monkeypatch.setattr(limits, name, type(getattr(limits, name))(2**31 - 1))
