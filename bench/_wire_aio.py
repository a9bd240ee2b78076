"""The worker of bench.wire that connects with grpc.aio; the server is that of bench.rpc."""

import asyncio
import json
import sys
import time

import grpc.aio

from bench._rpc_aio import client_credentials, echo_of, read_line, say
from tests.support.gen.pharos_test.v1.echo_pb2 import Ping
from tests.support.rpc import HOST


async def run_client() -> None:
    say(ready=True)
    while line := await read_line():
        request = json.loads(line)
        assert request.pop("task") == "connect"
        await connect(**request)


async def connect(*, port: int, count: int, in_flight: int) -> None:
    """Connect, call once and close, ``count`` times."""
    options = [("grpc.ssl_target_name_override", sys.argv[3]), ("grpc.use_local_subchannel_pool", 1)]
    left = count

    async def keep_connecting() -> None:
        nonlocal left
        while left:
            left -= 1
            async with grpc.aio.secure_channel(f"{HOST}:{port}", client_credentials(), options) as channel:
                await echo_of(channel)(Ping(seq=1, payload=b"p" * 32))

    started = time.perf_counter()
    await asyncio.gather(*(keep_connecting() for _ in range(in_flight)))
    say(rate=count / (time.perf_counter() - started))


if __name__ == "__main__":
    asyncio.run(run_client())
