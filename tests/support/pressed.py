"""The two processes of `pressure`: a server, and a good client. ``python -m tests.support.pressed server|client``

Each reads its setting from the first line of standard input, says that it is ready, and then does what it is asked, in
JSON, one object a line, until its standard input ends.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import os
import ssl
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio

from pharos.wire.daemon import set_up_logging
from pharos.wire.errors import LinkLostError
from pharos.wire.rpc.client import Channel, open_channel
from pharos.wire.rpc.peer import Peer
from pharos.wire.rpc.server import Service, serve_connection
from pharos.wire.rpc.transport import SecureStream, serve_tls
from tests.support.gen.pharos_test.v1.echo_grpc import EchoStub
from tests.support.gen.pharos_test.v1.echo_pb2 import Ping
from tests.support.rpc import HOST, SERVER_NAME, EchoService, Pems, ThrowawayCa, dial

# A call that takes longer counts as failed.
PATIENCE = 5.0

log = logging.getLogger(__name__)

Answer = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


def override(values: dict[str, Any]) -> None:
    """Weaken this process: set each dotted name, which must exist, to its value."""
    for name, value in values.items():
        path, _, attribute = name.rpartition(".")
        owner = _resolve(path)
        if not hasattr(owner, attribute):
            raise AttributeError(f"there is no {name} to override")
        setattr(owner, attribute, value)


def _resolve(path: str) -> Any:
    """Return a module, or what is in one."""
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError:
        outer, _, attribute = path.rpartition(".")
        return getattr(_resolve(outer), attribute)


def limit_files(number: int) -> None:
    """Let this process have so many descriptors and no more."""
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (number, number))


def known(certificate: str) -> ThrowawayCa:
    """Return a CA of which only the certificate is here."""
    ca = ThrowawayCa()
    ca.certificate = certificate.encode()
    return ca


class Hoard:
    """Descriptors that something else in the process has taken, all there were."""

    def __init__(self) -> None:
        self._held: list[int] = []

    def fill(self) -> int:
        with contextlib.suppress(OSError):
            while True:
                self._held.append(os.open(os.devnull, os.O_RDONLY))
        return len(self._held)

    def free(self) -> None:
        while self._held:
            os.close(self._held.pop())


@asynccontextmanager
async def server(setting: dict[str, Any]) -> AsyncIterator[tuple[dict[str, Any], Answer]]:
    """Serve Echo over mTLS; asked for files, it takes all descriptors or gives them back."""
    if setting["files"] is not None:
        limit_files(setting["files"])
    override(setting["overrides"])
    service = EchoService()
    grpc = Service([service])
    hoard = Hoard()
    pems = Pems(certificate=setting["certificate"].encode(), key=setting["key"].encode())
    context = known(setting["ca"]).server_context(pems)
    if setting["anonymous"]:
        context.verify_mode = ssl.CERT_OPTIONAL

    async def handle(stream: SecureStream) -> None:
        peer = Peer(address=stream.peer_address, certificate=stream.peer_certificate)
        await serve_connection(stream, grpc, peer=peer, idle_timeout=setting["idle_timeout"])

    async def serve(*, task_status: trio.TaskStatus[tuple[str, int]]) -> None:
        await serve_tls(handle, host=HOST, port=0, context=context, task_status=task_status)

    async def answer(request: dict[str, Any]) -> dict[str, Any]:
        if request["do"] == "fill":
            return {"held": hoard.fill()}
        if request["do"] == "free":
            hoard.free()
            return {}
        return {"running": service.running, "most_running": service.most_running, "cancelled": service.cancelled}

    async with trio.open_nursery() as nursery:
        address = await nursery.start(serve)
        yield {"address": address}, answer
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def client(setting: dict[str, Any]) -> AsyncIterator[tuple[dict[str, Any], Answer]]:
    """Keep one connection, and measure calls on it and dials beside it when asked."""
    ca = known(setting["ca"])
    pems = Pems(certificate=setting["certificate"].encode(), key=setting["key"].encode())
    address = (str(setting["address"][0]), int(setting["address"][1]))

    async def timed(act: Callable[[], Awaitable[None]], into: list[float]) -> None:
        """A failure is a time without end."""
        begin = time.perf_counter()
        try:
            with trio.fail_after(PATIENCE):
                await act()
        except (LinkLostError, trio.TooSlowError, trio.BrokenResourceError) as error:
            log.info("the good client failed: %r", error)
            into.append(float("inf"))
        else:
            into.append(time.perf_counter() - begin)

    async def dial_and_call() -> None:
        async with open_channel(await dial(ca, address, pems=pems), authority=SERVER_NAME) as channel:
            await call(channel)

    async with open_channel(await dial(ca, address, pems=pems), authority=SERVER_NAME) as kept:

        async def answer(request: dict[str, Any]) -> dict[str, Any]:
            calls: list[float] = []
            dials: list[float] = []
            for _ in range(request["calls"]):
                await timed(lambda: call(kept), calls)
            for _ in range(request["dials"]):
                await timed(dial_and_call, dials)
            return {"calls": calls, "dials": dials}

        yield {}, answer


async def call(channel: Channel) -> None:
    assert (await EchoStub(channel).Echo(Ping(seq=1, payload=bytes(100)))).seq == 1


async def main(role: str) -> None:
    set_up_logging()
    roles = {"server": server, "client": client}
    async with trio.lowlevel.FdStream(os.dup(0)) as orders:
        lines = _lines(orders)
        async with roles[role](json.loads(await anext(lines))) as (ready, answer):
            print(json.dumps(ready), flush=True)
            async for line in lines:
                print(json.dumps(await answer(json.loads(line))), flush=True)


async def _lines(stream: trio.abc.ReceiveStream) -> AsyncIterator[bytes]:
    rest = b""
    while data := await stream.receive_some():
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            yield line


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
