"""The embedded client of bench.reality.

    python -m bench._reality_device

A worker (bench.support) that dials nodes, and asks them for the origin.
"""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from typing import Any

import trio

from bench._reality_node import memory
from bench._reality_wire import CHUNK, COUNT, HOST, PLAIN_ID
from bench._rpc_ours import say
from bench._wire_fleet import answer_requests
from bench.support import raise_file_limit
from pharos.wire.reality.addresses import Address
from pharos.wire.reality.dial import open_reality
from pharos.wire.reality.vless import Command, Flow, Request
from pharos.wire.reality.vlessstream import VlessStream, request_over
from tests.support.reality import settings

_SETTINGS = settings()


async def ask(stack: AsyncExitStack, port: int, origin: int) -> VlessStream:
    """Open a stream to the origin, over which one octet has come."""
    outer = await stack.enter_async_context(open_reality(HOST, port, _SETTINGS))
    request = Request(user_id=PLAIN_ID, command=Command.TCP, target=Address(HOST, origin), flow=Flow.NONE)
    stream = request_over(outer, request)
    await stream.send_all(COUNT.pack(1))
    if await stream.receive_some() == b"":
        raise RuntimeError("the node has ended the stream")
    return stream


async def receive(stream: VlessStream, count: int) -> None:
    await stream.send_all(COUNT.pack(count))
    while count:
        if not (data := await stream.receive_some()):
            raise RuntimeError(f"the stream ended {count} octets early")
        count -= len(data)


async def sealed(*, port: int, count: int) -> dict[str, Any]:
    """Receive what a server has sealed before; the clock runs from the first octets on."""
    async with open_reality(HOST, port, _SETTINGS) as outer:
        request = Request(user_id=PLAIN_ID, command=Command.TCP, target=Address(HOST, port), flow=Flow.NONE)
        stream = request_over(outer, request)
        await stream.send_all(COUNT.pack(count))
        received = len(await stream.receive_some(CHUNK))
        began, used = time.perf_counter(), time.process_time()
        while data := await stream.receive_some(CHUNK):
            received += len(data)
        result = {"seconds": time.perf_counter() - began, "cpu": time.process_time() - used}
    if received != count:
        raise RuntimeError(f"{received} of {count} octets came")
    return result


async def handshakes(*, port: int, count: int, at_once: int) -> dict[str, Any]:
    """Shake hands so often in each of several tasks, without a request behind it."""

    async def shake() -> None:
        for _ in range(count):
            async with open_reality(HOST, port, _SETTINGS):
                pass

    began, used = time.perf_counter(), time.process_time()
    async with trio.open_nursery() as nursery:
        for _ in range(at_once):
            nursery.start_soon(shake)
    return {"seconds": time.perf_counter() - began, "cpu": time.process_time() - used}


async def first_answers(*, port: int, count: int, origin: int) -> dict[str, Any]:
    """Dial, and wait for a first octet from the origin, one after another."""
    began = time.perf_counter()
    for _ in range(count):
        async with AsyncExitStack() as stack:
            await ask(stack, port, origin)
    return {"seconds": time.perf_counter() - began}


async def main() -> None:
    raise_file_limit()
    opened: list[VlessStream] = []
    async with AsyncExitStack() as stack:

        async def open_(*, port: int, count: int, origin: int) -> dict[str, Any]:
            """Open so many streams more, and leave them."""
            for _ in range(count):
                opened.append(await ask(stack, port, origin))
            return {}

        async def download(*, count: int) -> dict[str, Any]:
            """Receive so many octets by each of the open streams, at once."""
            began = time.perf_counter()
            async with trio.open_nursery() as nursery:
                for stream in opened:
                    nursery.start_soon(receive, stream, count)
            return {"seconds": time.perf_counter() - began}

        async def close() -> dict[str, Any]:
            opened.clear()
            await stack.aclose()
            return {}

        say(ready=True)
        await answer_requests(
            {
                "sealed": sealed,
                "handshakes": handshakes,
                "first_answers": first_answers,
                "open": open_,
                "download": download,
                "close": close,
                "memory": memory,
            }
        )


if __name__ == "__main__":
    trio.run(main)
