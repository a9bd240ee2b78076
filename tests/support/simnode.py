"""Simulated buoys: the real protocol over real TLS, and no engine under it."""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

import attrs
import trio
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.server import Stream

from pharos.buoy.reality import RealityKeys
from pharos.buoy.report import Teller
from pharos.helm.ca.authority import Authority
from pharos.helm.fleet.realitykeys import note_reality
from pharos.helm.onboard.agents import NewNode, adopt_node
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.wire.agent import AgentGrant, AgentRequest
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
from pharos.wire.desired import Desired, Peer
from pharos.wire.gen.pharos.buoy.v1 import control_grpc
from pharos.wire.gen.pharos.buoy.v1 import control_pb2 as pb
from pharos.wire.ids import DeviceId, NodeId
from pharos.wire.noise.keys import KeyPair
from pharos.wire.pki.csr import make_csr
from pharos.wire.pki.denylist import DenyList
from pharos.wire.pki.keys import certificate_from_der, generate_key, key_from_der, key_to_der
from pharos.wire.pki.manifest import Manifest, verify_manifest
from pharos.wire.pki.profile import spki_hash
from pharos.wire.pki.roles import CONTROL, Role
from pharos.wire.pki.tls import Credentials, server_context
from pharos.wire.pki.trust import Trust, load_certificate, verify_trust
from pharos.wire.pki.verify import admit_peer
from pharos.wire.reality.params import RealityParameters
from pharos.wire.reports import AMNEZIAWG, REALITY, EngineReport, MachineReport, RealityReport
from pharos.wire.rpc.flow import CONTROL as WINDOWS
from pharos.wire.rpc.peer import Peer as Caller
from pharos.wire.rpc.server import Service, serve_connection
from pharos.wire.rpc.transport import SecureStream, serve_tls
from pharos.wire.seal.denylist import verify_deny_list
from tests.support.helm import now
from tests.support.rpc import HOST

REALITY_PORT: Final = 443
ENDPOINT: Final = "198.51.100.7:40000"


def now_us() -> int:
    return time.time_ns() // 1000


@attrs.define(kw_only=True)
class SimulatedPeer:
    """A device that is connected: what its node counts of it grows with time."""

    since: int
    """Microseconds since 1970."""
    down: int = 0
    """Bits a second that the device gets."""
    up: int = 0
    seen: int = 0
    """The last handshake."""
    protocol: str = AMNEZIAWG

    def octets(self, rate: int, at: int) -> int:
        return max(at - self.since, 0) * rate // 8_000_000


class SimulatedNode(control_grpc.ControlBase):
    """A node that does as it is told, at once, and remembers it in memory."""

    def __init__(self, facts: dict[str, Any], trust: Trust) -> None:
        self.id = NodeId(facts["id"])
        self.version = str(facts.get("version", "bench"))
        self.endpoint = ENDPOINT
        """Whence its devices come."""
        self.connected: dict[DeviceId, SimulatedPeer] = {}
        self.machine: MachineReport | None = None
        self.engines: tuple[EngineReport, ...] = ()
        derive = KeyPair.from_private_bytes(bytes.fromhex(facts["derive_key"]))
        self._keys = bytes.fromhex(facts["awg_key"]), derive.public
        self._reality = RealityKeys(trust.fleet, self.id, derive)
        self._desired = Desired(reality=RealityParameters.from_mapping(facts["reality"]))
        self._manifest: Manifest | None = None
        self._deny_list: DenyList | None = None
        self._checkpoint = b""
        self._watchers: set[trio.MemorySendChannel[list[TunnelEvent]]] = set()
        self._sequence = 0
        self._teller = Teller()
        self._started_at = now_us()
        self.trust = trust
        self._fingerprint = hashlib.sha256(AgentGrant.parse(facts["grant"]).certificate).digest()
        self.credentials = Credentials(
            certificate=certificate_from_der(AgentGrant.parse(facts["grant"]).certificate),
            key=key_from_der(bytes.fromhex(facts["tls_key"])),
        )

    @property
    def peers(self) -> list[DeviceId]:
        """Devices that it was told to serve."""
        return list(self._desired.peers)

    async def Status(self, stream: Stream[pb.StatusRequest, pb.StatusReply]) -> None:
        request = await stream.recv_message()
        assert request is not None
        await stream.send_message(self._status(request.since))

    def _status(self, since: bytes) -> pb.StatusReply:
        desired, at = self._desired, now_us()
        report = NodeReport(
            node_id=self.id,
            version=self.version,
            applied=desired.fence,
            started_at=self._started_at,
            awg_key=self._keys[0],
            derive_key=self._keys[1],
            awg_port=443,
            awg=desired.awg,
            addresses=desired.addresses,
            peers=tuple(self._peer(peer, at) for peer in desired.peers.values()),
            deny_list=(0, 0) if self._deny_list is None else self._deny_list.order,
            manifest_version=0 if self._manifest is None else self._manifest.version,
            certificate=self._fingerprint,
            checkpoint=self._checkpoint,
            now=at,
            policy=desired.policy,
            previous=desired.previous,
            reality=RealityReport(
                parameters=desired.reality,
                keys=self._reality.of(desired),
                port=REALITY_PORT,
            ),
            engines=self.engines,
            machine=self.machine,
            tells_protocols=True,
        )
        return report_to(self._teller.tell(report, since=since))

    def _peer(self, peer: Peer, at: int) -> PeerReport:
        live = self.connected.get(peer.device_id) or SimulatedPeer(since=at)
        # What the device gets is what the node has sent.
        received, sent = live.octets(live.up, at), live.octets(live.down, at)
        real = live.protocol == REALITY
        return PeerReport(
            device_id=peer.device_id,
            awg_key=peer.awg_key,
            last_handshake=live.seen,
            received=received,
            sent=sent,
            reality_received=received if real else 0,
            reality_sent=sent if real else 0,
            reality_handshake=live.seen if real else 0,
            commitment=b"",
            generation=peer.generation,
            digest=peer.digest,
        )

    async def Push(self, stream: Stream[pb.PushRequest, pb.PushReply]) -> None:
        message = await stream.recv_message()
        assert message is not None
        push = push_from(message)
        self._desired = self._desired.after(push)
        self._checkpoint = push.checkpoint or self._checkpoint
        if push.manifest:
            root_hash = spki_hash(self.trust.root.public_key())
            self._manifest = verify_manifest(push.manifest, root_hash=root_hash, now=now())
        if push.deny_list:
            assert self._manifest is not None, "a manifest comes before what is signed by its keys"
            keys = self._manifest.signing_keys
            self._deny_list = verify_deny_list(push.deny_list, fleet=self.trust.fleet, signing_keys=keys)
        gone = [(device, "revoked") for device in self.connected if device not in self._desired.peers]
        fence = fence_to(self._desired.fence)
        await stream.send_message(pb.PushReply(applied=fence, peers=len(self._desired.peers)))
        for device, reason in gone:
            self.disconnect(device, reason)

    async def Restart(self, stream: Stream[pb.RestartRequest, pb.RestartReply]) -> None:
        await stream.recv_message()
        await stream.send_message(pb.RestartReply())

    async def SetLogLevel(self, stream: Stream[pb.LogLevelRequest, pb.LogLevelReply]) -> None:
        await stream.recv_message()
        await stream.send_message(pb.LogLevelReply())

    async def EndSession(self, stream: Stream[pb.EndSessionRequest, pb.EndSessionReply]) -> None:
        request = await stream.recv_message()
        assert request is not None
        await stream.send_message(pb.EndSessionReply())
        self.disconnect(DeviceId(request.device_id), "ended")

    async def ShowNetwork(self, stream: Stream[pb.NetworkRequest, pb.NetworkReply]) -> None:
        await stream.recv_message()
        await stream.send_message(pb.NetworkReply())

    async def Watch(self, stream: Stream[pb.WatchRequest, pb.EventBatch]) -> None:
        await stream.recv_message()
        # A fleet's worth of devices may come in at once, each with a batch of its own.
        send, receive = trio.open_memory_channel[list[TunnelEvent]](20_000)
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

    # -- what happens at the node

    def connect(self, device: DeviceId, *, down: int = 0, up: int = 0, protocol: str = AMNEZIAWG) -> None:
        """Have a device come in for the first time, and use its tunnel from then on; rates in bit/s."""
        at = now_us()
        self.connected[device] = SimulatedPeer(since=at, down=down, up=up, seen=at, protocol=protocol)
        kinds = (EventKind.HANDSHAKE, EventKind.CONNECTED)
        self._say([(kind, device, self.endpoint) for kind in kinds], at, protocol)

    def disconnect(self, device: DeviceId, reason: str) -> None:
        """Let a device go."""
        live = self.connected.pop(device, None)
        if live is not None:
            self._say([(EventKind.DISCONNECTED, device, reason)], now_us(), live.protocol)

    def shake(self, device: DeviceId) -> None:
        """Have a connected device shake hands again."""
        live = self.connected[device]
        live.seen = now_us()
        self._say([(EventKind.HANDSHAKE, device, self.endpoint)], live.seen, live.protocol)

    def tell(self, count: int) -> None:
        """Send a batch of handshakes to whoever watches; their time is now."""
        devices = self.peers or [DeviceId("nobody")]
        first = self._sequence
        chosen = (devices[(first + number) % len(devices)] for number in range(1, count + 1))
        self._say(((EventKind.HANDSHAKE, device, self.endpoint) for device in chosen), now_us(), AMNEZIAWG)

    def _say(self, told: Iterable[tuple[EventKind, DeviceId, str]], at: int, protocol: str) -> None:
        events = []
        # No two of one device at one microsecond, or they would be one.
        for moment, (kind, device, detail) in zip(itertools.count(at), told, strict=False):
            self._sequence += 1
            events.append(
                TunnelEvent(
                    sequence=self._sequence, at=moment, kind=kind, device_id=device, detail=detail, protocol=protocol
                )
            )
        for watcher in self._watchers:
            watcher.send_nowait(events)

    async def serve(self, *, port: int, host: str = HOST, task_status: trio.TaskStatus[tuple[str, int]]) -> None:
        service = Service([self])

        async def handle(stream: SecureStream) -> None:
            identity = admit_peer(CONTROL, stream.peer_certificate, trust=self.trust, now=now())
            peer = Caller(address=stream.peer_address, certificate=stream.peer_certificate, identity=identity)
            await serve_connection(stream, service, windows=WINDOWS, peer=peer)

        context = server_context(self.credentials, trust=self.trust, policy=CONTROL)
        await serve_tls(handle, host=host, port=port, context=context, task_status=task_status)


def adopt_simulated(db: Database, act: Act, authority: Authority, said: NewNode) -> dict[str, Any]:
    """Bring a node into the record with keys of its own; return what a `SimulatedNode` is made of."""
    key, awg, derive = generate_key(), KeyPair.generate().public, KeyPair.generate()
    request = AgentRequest(role=Role.NODE, csr=make_csr(key), awg_key=awg, derive_key=derive.public)
    node, grant = adopt_node(db, act, authority, request, said)
    assert node.reality is not None, "every fleet has a target"
    # As of a fleet that was up before: where a node serves REALITY, and by which key, is written once.
    keys = RealityKeys(authority.trust.fleet, node.id, derive).of(Desired(reality=node.reality))
    note_reality(db, act, node.id, RealityReport(parameters=node.reality, keys=keys, port=REALITY_PORT))
    return {
        "id": node.id,
        "name": node.name,
        "port": node.control_port,
        "grant": grant.render(),
        "tls_key": key_to_der(key).hex(),
        "awg_key": awg.hex(),
        "derive_key": derive.private_bytes().hex(),
        "reality": node.reality.as_mapping(),
    }


def trust_of(grant: AgentGrant) -> Trust:
    """Return whom a machine with this grant believes."""
    root_hash = spki_hash(load_certificate(grant.root).public_key())
    return verify_trust(
        root=grant.root, fleet_ca=grant.fleet_ca, device_ca=grant.device_ca, root_hash=root_hash, now=now()
    )


async def tell_evenly(
    nodes: list[SimulatedNode], *, per_second: Callable[[], float], seconds: float, every: float = 0.25
) -> int:
    """Let nodes tell so many events a second, together, each a batch at its own moment; return how many they told."""
    sent, slots = 0, 50
    began = trio.current_time()
    # Each is at another place on its way to the next event, or at a low rate all would tell theirs together.
    owed = [number * 0.618 % 1.0 for number in range(len(nodes))]
    tick = 0
    while trio.current_time() - began < seconds:
        await trio.sleep_until(began + tick * every / slots)
        for number in range(tick % slots, len(nodes), slots):
            owed[number] += per_second() * every / len(nodes)
            if (count := int(owed[number])) > 0:
                owed[number] -= count
                nodes[number].tell(count)
                sent += count
        tick += 1
    return sent
