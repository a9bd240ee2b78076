"""The worker of bench.wire that is a thousand devices, and the relay between them and helm, in one process."""

from contextlib import AsyncExitStack
from functools import partial
from typing import Any, Final

import trio
from grpclib.events import SendRequest, listen

from bench._rpc_ours import say
from bench._wire_fleet import HELM_KEY, answer_requests, listener_context, trust
from pharos.wire.noise.keys import KeyPair
from pharos.wire.passage.client import open_passage
from pharos.wire.passage.metadata import FINGERPRINT_HEADER, Purpose
from pharos.wire.passage.notes import Note
from pharos.wire.pki.roles import TUNNEL
from pharos.wire.rpc.client import Channel
from pharos.wire.rpc.flow import TUNNEL as TUNNEL_WINDOWS
from pharos.wire.rpc.h2conn import Connection
from pharos.wire.rpc.limits import TUNNEL_STREAMS
from pharos.wire.rpc.transport import SecureStream, serve_tls
from tests.support.gen.pharos_test.v1.echo_grpc import EchoStub
from tests.support.gen.pharos_test.v1.echo_pb2 import Ping
from tests.support.rpc import HOST

_AT_ONCE: Final = 16


class Crowd:
    """Devices that open passages straight on the tunnels, each under a fingerprint of its own."""

    def __init__(self) -> None:
        self.tunnels: list[Connection] = []
        self._opened = 0

    async def on_tunnel(self, stream: SecureStream) -> None:
        connection = Connection(stream, client_side=True, windows=TUNNEL_WINDOWS, max_streams=TUNNEL_STREAMS)
        self.tunnels.append(connection)
        await connection.run()

    async def hold(self, kind: str, limiter: trio.CapacityLimiter, *, task_status: trio.TaskStatus[None]) -> None:
        """Keep one idle passage open."""
        number = self._opened
        self._opened += 1
        channel = Channel(self.tunnels[number % len(self.tunnels)], authority="helm")

        async def vouch(event: SendRequest) -> None:
            event.metadata[FINGERPRINT_HEADER] = f"{number:064x}"

        listen(channel, SendRequest, vouch)
        async with AsyncExitStack() as stack:
            async with limiter:
                opened = open_passage(
                    channel,
                    purpose=Purpose.DEVICE,
                    fleet=trust().fleet,
                    helm_key=HELM_KEY.public,
                    static=KeyPair.generate(),
                    holds=Note(),
                )
                passage = await stack.enter_async_context(opened)
                if kind == "full":
                    stub = EchoStub(await stack.enter_async_context(passage.channel()))
                    await stub.Echo(Ping(seq=1, payload=b"p" * 32))
            task_status.started()
            await trio.sleep_forever()


async def run() -> None:
    crowd = Crowd()
    async with trio.open_nursery() as nursery:

        async def passages(*, kind: str, count: int) -> dict[str, Any]:
            """Open so many more."""
            limiter = trio.CapacityLimiter(_AT_ONCE)
            async with trio.open_nursery() as starting:
                for _ in range(count):
                    starting.start_soon(nursery.start, partial(crowd.hold, kind, limiter))
            return {}

        context = listener_context("relay", TUNNEL)
        address = await nursery.start(partial(serve_tls, crowd.on_tunnel, host=HOST, port=0, context=context))
        say(tunnel=address[1])
        await answer_requests({"passages": passages})
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(run)
