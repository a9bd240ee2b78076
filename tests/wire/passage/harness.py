"""A device, a beacon that may be evil, and helm: real engine, real passage, streams in memory."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio
import trio.testing

from pharos.wire.gen.pharos.relay.v1 import passage_grpc
from pharos.wire.ids import DeviceId, FleetId, TicketId
from pharos.wire.noise.keys import KeyPair
from pharos.wire.passage.accepted import AcceptedPassage, DeviceRecord
from pharos.wire.passage.admission import Door
from pharos.wire.passage.carrier import ServerCall
from pharos.wire.passage.client import Passage, open_passage
from pharos.wire.passage.inner import InnerStream
from pharos.wire.passage.metadata import Purpose
from pharos.wire.passage.notes import Note
from pharos.wire.passage.server import Incident, accept_passage
from pharos.wire.rpc.client import Channel, open_channel
from pharos.wire.rpc.flow import EDGE, TUNNEL
from pharos.wire.rpc.h2conn import Connection
from pharos.wire.rpc.server import Service, serve_connection
from tests.support.frameforward import FrameForwarder
from tests.support.gen.pharos_test.v1 import echo_grpc, echo_pb2

FLEET = FleetId("0123456789abcdef")
HELM_KEY = KeyPair.from_private_bytes(bytes([200] * 32))
TICKET = TicketId(bytes(range(8)))
PSK = bytes([77] * 32)
NOTHING = Note()


@attrs.frozen
class Device:
    record: DeviceRecord
    static: KeyPair

    @property
    def fingerprint(self) -> str:
        return min(self.record.fingerprints)


def make_device(number: int) -> Device:
    record = DeviceRecord(id=DeviceId(f"device-{number}"), fingerprints=frozenset({f"{number:064x}"}))
    return Device(record, KeyPair.from_private_bytes(bytes([number] * 32)))


ALICE, BOB = make_device(1), make_device(2)


class EvilBeacon(FrameForwarder):
    """Forwards passages of Alice's as a beacon does, but can read, keep and edit whole frames on the way."""

    def __init__(self, tunnel: Connection) -> None:
        super().__init__()
        self.tunnel = tunnel
        self.fingerprints = [ALICE.fingerprint]

    def upstream(self) -> Connection:
        return self.tunnel

    @property
    def seen_up(self) -> list[list[bytes]]:
        """Frames of each passage, from the device."""
        return [seen.up for seen in self.seen]

    @property
    def down_frames(self) -> int:
        """From helm, of all passages."""
        return sum(len(seen.down) for seen in self.seen)


class Echo(echo_grpc.EchoBase):
    """The service inside; ``stopped`` is set when a Watch is cancelled."""

    def __init__(self) -> None:
        self.watching = trio.Event()
        self.stopped = trio.Event()

    async def Echo(self, stream: Any) -> None:
        ping = await stream.recv_message()
        await stream.send_message(echo_pb2.Pong(seq=ping.seq, payload=ping.payload))

    async def Watch(self, stream: Any) -> None:
        request = await stream.recv_message()
        try:
            for seq in range(request.count):
                await stream.send_message(echo_pb2.Event(seq=seq, body=bytes(request.size)))
            if not request.count:
                await stream.send_message(echo_pb2.Event())
                self.watching.set()
                await trio.sleep_forever()
        except trio.Cancelled:
            self.stopped.set()
            raise

    async def Collect(self, stream: Any) -> None:
        total = 0
        while (ping := await stream.recv_message()) is not None:
            total += len(ping.payload)
        await stream.send_message(echo_pb2.Pong(seq=total))

    async def Chat(self, stream: Any) -> None:
        while (ping := await stream.recv_message()) is not None:
            await stream.send_message(echo_pb2.Pong(seq=2 * ping.seq))


class Helm(passage_grpc.PassageBase):
    """Accepts passages and serves Echo in them; remembers what became of each."""

    def __init__(self) -> None:
        self.echo = Echo()
        self.devices = {device.static.public: device.record for device in (ALICE, BOB)}
        self.tickets = {TICKET: PSK}
        self.incidents: list[Incident] = []
        self.incident = trio.Event()
        self.online: dict[DeviceId | None, AcceptedPassage] = {}
        """By device; None stands for enrolments and logins."""
        self.accepted = 0
        self.ended = trio.Event()
        self.keys = [HELM_KEY]
        self.door = Door()
        self.body: Callable[[AcceptedPassage], Any] = self.serve
        self.handle: Callable[[ServerCall], Any] = self.accept

    async def Open(self, call: ServerCall) -> None:
        await self.handle(call)

    async def accept(self, call: ServerCall) -> None:
        try:
            async with accept_passage(
                call,
                fleet=FLEET,
                keys=self.keys,
                door=self.door,
                beacon="beacon",
                find_psk=self.find_psk,
                find_device=self.find_device,
                audit=self.audit,
            ) as passage:
                self.accepted += 1
                key = passage.device.id if passage.device else None
                self.online[key] = passage
                try:
                    await self.body(passage)
                finally:
                    if self.online.get(key) is passage:
                        del self.online[key]
        finally:
            self.ended.set()
            self.ended = trio.Event()

    async def serve(self, passage: AcceptedPassage) -> None:
        await passage.serve(Service([self.echo]))

    async def find_psk(self, ticket_id: TicketId) -> bytes | None:
        return self.tickets.get(ticket_id)

    async def find_device(self, static: bytes) -> DeviceRecord | None:
        return self.devices.get(static)

    async def audit(self, incident: Incident) -> None:
        self.incidents.append(incident)
        self.incident.set()
        self.incident = trio.Event()


@attrs.frozen
class Fleet:
    helm: Helm
    beacon: EvilBeacon
    channel: Channel
    """From the device to the beacon."""
    edge: trio.abc.Stream
    """The device's end of what that channel runs on."""

    @asynccontextmanager
    async def passage(self, device: Device = ALICE, **changes: Any) -> AsyncIterator[Passage]:
        """Open a light passage, in which nothing was said yet."""
        fitting: dict[str, Any] = {
            "purpose": Purpose.DEVICE,
            "fleet": FLEET,
            "helm_key": HELM_KEY.public,
            "static": device.static,
        }
        async with open_passage(self.channel, **(fitting | changes)) as passage:
            yield passage

    @asynccontextmanager
    async def light(self, device: Device = ALICE, **changes: Any) -> AsyncIterator[Passage]:
        """Open a passage that says at once what the device holds."""
        async with self.passage(device, **({"holds": NOTHING} | changes)) as passage:
            yield passage

    @asynccontextmanager
    async def raw(self, device: Device = ALICE, **changes: Any) -> AsyncIterator[InnerStream]:
        """Open a passage and a stream inside it, without gRPC."""
        async with self.passage(device, **changes) as passage, await passage.open_stream() as stream:
            yield stream

    @asynccontextmanager
    async def echo(self, device: Device = ALICE, **changes: Any) -> AsyncIterator[echo_grpc.EchoStub]:
        async with self.passage(device, **changes) as passage, passage.channel() as channel:
            yield echo_grpc.EchoStub(channel)

    @asynccontextmanager
    async def enrolment(self, **changes: Any) -> AsyncIterator[Passage]:
        fitting = {"purpose": Purpose.ENROL, "static": None, "psk": PSK, "ticket_id": TICKET}
        async with self.passage(**(fitting | changes)) as passage:
            yield passage


def raw(run: Callable[[InnerStream], Any]) -> Callable[[AcceptedPassage], Any]:
    """Make a `Helm.body` that runs ``run`` on each inner stream."""

    async def body(passage: AcceptedPassage) -> None:
        await passage.serve_streams(run)

    return body


@asynccontextmanager
async def running_fleet() -> AsyncIterator[Fleet]:
    helm = Helm()
    device_end, edge_end = trio.testing.memory_stream_pair()
    beacon_end, helm_end = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: serve_connection(helm_end, Service([helm]), windows=TUNNEL, keepalive=None))
        tunnel = Connection(beacon_end, client_side=True, windows=TUNNEL, keepalive=None)
        await nursery.start(tunnel.run)
        beacon = EvilBeacon(tunnel)
        edge = Connection(edge_end, client_side=False, windows=EDGE, accept=beacon.accept, keepalive=None)
        await nursery.start(edge.run)
        async with open_channel(device_end, windows=EDGE, authority="beacon", keepalive=None) as channel:
            yield Fleet(helm, beacon, channel, device_end)
        nursery.cancel_scope.cancel()
