"""What lies between a program and its target in bench.reality.

    python -m bench._reality_hops vision|plain|relay TO

``vision`` is a SOCKS proxy whose streams go through the node at port TO; ``plain`` is one whose streams go to the relay
there, ``relay``, which passes them on to TO by TCP. Workers (bench.support).
"""

from __future__ import annotations

import functools
import sys
import time
from typing import Any

import trio

from bench._reality_wire import HOST, VISION_ID
from bench._rpc_ours import say
from bench._wire_fleet import answer_requests
from pharos.wire.reality.addresses import Address
from pharos.wire.reality.dial import start_reality
from pharos.wire.reality.front import LOOPBACK, Limits, serve_front
from pharos.wire.reality.relay import Early, relay
from pharos.wire.reality.socksserver import serve_socks
from pharos.wire.reality.vless import Command, Flow, Request
from pharos.wire.reality.vlessstream import VlessStream, request_over
from tests.support.reality import settings


async def main() -> None:
    role, to = sys.argv[1], int(sys.argv[2])
    streams: list[VlessStream] = []

    async def open_vision(host: str, port: int) -> VlessStream:
        outer = await start_reality(await trio.open_tcp_stream(HOST, to), settings(), now=time.time())
        request = Request(user_id=VISION_ID, command=Command.TCP, target=Address(host, port), flow=Flow.VISION)
        streams.append(request_over(outer, request))
        return streams[-1]

    async def open_relay(_host: str, _port: int) -> trio.SocketStream:
        return await trio.open_tcp_stream(HOST, to)

    async def pass_on(client: trio.SocketStream) -> None:
        await relay(client, await trio.open_tcp_stream(HOST, to), Limits(), Early())

    async def copied() -> dict[str, Any]:
        """Say of how many streams what came was raw in the end, and of how many not; they are forgotten then."""
        raw = sum(stream.session.receives_raw for stream in streams)
        sealed = len(streams) - raw
        streams.clear()
        return {"raw": raw, "sealed": sealed}

    serves = {
        "vision": functools.partial(serve_socks, open_tcp=open_vision),
        "plain": functools.partial(serve_socks, open_tcp=open_relay),
        "relay": functools.partial(serve_front, pass_on, LOOPBACK, 0, Limits()),
    }
    async with trio.open_nursery() as nursery:
        _, port = await nursery.start(lambda *, task_status: serves[role](task_status=task_status))
        say(port=port)
        await answer_requests({"copied": copied})
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
