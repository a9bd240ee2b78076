"""The workers of bench.wire on a control link: a node that serves, and the controller that dials it."""

import gc
import sys
import time
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import psutil
import trio

from bench._rpc_ours import BenchEcho, say
from bench._wire_fleet import answer_requests, cpu, credentials, dial, listener_context, now, server_name, trust
from bench.support import percentile
from pharos.wire.pki.roles import CONTROL
from pharos.wire.pki.tls import client_context
from pharos.wire.pki.verify import admit_peer
from pharos.wire.rpc.client import open_channel
from pharos.wire.rpc.flow import CONTROL as CONTROL_WINDOWS
from pharos.wire.rpc.peer import Peer
from pharos.wire.rpc.server import Service, serve_connection
from pharos.wire.rpc.transport import SecureStream, serve_tls
from tests.support.gen.pharos_test.v1.echo_grpc import EchoStub
from tests.support.gen.pharos_test.v1.echo_pb2 import Ping, WatchRequest
from tests.support.rpc import HOST


async def run_server() -> None:
    """Serve Echo as a node serves its control port."""
    service = Service([BenchEcho()])

    async def handle(stream: SecureStream) -> None:
        identity = admit_peer(CONTROL, stream.peer_certificate, trust=trust(), now=now())
        peer = Peer(address=stream.peer_address, certificate=stream.peer_certificate, identity=identity)
        await serve_connection(stream, service, windows=CONTROL_WINDOWS, peer=peer)

    context = listener_context("server", CONTROL)
    async with trio.open_nursery() as nursery:
        address = await nursery.start(partial(serve_tls, handle, host=HOST, port=0, context=context))
        say(port=address[1])
        await answer_requests({"cpu": cpu})
        nursery.cancel_scope.cancel()


async def run_client() -> None:
    async with AsyncExitStack() as stack:
        stubs: dict[int, EchoStub] = {}

        async def latency(*, port: int, seconds: float) -> dict[str, Any]:
            """Call one after another on one connection, kept for the next time."""
            if port not in stubs:
                stream = await dial("server", port, by="client")
                opened = open_channel(stream, authority=server_name("server"), windows=CONTROL_WINDOWS)
                stubs[port] = EchoStub(await stack.enter_async_context(opened))
            times: list[float] = []
            end = time.perf_counter() + seconds
            while (started := time.perf_counter()) < end:
                await stubs[port].Echo(Ping(seq=1, payload=b"p" * 32))
                times.append(time.perf_counter() - started)
            return {"p50": percentile(times, 50), "p99": percentile(times, 99)}

        say(ready=True)
        await answer_requests({"connect": connect, "links": links, "latency": latency, "cpu": cpu})


async def connect(*, port: int, count: int, in_flight: int) -> dict[str, Any]:
    """Connect, call once and close, ``count`` times."""
    left = count

    async def keep_connecting() -> None:
        nonlocal left
        while left:
            left -= 1
            stream = await dial("server", port, by="client")
            async with open_channel(stream, authority=server_name("server"), windows=CONTROL_WINDOWS) as channel:
                await EchoStub(channel).Echo(Ping(seq=1, payload=b"p" * 32))

    started = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(in_flight):
            nursery.start_soon(keep_connecting)
    return {"rate": count / (time.perf_counter() - started)}


async def links(*, port: int, count: int, own_contexts: bool) -> dict[str, Any]:
    """Hold ``count`` connections, each with one quiet server stream, as helm holds its control links."""
    # What the first connection of a process costs is not a link's.
    await connect(port=port, count=1, in_flight=1)
    gc.collect()
    before = psutil.Process().memory_info().rss
    # Fewer at once than a listener lets one address have that have not proven themselves.
    limiter = trio.CapacityLimiter(8)

    async def hold(task_status: trio.TaskStatus[None]) -> None:
        context = client_context(trust=trust(), credentials=credentials("client")) if own_contexts else None
        async with AsyncExitStack() as link:
            async with limiter:
                stream = await dial("server", port, by="client", context=context)
                opened = open_channel(stream, authority=server_name("server"), windows=CONTROL_WINDOWS)
                call = EchoStub(await link.enter_async_context(opened)).Watch.open()
                await link.enter_async_context(call)
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
        nursery.cancel_scope.cancel()
    return {"bytes_per_link": (after - before) / count}


ROLES = {"server": run_server, "client": run_client}

if __name__ == "__main__":
    trio.run(ROLES[sys.argv[1]])
