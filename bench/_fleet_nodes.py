"""The simulated buoys of bench.fleet: the real protocol over real TLS, and no engine under it.

    python -m bench._fleet_nodes FOLDER

``nodes.json`` in the folder says who they are; each has a listener and a certificate of its own.
"""

import hashlib
import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import trio
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.server import Stream

from bench._fleet_record import REALITY_PORT
from bench._rpc_ours import say
from bench._wire_fleet import answer_requests, cpu, now
from bench.support import raise_file_limit
from pharos.buoy.reality import RealityKeys
from pharos.buoy.report import Teller
from pharos.wire.agent import AgentGrant
from pharos.wire.convert import (
    EventKind,
    NodeReport,
    PeerReport,
    TunnelEvent,
    event_to,
    fence_to,
    push_from,
    report_to,
)
from pharos.wire.desired import Desired
from pharos.wire.gen.pharos.buoy.v1 import control_grpc
from pharos.wire.gen.pharos.buoy.v1 import control_pb2 as pb
from pharos.wire.ids import DeviceId, NodeId
from pharos.wire.noise.keys import KeyPair
from pharos.wire.pki.keys import certificate_from_der, key_from_der
from pharos.wire.pki.profile import spki_hash
from pharos.wire.pki.roles import CONTROL
from pharos.wire.pki.tls import Credentials, server_context
from pharos.wire.pki.trust import Trust, load_certificate, verify_trust
from pharos.wire.pki.verify import admit_peer
from pharos.wire.reality.params import RealityParameters
from pharos.wire.reports import RealityReport
from pharos.wire.rpc.flow import CONTROL as WINDOWS
from pharos.wire.rpc.peer import Peer
from pharos.wire.rpc.server import Service, serve_connection
from pharos.wire.rpc.transport import SecureStream, serve_tls
from tests.support.rpc import HOST

BATCH_EVERY = 0.25


class SimulatedNode(control_grpc.ControlBase):
    """A node that does as it is told, at once, and remembers it in memory."""

    def __init__(self, facts: dict[str, Any], trust: Trust) -> None:
        self.id = NodeId(facts["id"])
        derive = KeyPair.from_private_bytes(bytes.fromhex(facts["derive_key"]))
        self._keys = bytes.fromhex(facts["awg_key"]), derive.public
        self._reality = RealityKeys(trust.fleet, self.id, derive)
        self._desired = Desired(reality=RealityParameters.from_mapping(facts["reality"]))
        self._trust_held = ((0, 0), 0)
        self._checkpoint = b""
        self._watchers: set[trio.MemorySendChannel[list[TunnelEvent]]] = set()
        self._sequence = 0
        self._teller = Teller()
        self.trust = trust
        self._fingerprint = hashlib.sha256(AgentGrant.parse(facts["grant"]).certificate).digest()
        self.credentials = Credentials(
            certificate=certificate_from_der(AgentGrant.parse(facts["grant"]).certificate),
            key=key_from_der(bytes.fromhex(facts["tls_key"])),
        )

    async def Status(self, stream: Stream[pb.StatusRequest, pb.StatusReply]) -> None:
        request = await stream.recv_message()
        assert request is not None
        await stream.send_message(self._status(request.since))

    def _status(self, since: bytes) -> pb.StatusReply:
        desired = self._desired
        report = NodeReport(
            node_id=self.id,
            version="bench",
            applied=desired.fence,
            started_at=1,
            awg_key=self._keys[0],
            derive_key=self._keys[1],
            awg_port=443,
            awg=desired.awg,
            addresses=desired.addresses,
            peers=tuple(
                PeerReport(
                    device_id=peer.device_id,
                    awg_key=peer.awg_key,
                    last_handshake=0,
                    received=0,
                    sent=0,
                    commitment=b"",
                    generation=peer.generation,
                    digest=peer.digest,
                )
                for peer in desired.peers.values()
            ),
            deny_list=self._trust_held[0],
            manifest_version=self._trust_held[1],
            certificate=self._fingerprint,
            checkpoint=self._checkpoint,
            now=time.time_ns() // 1000,
            policy=desired.policy,
            previous=desired.previous,
            reality=RealityReport(
                parameters=desired.reality,
                keys=self._reality.of(desired),
                port=REALITY_PORT,
            ),
        )
        return report_to(self._teller.tell(report, since=since))

    async def Push(self, stream: Stream[pb.PushRequest, pb.PushReply]) -> None:
        message = await stream.recv_message()
        assert message is not None
        push = push_from(message)
        self._desired = self._desired.after(push)
        self._checkpoint = push.checkpoint or self._checkpoint
        if push.manifest:
            self._trust_held = (self._trust_held[0], self._trust_held[1] or 1)
        fence = fence_to(self._desired.fence)
        await stream.send_message(pb.PushReply(applied=fence, peers=len(self._desired.peers)))

    async def Restart(self, stream: Stream[pb.RestartRequest, pb.RestartReply]) -> None:
        await stream.recv_message()
        await stream.send_message(pb.RestartReply())

    async def SetLogLevel(self, stream: Stream[pb.LogLevelRequest, pb.LogLevelReply]) -> None:
        await stream.recv_message()
        await stream.send_message(pb.LogLevelReply())

    async def Watch(self, stream: Stream[pb.WatchRequest, pb.EventBatch]) -> None:
        await stream.recv_message()
        send, receive = trio.open_memory_channel[list[TunnelEvent]](100)
        self._watchers.add(send)
        try:
            await stream.send_initial_metadata()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._answer, stream)
                async for batch in receive:
                    await stream.send_message(pb.EventBatch(events=[event_to(event) for event in batch]))
        finally:
            self._watchers.discard(send)

    async def _answer(self, stream: Stream[pb.WatchRequest, pb.EventBatch]) -> None:
        async for request in stream:
            await stream.send_message(pb.EventBatch(status=self._status(request.status.since)))

    async def Renew(self, stream: Stream[pb.RenewRequest, pb.RenewReply]) -> None:
        raise GRPCError(Status.UNIMPLEMENTED)

    async def Install(self, stream: Stream[pb.InstallRequest, pb.InstallReply]) -> None:
        raise GRPCError(Status.UNIMPLEMENTED)

    async def Inventory(self, stream: Stream[pb.InventoryRequest, pb.InventoryPart]) -> None:
        raise GRPCError(Status.UNIMPLEMENTED)

    async def CheckTarget(self, stream: Stream[pb.CheckTargetRequest, pb.CheckTargetReply]) -> None:
        raise GRPCError(Status.UNIMPLEMENTED)

    def tell(self, count: int) -> None:
        """Send a batch of handshakes to whoever watches; their time is now."""
        at = time.time_ns() // 1000
        devices = list(self._desired.peers) or [DeviceId("nobody")]
        events = []
        for _ in range(count):
            self._sequence += 1
            device = devices[self._sequence % len(devices)]
            # No two of one device at one microsecond, or they would be one.
            events.append(
                TunnelEvent(
                    sequence=self._sequence,
                    at=at + len(events),
                    kind=EventKind.HANDSHAKE,
                    device_id=device,
                    detail="198.51.100.7:40000",
                )
            )
        for watcher in self._watchers:
            watcher.send_nowait(events)

    async def serve(self, *, port: int, task_status: trio.TaskStatus[tuple[str, int]]) -> None:
        service = Service([self])

        async def handle(stream: SecureStream) -> None:
            identity = admit_peer(CONTROL, stream.peer_certificate, trust=self.trust, now=now())
            peer = Peer(address=stream.peer_address, certificate=stream.peer_certificate, identity=identity)
            await serve_connection(stream, service, windows=WINDOWS, peer=peer)

        context = server_context(self.credentials, trust=self.trust, policy=CONTROL)
        await serve_tls(handle, host=HOST, port=port, context=context, task_status=task_status)


def trust_of(grant: AgentGrant) -> Trust:
    root_hash = spki_hash(load_certificate(grant.root).public_key())
    return verify_trust(
        root=grant.root, fleet_ca=grant.fleet_ca, device_ca=grant.device_ca, root_hash=root_hash, now=now()
    )


async def main() -> None:
    raise_file_limit()
    facts = json.loads((Path(sys.argv[1]) / "nodes.json").read_text())
    trust = trust_of(AgentGrant.parse(facts[0]["grant"]))
    nodes = [SimulatedNode(entry, trust) for entry in facts]

    async def tell(*, per_second: int, seconds: float) -> dict[str, Any]:
        """Let the nodes tell so many events a second, together, each a batch every 250 ms at its own moment."""
        sent, slots = 0, 50
        began = trio.current_time()
        per_batch = per_second * BATCH_EVERY / len(nodes)
        # Each is at another place on its way to the next event, or at a low rate all would tell theirs together.
        owed = [number * 0.618 % 1.0 for number in range(len(nodes))]
        for tick in range(round(seconds / BATCH_EVERY * slots)):
            await trio.sleep_until(began + tick * BATCH_EVERY / slots)
            for number in range(tick % slots, len(nodes), slots):
                owed[number] += per_batch
                if (count := int(owed[number])) > 0:
                    owed[number] -= count
                    nodes[number].tell(count)
                    sent += count
        return {"sent": sent}

    async with trio.open_nursery() as nursery:
        for node, entry in zip(nodes, facts, strict=True):
            await nursery.start(partial(node.serve, port=entry["port"]))
        say(ready=True)
        await answer_requests({"tell": tell, "cpu": cpu})
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
