"""The workers of bench.rpc that run grpc.aio: the same server and the same client, on asyncio as it wants it."""

import asyncio
import functools
import gc
import json
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import psutil

from bench._rpc_certificates import read
from tests.support.gen.pharos_test.v1.echo_pb2 import Event, Ping, Pong, WatchRequest
from tests.support.rpc import HOST, SERVER_NAME

_SERVICE = "pharos_test.v1.Echo"


def say(**answer: Any) -> None:
    print(json.dumps(answer), flush=True)


async def read_line() -> str:
    return await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)


async def echo(ping: Ping, _context: Any) -> Pong:
    return Pong(seq=ping.seq, payload=ping.payload)


async def watch(request: WatchRequest, context: Any) -> AsyncIterator[Event]:
    body = b"z" * request.size
    for number in range(request.count):
        yield Event(seq=number, body=body)
    if not request.count:
        await context.send_initial_metadata(())
        await asyncio.Event().wait()


async def run_server() -> None:
    server = grpc.aio.server()
    handlers = {
        "Echo": grpc.unary_unary_rpc_method_handler(echo, Ping.FromString, Pong.SerializeToString),
        "Watch": grpc.unary_stream_rpc_method_handler(watch, WatchRequest.FromString, Event.SerializeToString),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, handlers),))
    credentials = grpc.ssl_server_credentials(
        [(read("server.key"), read("server.pem"))], read("ca.pem"), require_client_auth=True
    )
    port = server.add_secure_port(f"{HOST}:0", credentials)
    await server.start()
    say(port=port)
    await read_line()
    await server.stop(0)


@functools.cache
def client_credentials() -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(read("ca.pem"), read("client.key"), read("client.pem"))


def open_channel(port: int) -> grpc.aio.Channel:
    options = [("grpc.ssl_target_name_override", SERVER_NAME), ("grpc.use_local_subchannel_pool", 1)]
    return grpc.aio.secure_channel(f"{HOST}:{port}", client_credentials(), options)


def echo_of(channel: grpc.aio.Channel) -> Any:
    return channel.unary_unary(
        f"/{_SERVICE}/Echo", request_serializer=Ping.SerializeToString, response_deserializer=Pong.FromString
    )


def watch_of(channel: grpc.aio.Channel) -> Any:
    return channel.unary_stream(
        f"/{_SERVICE}/Watch",
        request_serializer=WatchRequest.SerializeToString,
        response_deserializer=Event.FromString,
    )


async def run_client() -> None:
    say(ready=True)
    channels: dict[int, grpc.aio.Channel] = {}
    while line := await read_line():
        request = json.loads(line)
        task, port = request.pop("task"), request.pop("port")
        if task == "links":
            await links(port, **request)
            continue
        if port not in channels:
            channels[port] = open_channel(port)
        await TASKS[task](channels[port], **request)
    for channel in channels.values():
        await channel.close()


async def unary(channel: grpc.aio.Channel, *, in_flight: int, seconds: float) -> None:
    stub = echo_of(channel)
    done = 0
    end = time.perf_counter() + seconds

    async def call() -> None:
        nonlocal done
        while time.perf_counter() < end:
            await stub(Ping(seq=1, payload=b"p" * 32))
            done += 1

    started = time.perf_counter()
    await asyncio.gather(*(call() for _ in range(in_flight)))
    say(rate=done / (time.perf_counter() - started))


async def stream_messages(channel: grpc.aio.Channel, *, messages: int) -> None:
    started = time.perf_counter()
    received = 0
    async for _ in watch_of(channel)(WatchRequest(count=messages, size=100)):
        received += 1
    assert received == messages
    say(rate=messages / (time.perf_counter() - started))


async def links(port: int, *, count: int) -> None:
    gc.collect()
    before = psutil.Process().memory_info().rss
    limiter = asyncio.Semaphore(16)
    held = []

    async def hold() -> None:
        async with limiter:
            channel = open_channel(port)
            call = watch_of(channel)(WatchRequest())
            await call.initial_metadata()
            held.append((channel, call))

    await asyncio.gather(*(hold() for _ in range(count)))
    gc.collect()
    after = psutil.Process().memory_info().rss
    say(bytes_per_link=(after - before) / count)
    for channel, call in held:
        call.cancel()
        await channel.close()


TASKS = {"unary": unary, "stream": stream_messages}
ROLES = {"server": run_server, "client": run_client}

if __name__ == "__main__":
    asyncio.run(ROLES[sys.argv[1]]())
