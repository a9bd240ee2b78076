"""A beacon over memory streams: helm's link dials it, devices and strangers open passages through it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import attrs
import trio
import trio.testing
from grpclib.exceptions import StreamTerminatedError

from pharos.beacon.ingress import serve_client
from pharos.beacon.limiter import PassageLimiter, Rates
from pharos.beacon.sanitize import PASSAGE_PATH
from pharos.beacon.shares import UNSHARED
from pharos.beacon.tunnel import run_tunnel
from pharos.beacon.upstream import Upstreams
from pharos.helm.relay.link import RelayLink, open_relay_link
from pharos.wire.link import Backoff
from pharos.wire.passage.metadata import PURPOSE_HEADER
from pharos.wire.rpc.flow import EDGE, Holdings
from pharos.wire.rpc.h2conn import Connection
from pharos.wire.rpc.h2core import Accept
from pharos.wire.rpc.h2stream import H2Stream, Headers
from pharos.wire.rpc.limits import EDGE_STREAMS
from pharos.wire.rpc.peer import Peer

Ours = trio.StapledStream[trio.testing.MemorySendStream, trio.testing.MemoryReceiveStream]

UNBOUNDED = float("inf")
NO_RATES = Rates(
    passage_burst=UNBOUNDED,
    strangers_burst=UNBOUNDED,
    source_burst=UNBOUNDED,
    sources=10**9,
    logins=10**9,
    source_logins=10**9,
    shares=UNSHARED,
)
"""A beacon that lets everybody in."""


def passage_headers(purpose: str = "device") -> Headers:
    """Headers of a request for a passage."""
    return [
        (":method", "POST"),
        (":scheme", "https"),
        (":path", PASSAGE_PATH),
        (":authority", "beacon"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        (PURPOSE_HEADER, purpose),
    ]


async def echo(stream: H2Stream) -> None:
    """Serve a passage as a helm would that says back whatever it hears."""
    await stream.send_headers([(":status", "200"), ("content-type", "application/grpc")])
    while (chunk := await stream.receive_chunk()) is not None:
        data, credit = chunk
        await stream.send_data(data)
        stream.credit(credit)
    await stream.send_headers([("grpc-status", "0")], end_stream=True)


@attrs.define(eq=False)
class Client:
    """A device, or a stranger, with one connection to the beacon."""

    connection: Connection
    beacons_end: Ours

    async def open(self, purpose: str = "device") -> H2Stream:
        stream = self.connection.create_stream()
        await stream.send_request(passage_headers(purpose))
        return stream


@attrs.define(eq=False)
class MemoryBeacon:
    """A beacon without its listeners."""

    nursery: trio.Nursery
    upstreams: Upstreams = attrs.field(factory=Upstreams)
    limiter: PassageLimiter = attrs.field(factory=lambda: PassageLimiter(NO_RATES))
    holdings: Holdings | None = None
    tunnels: list[Ours] = attrs.field(factory=list)
    """Our ends of what helm dialled, to cut."""
    refuses_tunnels: bool = False

    async def open_stream(self) -> tuple[trio.abc.Stream, Peer]:
        """Be dialled by helm."""
        helms, ours = trio.testing.memory_stream_pair()
        if self.refuses_tunnels:
            await ours.aclose()
        else:
            self.tunnels.append(ours)
            self.nursery.start_soon(self._run_tunnel, ours)
        return helms, Peer()

    async def _run_tunnel(self, stream: trio.abc.Stream) -> None:
        await run_tunnel(self.upstreams, stream, peer=Peer(), holdings=self.holdings)

    @property
    def passages(self) -> list[int]:
        """Passages by tunnel, in the order of their dialling."""
        return [tunnel.passages for tunnel in self.upstreams._tunnels]

    async def dial(self, *, certificate: bytes | None = b"a certificate", address: str = "192.0.2.1") -> Client:
        """Connect a client; without a certificate it is a stranger."""
        theirs, ours = trio.testing.memory_stream_pair()
        peer = Peer(address=(address, 40_000), certificate=certificate)

        async def serve() -> None:
            await serve_client(self.upstreams, self.limiter, ours, peer=peer, holdings=self.holdings)

        self.nursery.start_soon(serve)
        connection = Connection(theirs, client_side=True, windows=EDGE, keepalive=None)
        self.nursery.start_soon(connection.run)
        await connection.wait_up()
        return Client(connection, ours)

    async def open_passages(self, count: int) -> list[H2Stream]:
        """Open ``count`` passages of devices at once; return those that helm answered with 200."""
        opened: list[H2Stream] = []

        async def device(number: int, passages: int) -> None:
            client = await self.dial(certificate=f"device {number}".encode())
            streams = [await client.open() for _ in range(passages)]
            for stream in streams:
                try:
                    headers = dict(await stream.recv_headers())
                except StreamTerminatedError:
                    continue
                if "grpc-status" not in headers:
                    opened.append(stream)

        async with trio.open_nursery() as devices:
            for left in range(count, 0, -EDGE_STREAMS):
                devices.start_soon(device, left, min(left, EDGE_STREAMS))
        return opened

    def link(self, accept: Accept = echo) -> AbstractAsyncContextManager[RelayLink]:
        """Open helm's link to this beacon; its first tunnel is up, and nobody runs it yet."""
        return open_relay_link(self.open_stream, accept, name="gate", backoff=Backoff(random=lambda: 1.0))

    @asynccontextmanager
    async def linked(self, accept: Accept = echo) -> AsyncIterator[RelayLink]:
        """Keep a link running while the block lasts."""
        async with self.link(accept) as link, trio.open_nursery() as nursery:
            nursery.start_soon(link.run)
            # The beacon has its part of the tunnel a moment later.
            await trio.testing.wait_all_tasks_blocked()
            yield link
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def memory_beacon(**parts: object) -> AsyncIterator[MemoryBeacon]:
    """Run a beacon while the block lasts."""
    async with trio.open_nursery() as nursery:
        yield MemoryBeacon(nursery, **parts)  # type: ignore[arg-type]
        nursery.cancel_scope.cancel()
