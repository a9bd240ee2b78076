"""The worker of bench.wire that is one device, or forty that do not read what they asked for."""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import trio

from bench._rpc_ours import say
from bench._wire_fleet import DEVICE_KEY, HELM_KEY, answer_requests, cpu, dial, server_name, trust
from bench.support import percentile
from pharos.wire.passage.client import open_passage
from pharos.wire.passage.metadata import Purpose
from pharos.wire.rpc.client import open_channel
from pharos.wire.rpc.flow import EDGE
from tests.support.gen.pharos_test.v1.echo_grpc import EchoStub
from tests.support.gen.pharos_test.v1.echo_pb2 import Ping, WatchRequest

# Bulk without end for a test: fifty times what windows and buffers on the way can hold.
_BULK: Final = WatchRequest(count=2_000, size=16_000)


class Tap(trio.abc.Stream):
    """A stream that can be left unread."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self.shut = False

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        if self.shut:
            await trio.sleep_forever()
        return await self._stream.receive_some(max_bytes)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._stream.aclose()


@asynccontextmanager
async def open_session(port: int) -> AsyncIterator[tuple[EchoStub, Tap]]:
    """Dial the relay, open a passage through it, and an inner channel in that."""
    tap = Tap(await dial("relay", port, by="device"))
    async with (
        open_channel(tap, windows=EDGE, authority="helm", keepalive=None) as channel,
        open_passage(
            channel, purpose=Purpose.DEVICE, fleet=trust().fleet, helm_key=HELM_KEY.public, static=DEVICE_KEY
        ) as passage,
        passage.channel() as inner,
    ):
        yield EchoStub(inner), tap


async def echo(stub: EchoStub, calls: int) -> list[float]:
    """Call one after another, and return how long each took, in seconds."""
    times = []
    for _ in range(calls):
        started = time.perf_counter()
        await stub.Echo(Ping(seq=1, payload=b"p" * 32))
        times.append(time.perf_counter() - started)
    return times


async def session(*, port: int, calls: int) -> dict[str, Any]:
    """Time a device that dials, and makes a few calls."""
    started = time.perf_counter()
    async with open_session(port) as (stub, _tap):
        await echo(stub, calls)
        seconds = time.perf_counter() - started
    return {"seconds": seconds}


async def ask_for_bulk(port: int, *, task_status: trio.TaskStatus[None]) -> None:
    """Stop reading when the first of it has come."""
    async with open_session(port) as (stub, tap), stub.Watch.open() as call:
        await call.send_message(_BULK, end=True)
        await call.recv_message()
        tap.shut = True
        task_status.started()
        await trio.sleep_forever()


async def run() -> None:
    async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
        stubs: dict[int, EchoStub] = {}
        stalling = trio.CancelScope()

        async def direct(*, port: int, calls: int) -> dict[str, Any]:
            """Call helm without a relay, on one connection, kept for the next time."""
            if port not in stubs:
                stream = await dial("direct", port, by="device")
                opened = open_channel(stream, authority=server_name("direct"), windows=EDGE)
                stubs[port] = EchoStub(await stack.enter_async_context(opened))
            return {"p50": percentile(await echo(stubs[port], calls), 50)}

        async def passage(*, port: int, calls: int) -> dict[str, Any]:
            """Call helm in a passage, kept for the next time."""
            if port not in stubs:
                stubs[port], _tap = await stack.enter_async_context(open_session(port))
            return {"p50": percentile(await echo(stubs[port], calls), 50)}

        async def stall(port: int, devices: int, *, task_status: trio.TaskStatus[None]) -> None:
            with stalling:
                async with trio.open_nursery() as each:
                    for _ in range(devices):
                        await each.start(ask_for_bulk, port)
                    task_status.started()

        async def start_stalling(*, port: int, devices: int) -> dict[str, Any]:
            """Be so many devices that ask for bulk, and read only the beginning of it."""
            nonlocal stalling
            stalling = trio.CancelScope()
            await nursery.start(stall, port, devices)
            return {}

        async def stop_stalling() -> dict[str, Any]:
            stalling.cancel()
            return {}

        say(ready=True)
        await answer_requests(
            {
                "direct": direct,
                "passage": passage,
                "session": session,
                "start_stalling": start_stalling,
                "stop_stalling": stop_stalling,
                "cpu": cpu,
            }
        )
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(run)
