"""The workers of bench.rpc that run our engine: server (helm's part, too), client, and relay (a beacon's part)."""

import gc
import json
import statistics
import sys
import time
from contextlib import AsyncExitStack
from typing import Any

import grpclib.server
import psutil
import trio

from bench._rpc_certificates import client_context, server_context
from pharos.beacon.forward import forward
from pharos.wire.rpc.client import Channel, open_channel
from pharos.wire.rpc.flow import CONTROL, EDGE, TUNNEL
from pharos.wire.rpc.h2conn import Connection
from pharos.wire.rpc.h2stream import H2Stream
from pharos.wire.rpc.server import Service, serve_connection
from pharos.wire.rpc.transport import SecureStream, open_tls, serve_tls
from tests.support.gen.pharos_test.v1.echo_grpc import EchoBase, EchoStub
from tests.support.gen.pharos_test.v1.echo_pb2 import Event, Ping, Pong, WatchRequest
from tests.support.rpc import HOST, SERVER_NAME


class BenchEcho(EchoBase):
    async def Echo(self, stream: grpclib.server.Stream[Ping, Pong]) -> None:
        ping = await stream.recv_message()
        assert ping is not None
        await stream.send_message(Pong(seq=ping.seq, payload=ping.payload))

    async def Watch(self, stream: grpclib.server.Stream[WatchRequest, Event]) -> None:
        request = await stream.recv_message()
        assert request is not None
        body = b"z" * request.size
        for number in range(request.count):
            await stream.send_message(Event(seq=number, body=body))
        if not request.count:
            await stream.send_initial_metadata()
            await trio.sleep_forever()

    async def Collect(self, stream: grpclib.server.Stream[Ping, Pong]) -> None: ...

    async def Chat(self, stream: grpclib.server.Stream[Ping, Pong]) -> None: ...


def say(**answer: Any) -> None:
    print(json.dumps(answer), flush=True)


async def read_line() -> str:
    return await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True)


async def run_server(tunnel: str | None = None) -> None:
    """Serve on a port of our own, and down a tunnel that we dial, if told where."""
    service = Service([BenchEcho()])

    async def handle(stream: SecureStream) -> None:
        await serve_connection(stream, service, windows=CONTROL)

    async with trio.open_nursery() as nursery:
        address = await nursery.start(listen, handle)
        if tunnel is not None:
            stream = await dial(int(tunnel))
            nursery.start_soon(serve_tunnel, stream, service)
        say(port=address[1])
        await read_line()
        nursery.cancel_scope.cancel()


async def serve_tunnel(stream: SecureStream, service: Service) -> None:
    await serve_connection(stream, service, windows=TUNNEL, max_streams=500)


async def run_relay() -> None:
    """Terminate TLS on both sides, forward every stream of the one port up the tunnel that came to the other."""
    tunnels: list[Connection] = []

    async def on_tunnel(stream: SecureStream) -> None:
        connection = Connection(stream, client_side=True, windows=TUNNEL)
        tunnels.append(connection)
        await connection.run()

    async def on_client(stream: SecureStream) -> None:
        async def hand_on(down: H2Stream) -> None:
            await forward(down, tunnels[0], [*(down.headers or []), ("x-pharos-device-fp", "00" * 32)])

        await Connection(stream, client_side=False, windows=EDGE, accept=hand_on).run()

    async with trio.open_nursery() as nursery:
        client_side = await nursery.start(listen, on_client)
        tunnel_side = await nursery.start(listen, on_tunnel)
        say(port=client_side[1], tunnel=tunnel_side[1])
        await read_line()
        nursery.cancel_scope.cancel()


async def listen(handler: Any, *, task_status: trio.TaskStatus[tuple[str, int]]) -> None:
    await serve_tls(handler, host=HOST, port=0, context=server_context(), task_status=task_status)


async def dial(port: int) -> SecureStream:
    return await open_tls(HOST, port, client_context(), server_hostname=SERVER_NAME)


async def run_client() -> None:
    say(ready=True)
    channels: dict[int, Channel] = {}
    async with AsyncExitStack() as stack:

        async def channel_to(port: int) -> Channel:
            if port not in channels:
                opened = open_channel(await dial(port), authority=SERVER_NAME, windows=CONTROL)
                channels[port] = await stack.enter_async_context(opened)
            return channels[port]

        while line := await read_line():
            request = json.loads(line)
            task = request.pop("task")
            if task == "links":
                await links(stack, **request)
            else:
                await TASKS[task](EchoStub(await channel_to(request.pop("port"))), **request)


async def unary(stub: EchoStub, *, in_flight: int, seconds: float) -> None:
    done = 0
    end = time.perf_counter() + seconds

    async def call() -> None:
        nonlocal done
        while time.perf_counter() < end:
            await stub.Echo(Ping(seq=1, payload=b"p" * 32))
            done += 1

    started = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(in_flight):
            nursery.start_soon(call)
    say(rate=done / (time.perf_counter() - started))


async def latency(stub: EchoStub, *, calls: int) -> None:
    times = []
    for _ in range(calls):
        started = time.perf_counter()
        await stub.Echo(Ping(seq=1, payload=b"p" * 32))
        times.append(time.perf_counter() - started)
    say(p50=statistics.median(times))


async def stream_messages(stub: EchoStub, *, messages: int) -> None:
    started = time.perf_counter()
    received = 0
    async with stub.Watch.open() as call:
        await call.send_message(WatchRequest(count=messages, size=100), end=True)
        async for _ in call:
            received += 1
    assert received == messages
    say(rate=messages / (time.perf_counter() - started))


async def links(stack: AsyncExitStack, *, port: int, count: int) -> None:
    """Hold ``count`` connections, each with one quiet server stream, as helm holds its control links."""
    gc.collect()
    before = psutil.Process().memory_info().rss
    # A listener takes 20 unfinished handshakes of one address, and sees the last flight of each later than we do.
    limiter = trio.CapacityLimiter(8)

    async def hold(task_status: trio.TaskStatus[None]) -> None:
        async with limiter:
            stream = await dial(port)
        async with open_channel(stream, authority=SERVER_NAME, windows=CONTROL) as channel:
            async with EchoStub(channel).Watch.open() as call:
                await call.send_message(WatchRequest(), end=True)
                await call.recv_initial_metadata()
                task_status.started()
                await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        async with trio.open_nursery() as starting:
            for _ in range(count):
                starting.start_soon(nursery.start, hold)
        gc.collect()
        after = psutil.Process().memory_info().rss
        say(bytes_per_link=(after - before) / count)
        nursery.cancel_scope.cancel()


TASKS = {"unary": unary, "latency": latency, "stream": stream_messages}
ROLES = {"server": run_server, "relay": run_relay, "client": run_client}

if __name__ == "__main__":
    trio.run(ROLES[sys.argv[1]], *sys.argv[3:])
