"""A device that holds its tunnel, and says of each five echoes how many came back: a program.

With a place to go to it also keeps one stream through the node open, to somebody who sends back what he gets, and ends
with an error when an octet is not there in time.
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path

import trio

from pharos.caravel.client import open_client
from pharos.caravel.tunnel.session import Tunnel
from pharos.wire.profile import AMNEZIAWG

START_TIMEOUT = 30.0
PATIENCE = 10.0
"""Seconds for an octet to come back: TCP sends it again meanwhile, should a packet be lost."""
ECHOES = 5


async def hold(tunnel: Tunnel, stream: trio.abc.HalfCloseableStream | None) -> None:
    number = 0
    while True:
        answered = (await tunnel.ping(ECHOES)).received
        if stream is not None:
            number = (number + 1) % 256
            with trio.fail_after(PATIENCE):
                await stream.send_all(bytes([number]))
                assert await stream.receive_some(1) == bytes([number])
        print(f"{answered} of {ECHOES}", flush=True)


async def main(state: str, node: str = "", host: str = "", port: str = "") -> None:
    async with open_client(Path(state)) as client:
        async with client.connect(node or None, protocol=AMNEZIAWG, inner="netstack") as tunnel:
            await tunnel.wait_up(START_TIMEOUT)
            with trio.fail_after(START_TIMEOUT):
                stream = await tunnel.open_tcp_stream(host, int(port)) if host else None
            await hold(tunnel, stream)


if __name__ == "__main__":
    trio.run(functools.partial(main, *sys.argv[1:]))
