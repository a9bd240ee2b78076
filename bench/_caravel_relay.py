"""A bad line of UDP on loopback, both ways: the worker of bench.caravel that delays and loses.

    python -m bench._caravel_relay DELAY LOSS

DELAY in seconds for each direction, LOSS a share of the datagrams of each. It says the ports that face both ends, and
is told theirs.
"""

from __future__ import annotations

import random
import sys
from functools import partial
from typing import Any, Final

import trio

from bench._rpc_ours import say
from bench._wire_fleet import answer_requests
from tests.system.lab.impair import Impairment, Line

HOST: Final = "127.0.0.1"
QUEUE: Final = 16 * 1024 * 1024
SEED: Final = 1
"""Every stack meets the same luck."""


class Way:
    """One direction."""

    def __init__(self, source: trio.socket.SocketType, sink: trio.socket.SocketType, line: Line) -> None:
        self._source, self._sink, self._line = source, sink, line
        self._arrived = trio.Event()
        self.port = 0
        """Whom the sink sends to."""

    async def take(self) -> None:
        while True:
            data = await self._source.recv(65536)
            self._line.push(data, trio.current_time())
            self._arrived.set()

    async def give(self) -> None:
        while True:
            self._arrived = trio.Event()
            with trio.move_on_at(self._line.next_at):
                await self._arrived.wait()
            for data in self._line.pop(trio.current_time()):
                await self._sink.sendto(data, (HOST, self.port))


async def run(delay: float, loss: float) -> None:
    luck = random.Random(SEED)
    socks = [trio.socket.socket(type=trio.socket.SOCK_DGRAM) for _ in range(2)]
    for sock in socks:
        sock.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, QUEUE)
        await sock.bind((HOST, 0))
    ways = [
        Way(source, sink, Line(Impairment(delay=delay, loss=loss, queue=QUEUE), luck.random))
        for source, sink in (socks, reversed(socks))
    ]

    async def face(*, first: int, second: int) -> dict[str, Any]:
        """Learn the ports of both ends."""
        ways[0].port, ways[1].port = second, first
        return {}

    async with trio.open_nursery() as nursery:
        for way in ways:
            nursery.start_soon(way.take)
            nursery.start_soon(way.give)
        say(first=socks[0].getsockname()[1], second=socks[1].getsockname()[1])
        await answer_requests({"face": face})
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(partial(run, *map(float, sys.argv[1:3])))
