"""A device, a beacon that may be evil, and helm: real engine, real passage, streams in memory."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio
import trio.testing
from grpclib.exceptions import StreamTerminatedError

from pharos.wire.gen.pharos.relay.v1 import passage_grpc
from pharos.wire.gen.pharos.relay.v1.passage_pb2 import Frame
from pharos.wire.ids import DeviceId, FleetId, TicketId
from pharos.wire.noise.keys import KeyPair
from pharos.wire.passage.accepted import AcceptedPassage, DeviceRecord
from pharos.wire.passage.admission import Door
from pharos.wire.passage.carrier import ServerCall
from pharos.wire.passage.client import Passage, open_passage
from pharos.wire.passage.inner import InnerStream
from pharos.wire.passage.metadata import FINGERPRINT_HEADER, PURPOSE_HEADER, Purpose
from pharos.wire.passage.notes import Note
from pharos.wire.passage.server import Incident, accept_passage
from pharos.wire.rpc.client import Channel, open_channel
from pharos.wire.rpc.flow import EDGE, TUNNEL
from pharos.wire.rpc.h2conn import Connection
from pharos.wire.rpc.h2stream import H2Stream
from pharos.wire.rpc.server import Service, serve_connection
from pharos.wire.rpc.status import StreamResetError
from tests.support.gen.pharos_test.v1 import echo_grpc, echo_pb2

FLEET = FleetId("0123456789abcdef")
HELM_KEY = KeyPair.from_private_bytes(bytes([200] * 32))
TICKET = TicketId(bytes(range(8)))
PSK = bytes([77] * 32)
NOTHING = Note()

Edit = Callable[[int, bytes], "list[bytes | None]"]
"""Given a frame and its number, 0 for the handshake message: the frames to send on; None ends the stream."""


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


def pass_on(_number: int, frame: bytes) -> list[bytes | None]:
    return [frame]


class EvilBeacon:
    """Forwards passages as a beacon does, but can read, keep and edit whole frames on the way."""

    def __init__(self, tunnel: Connection) -> None:
        self.tunnel = tunnel
        self.edit_up: Callable[[], Edit] = lambda: pass_on
        self.edit_down: Callable[[], Edit] = lambda: pass_on
        self.fingerprints: list[str] = [ALICE.fingerprint]
        self.purposes: list[str] | None = None
        """What to say instead of what the device says."""
        self.seen_up: list[list[bytes]] = []
        """Frames of each passage, from the device."""
        self.down_frames = 0
        """From helm, of all passages."""
        self.reset_by_helm = 0
        self.completed = 0
        """Passages that both sides ended, neither of them by a reset."""
        self.handle: Callable[[H2Stream], Any] = self.forward

    async def accept(self, down: H2Stream) -> None:
        await self.handle(down)

    async def forward(self, down: H2Stream) -> None:
        up = self.tunnel.create_stream()
        try:
            await up.send_request(self.request_headers(down.headers or []))
            async with trio.open_nursery() as pumps:
                pumps.start_soon(self._pump_up, down, up)
                await self._pump_down(up, down)
                self.completed += down.ended
                pumps.cancel_scope.cancel()
        except* StreamTerminatedError:
            self.reset_by_helm += isinstance(up.error, StreamResetError)
            down.reset_nowait()
        finally:
            up.close()

    def request_headers(self, headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
        kept = [(name, value) for name, value in headers if name != PURPOSE_HEADER]
        purposes = [value for name, value in headers if name == PURPOSE_HEADER]
        kept += [(PURPOSE_HEADER, value) for value in (purposes if self.purposes is None else self.purposes)]
        return kept + [(FINGERPRINT_HEADER, value) for value in self.fingerprints]

    async def _pump_up(self, down: H2Stream, up: H2Stream) -> None:
        seen: list[bytes] = []
        self.seen_up.append(seen)
        await self._pump(down, up, self.edit_up(), seen)

    async def _pump_down(self, up: H2Stream, down: H2Stream) -> None:
        headers = await up.recv_headers()
        if up.ended and up.trailers is None:
            await down.send_headers(headers, end_stream=True)
            return
        await down.send_headers(headers)
        edit = self.edit_down()

        def count(number: int, frame: bytes) -> list[bytes | None]:
            self.down_frames += 1
            return edit(number, frame)

        if await self._pump(up, down, count, []) and not down.sent_end:
            await down.send_headers(await up.recv_trailers(), end_stream=True)

    @staticmethod
    async def _pump(source: H2Stream, sink: H2Stream, edit: Edit, seen: list[bytes]) -> bool:
        """Forward until the source ends; True if the sink's end is still to be sent with trailers."""
        received = bytearray()
        while (chunk := await source.receive_chunk()) is not None:
            received += chunk[0]
            while len(received) >= 5 and len(received) >= (end := 5 + int.from_bytes(received[1:5], "big")):
                seen.append(Frame.FromString(bytes(received[5:end])).data)
                del received[:end]
                for frame in edit(len(seen) - 1, seen[-1]):
                    if frame is None:
                        await sink.end()
                        return False
                    await sink.send_data(message(frame))
            source.credit(chunk[1])
        if source.trailers is None:
            await sink.end()
        return True


def message(frame: bytes) -> bytes:
    """Encode a frame as gRPC does."""
    body = Frame(data=frame).SerializeToString()
    return b"\0" + len(body).to_bytes(4, "big") + body


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
