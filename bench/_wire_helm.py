"""The worker of bench.wire that is helm: it serves passages in tunnels that it dials, and one port without a relay."""

import gc
import sys
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import psutil
import trio

from bench._rpc_ours import BenchEcho, say
from bench._wire_fleet import HELM_KEY, answer_requests, cpu, dial, listener_context, now, trust
from pharos.wire.gen.pharos.relay.v1.passage_grpc import PassageBase
from pharos.wire.ids import DeviceId, TicketId
from pharos.wire.passage.accepted import DeviceRecord
from pharos.wire.passage.admission import Door
from pharos.wire.passage.carrier import ServerCall
from pharos.wire.passage.metadata import FINGERPRINT_HEADER
from pharos.wire.passage.records import MAX_FRAME
from pharos.wire.passage.server import Incident, accept_passage
from pharos.wire.pki.roles import INGRESS
from pharos.wire.pki.verify import admit_peer
from pharos.wire.rpc.flow import EDGE, TUNNEL
from pharos.wire.rpc.guard import TUNNEL_ALLOWANCE
from pharos.wire.rpc.h2conn import Connection
from pharos.wire.rpc.limits import TUNNEL_STREAMS
from pharos.wire.rpc.peer import Peer
from pharos.wire.rpc.server import Service, serve_connection
from pharos.wire.rpc.transport import SecureStream, serve_tls
from tests.support.rpc import HOST

# Seconds; a passage that has been opened is confirmed within one round trip.
_PATIENCE: Final = 10


class Passages(PassageBase):
    """Accepts whoever has helm's key, and believes what the relay says of its certificate."""

    def __init__(self) -> None:
        self.service = Service([BenchEcho()])
        self._door = Door()
        self.open = 0
        """Passages that are confirmed and have not ended."""
        self._changed = trio.Event()

    def _count(self, change: int) -> None:
        self.open += change
        self._changed.set()
        self._changed = trio.Event()

    async def wait_open(self, number: int) -> None:
        """Wait until so many are open."""
        while self.open != number:
            await self._changed.wait()

    async def Open(self, call: ServerCall) -> None:
        metadata: Mapping[str, Any] = call.metadata or {}
        fingerprint = str(metadata[FINGERPRINT_HEADER])

        async def find_psk(_ticket_id: TicketId) -> None: ...

        async def find_device(static: bytes) -> DeviceRecord:
            return DeviceRecord(id=DeviceId(static[:8].hex()), fingerprints=frozenset({fingerprint}))

        async def audit(incident: Incident) -> None:
            print(f"a passage was refused: {incident}", file=sys.stderr)

        async with accept_passage(
            call,
            fleet=trust().fleet,
            keys=(HELM_KEY,),
            door=self._door,
            beacon="relay",
            find_psk=find_psk,
            find_device=find_device,
            audit=audit,
        ) as passage:
            self._count(+1)
            try:
                await passage.serve(self.service)
            finally:
                self._count(-1)


async def run(_kind: str) -> None:
    accepted = Passages()
    service = Service([accepted], max_message=MAX_FRAME + 64)
    # Who comes without a relay may call at once, or open a passage and vouch for itself.
    direct = Service([accepted, BenchEcho()], max_message=MAX_FRAME + 64)

    async def serve_direct(stream: SecureStream) -> None:
        identity = admit_peer(INGRESS, stream.peer_certificate, trust=trust(), now=now())
        peer = Peer(address=stream.peer_address, certificate=stream.peer_certificate, identity=identity)
        await serve_connection(stream, direct, windows=EDGE, peer=peer)

    async with trio.open_nursery() as nursery:

        async def tunnels(*, port: int, count: int) -> dict[str, Any]:
            """Dial ``count`` tunnels to one relay."""
            for _ in range(count):
                connection = Connection(
                    await dial("relay", port, by="client"),
                    client_side=False,
                    windows=TUNNEL,
                    accept=service,
                    max_streams=TUNNEL_STREAMS,
                    allowance=TUNNEL_ALLOWANCE,
                )
                nursery.start_soon(connection.run)
                await connection.wait_up()
            return {}

        async def memory(*, passages: int) -> dict[str, Any]:
            """Return the memory that this process takes with so many passages."""
            with trio.fail_after(_PATIENCE):
                await accepted.wait_open(passages)
            gc.collect()
            return {"bytes": psutil.Process().memory_info().rss}

        async def count() -> dict[str, Any]:
            return {"passages": accepted.open}

        context = listener_context("direct", INGRESS)
        address = await nursery.start(partial(serve_tls, serve_direct, host=HOST, port=0, context=context))
        say(port=address[1])
        await answer_requests({"tunnels": tunnels, "memory": memory, "count": count, "cpu": cpu})
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(run, sys.argv[3])
