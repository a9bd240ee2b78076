"""Probes of a server by whoever has no keys, and what such a one sees of it."""

from __future__ import annotations

import os

import attrs
import trio

from pharos.wire.reality.records import HEADER
from tests.wire.reality.fronts import receive_exactly

GARBLED = b"\x17\3\3\0\x35" + os.urandom(0x35)
# Of these the target's answer is no handshake, or none that a hello of ours could have.
ODDITIES = {
    "plain HTTP": b"GET / HTTP/1.1\r\nHost: www.site.test\r\n\r\n",
    "garbage": bytes(range(200, 256)) * 20,
    "a record of another kind": GARBLED,
    "an empty record": b"\x16\3\1\0\0",
    "SSH": b"SSH-2.0-OpenSSH_9.2\r\n",
    "nothing": b"",
    "a record that is too long": b"\x16\3\1\x7f\xff" + b"\1" * 100,
}


@attrs.frozen
class Seen:
    """What a probe sees: kinds and lengths of records, alerts in the clear as they are, and how it ends."""

    records: tuple[tuple[int, int, bytes], ...]
    ending: str


def shape(data: bytes) -> tuple[tuple[int, int, bytes], ...]:
    found = []
    while data:
        size = HEADER + int.from_bytes(data[3:HEADER], "big")
        clear = data[:size] if data[0] in (20, 21) or data[0] not in (22, 23) else b""
        found.append((data[0], len(data[:size]), clear))
        data = data[size:]
    return tuple(found)


async def probe_over(stream: trio.SocketStream, *pieces: bytes, expect: int = 0, end: bool = True) -> Seen:
    """Send the pieces one after another, each after ``expect`` octets have come if it is not the first.

    The stream is closed in the end.
    """
    found = bytearray()
    ending = "end"
    async with stream:
        try:
            for number, piece in enumerate(pieces):
                if number and expect:
                    found += await receive_exactly(stream, expect - len(found))
                await stream.send_all(piece)
            if end:
                await stream.send_eof()
            with trio.fail_after(10):
                async for chunk in stream:
                    found += chunk
        except trio.BrokenResourceError:
            ending = "reset"
    return Seen(shape(bytes(found)), ending)
