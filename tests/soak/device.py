"""A device at a host of the lab that works over its connection all the time, and says how it went: a program.

    python -m tests.soak.device STATE PROTOCOL ADDRESS PORT

Each second a line of JSON: how many messages came back by TCP and by UDP since the start, how many came back wrong, by
which node. A connection that breaks is opened anew, as any program would; a message that comes back otherwise than it
was sent, or out of its turn, is what must never be.
"""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path

import attrs
import trio

from pharos.caravel.client import open_client
from pharos.caravel.tunnel.options import ConnectOptions
from pharos.caravel.tunnel.session import Tunnel
from pharos.wire.addresses import Address, Datagram
from pharos.wire.errors import WireError

PATIENCE = 5.0
PAUSE = 0.05
FAILED = (OSError, trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError, WireError)
"""How a connection ends that nobody meant to end."""
_HEAD = struct.Struct("!QI")


@attrs.define
class Told:
    """What has happened since the start."""

    tcp: int = 0
    udp: int = 0
    sent: int = 0
    """Datagrams."""
    wrong: int = 0
    broken: int = 0
    """Connections that had to be opened anew."""


def message(number: int) -> bytes:
    """Return a message that no other is like; its size goes from nothing to some packets."""
    size = (number * 977) % 6000
    return _HEAD.pack(number, size) + bytes((number + i) % 251 for i in range(min(size, 251))).ljust(size, b"s")


async def receive(stream: trio.abc.ReceiveStream, size: int) -> bytes:
    """Return so many bytes. Raises: trio.BrokenResourceError — there are fewer."""
    data = b""
    while len(data) < size:
        chunk = await stream.receive_some(size - len(data))
        if not chunk:
            raise trio.BrokenResourceError
        data += bytes(chunk)
    return data


async def talk(tunnel: Tunnel, told: Told, host: str, port: int) -> None:
    """Ask and be answered over one connection, until it breaks."""
    number = 0
    with trio.fail_after(PATIENCE):
        stream = await tunnel.open_tcp_stream(host, port)
    async with stream:
        while True:
            sent = message(number)
            with trio.fail_after(PATIENCE):
                await stream.send_all(sent)
                came = await receive(stream, len(sent))
            told.wrong += came != sent
            told.tcp += 1
            number += 1
            await trio.sleep(PAUSE)


async def call(tunnel: Tunnel, told: Told, host: str, port: int) -> None:
    """Send datagrams and count those that come back, until the socket breaks."""
    with trio.fail_after(PATIENCE):
        socket = await tunnel.open_udp()
    async with socket, trio.open_nursery() as nursery:

        async def hear() -> None:
            while True:
                data = (await socket.receive_datagram()).data
                number, _ = _HEAD.unpack_from(data)
                told.wrong += data != message(number)[:1000]
                told.udp += 1

        nursery.start_soon(hear)
        while True:
            with trio.fail_after(PATIENCE):
                await socket.send_datagram(Datagram(Address(host, port), message(told.sent)[:1000]))
            told.sent += 1
            await trio.sleep(4 * PAUSE)


async def again(act: object, tunnel: Tunnel, told: Told, host: str, port: int) -> None:
    """Do it over and over."""
    assert callable(act)
    while True:
        try:
            await act(tunnel, told, host, port)
        except* FAILED:
            told.broken += 1
        await trio.sleep(4 * PAUSE)


async def tell(tunnel: Tunnel, told: Told) -> None:
    """Say how it goes."""
    while True:
        print(json.dumps({"at": trio.current_time(), "node": tunnel.name, **attrs.asdict(told)}), flush=True)
        await trio.sleep(1)


async def main(state: str, protocol: str, host: str, port: int) -> None:
    options = ConnectOptions(portal_checks=(), follow=True)
    told = Told()
    async with open_client(Path(state)) as client:
        async with client.connect(protocol=protocol or None, inner="netstack", options=options) as tunnel:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(again, talk, tunnel, told, host, port)
                nursery.start_soon(again, call, tunnel, told, host, port)
                nursery.start_soon(tell, tunnel, told)


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
