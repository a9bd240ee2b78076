"""A relay in other hands, between a real helm and real devices, over real sockets (security.md rows 17 to 31).

`EvilBeacon` has the relay's keys and certificate, so helm dials it and devices believe it; what it does with the frames
is the test's affair. `HonestBeacon` is the product's own, for attacks that others make on it.
"""

from __future__ import annotations

import datetime
import functools
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NoReturn

import attrs
import trio
from grpclib.exceptions import StreamTerminatedError

from pharos.beacon.ingress import serve_ingress
from pharos.beacon.limiter import PassageLimiter
from pharos.beacon.tunnel import serve_tunnel
from pharos.beacon.upstream import Upstreams
from pharos.caravel.enrolment import enroll
from pharos.caravel.profiles.store import ProfileStore
from pharos.demo.processes import free_port
from pharos.helm.accounts.tickets import invite_device
from pharos.helm.model.relays import Relay
from pharos.helm.onboard.agents import adopt_relay
from pharos.helm.relay.edge import PassageEdge
from pharos.helm.relay.link import RelayLinks
from pharos.wire.agent import AgentKeys
from pharos.wire.files import open_state_directory
from pharos.wire.gen.pharos.relay.v1 import passage_grpc
from pharos.wire.ids import FleetId, TicketId
from pharos.wire.keeping import Keeping
from pharos.wire.noise.keys import KeyPair
from pharos.wire.passage.accepted import AcceptedPassage, DeviceRecord
from pharos.wire.passage.admission import Door
from pharos.wire.passage.carrier import ServerCall
from pharos.wire.passage.metadata import FINGERPRINT_HEADER
from pharos.wire.passage.server import Incident, accept_passage
from pharos.wire.pki.roles import INGRESS, Role
from pharos.wire.rpc.flow import EDGE
from pharos.wire.rpc.h2conn import Connection
from pharos.wire.rpc.h2stream import H2Stream
from pharos.wire.rpc.peer import Peer
from pharos.wire.rpc.server import Service
from pharos.wire.rpc.transport import SecureStream, serve_tls
from pharos.wire.seal.ticket import TicketLink
from tests.support.frameforward import Edit, FrameForwarder, pass_on, true_fingerprints
from tests.support.helm import SampleHelm, adopt_sample_node, new_relay, now, open_helm, sample_act

HOST = "127.0.0.1"
QUARTER = datetime.timedelta(minutes=15)


class HonestBeacon:
    """A relay with the product's own listeners."""

    host = HOST
    """Address to listen on."""

    def __init__(self, state: Path) -> None:
        self.keys = AgentKeys(open_state_directory(state), Role.RELAY)
        self.upstreams = Upstreams()
        self.limiter = PassageLimiter()
        self.tunnels: list[Connection] = []
        """To helm, that are up."""
        self.reached = trio.Event()
        """helm has dialled."""

    async def run(self, state: Path, *, ingress: int, tunnel: int, task_status: trio.TaskStatus[None]) -> None:
        """Serve both ports until cancelled."""
        keeping = Keeping(state, self.keys, self.keys.membership(now=now()))
        self.standing = keeping.standing
        async with trio.open_nursery() as nursery:
            await nursery.start(
                functools.partial(
                    serve_tunnel,
                    self.upstreams,
                    standing=self.standing,
                    host=self.host,
                    port=tunnel,
                    attend=self._attend,
                )
            )
            await nursery.start(functools.partial(self.serve_clients, port=ingress))
            task_status.started()

    async def serve_clients(self, *, port: int, task_status: trio.TaskStatus[tuple[str, int]]) -> NoReturn:
        await serve_ingress(
            self.upstreams,
            standing=self.standing,
            host=self.host,
            port=port,
            limiter=self.limiter,
            task_status=task_status,
        )

    async def _attend(self, connection: Connection) -> None:
        self.tunnels.append(connection)
        self.reached.set()
        try:
            await trio.sleep_forever()
        finally:
            self.tunnels.remove(connection)


class EvilBeacon(HonestBeacon, FrameForwarder):
    """Lets everybody in, and does with their passages what a test says."""

    def __init__(self, state: Path) -> None:
        HonestBeacon.__init__(self, state)
        FrameForwarder.__init__(self)

    def upstream(self) -> Connection:
        return self.tunnels[-1]

    async def serve_clients(self, *, port: int, task_status: trio.TaskStatus[tuple[str, int]]) -> NoReturn:
        async def serve(stream: SecureStream) -> None:
            peer = Peer(address=stream.peer_address, certificate=stream.peer_certificate)
            await Connection(stream, client_side=False, windows=EDGE, accept=self.accept, peer=peer).run()

        context = functools.partial(self.standing.context, INGRESS)
        await serve_tls(serve, host=self.host, port=port, context=context, task_status=task_status)


def cut_at(size: int) -> Callable[[], Edit]:
    """Return an edit that cuts a passage off at its first frame of that size: sizes are all that a relay goes by."""

    def edit(number: int, frame: bytes) -> list[bytes | None]:
        if len(frame) >= size:
            raise StreamTerminatedError("the relay cuts it off")
        return pass_on(number, frame)

    return lambda: edit


Serve = Callable[[AcceptedPassage], Service]


class PlaysHelm(passage_grpc.PassageBase):
    """helm's part, played by a relay that has been given helm's Noise key, or one that a device takes for it."""

    def __init__(
        self,
        serve: Serve,
        *,
        fleet: FleetId,
        key: KeyPair,
        psks: Mapping[TicketId, bytes] | None = None,
        device: DeviceRecord | None = None,
    ) -> None:
        self._serve = serve
        self._fleet = fleet
        self._key = key
        self._psks = psks or {}
        self._device = device
        self.incidents: list[Incident] = []

    async def Open(self, call: ServerCall) -> None:
        async with accept_passage(
            call,
            fleet=self._fleet,
            keys=[self._key],
            door=Door(),
            beacon="evil",
            find_psk=self._find_psk,
            find_device=self._find_device,
            audit=self._audit,
        ) as passage:
            await passage.serve(self._serve(passage))

    async def terminate(self, down: H2Stream) -> None:
        """Answer a passage instead of forwarding it: for `EvilBeacon.handle`."""
        true = [(FINGERPRINT_HEADER, value) for value in true_fingerprints(down)]
        down.headers = [*(down.headers or []), *true]
        await Service([self])(down)

    async def _find_psk(self, ticket_id: TicketId) -> bytes | None:
        return self._psks.get(ticket_id)

    async def _find_device(self, _static: bytes) -> DeviceRecord | None:
        return self._device

    async def _audit(self, incident: Incident) -> None:
        self.incidents.append(incident)


@attrs.frozen(kw_only=True)
class RelayFleet:
    """A real helm, one relay that it has dialled, and what devices need to come through that."""

    folder: Path
    helm: SampleHelm
    edge: PassageEdge
    relay: Relay
    beacon: HonestBeacon

    @property
    def evil(self) -> EvilBeacon:
        assert isinstance(self.beacon, EvilBeacon)
        return self.beacon

    async def invite(self, name: str = "laptop") -> TicketLink:
        authority, vault = self.helm.authority, self.helm.vault
        invited = await self.helm.store.run(
            invite_device, sample_act(), authority, vault, device_name=name, lifetime=QUARTER
        )
        return TicketLink.parse(invited.link)

    def device(self, name: str) -> ProfileStore:
        return ProfileStore(self.folder / f"device-{name}")

    async def enrol(self, name: str = "laptop") -> ProfileStore:
        store = self.device(name)
        await enroll(store, await self.invite(name))
        return store

    async def add_node(self, name: str) -> None:
        """Change what every profile says."""
        await self.helm.store.run(lambda db: adopt_sample_node(db, self.helm.authority, name))

    def refusals(self) -> list[str]:
        """What helm's live feed says of refused passages."""
        return [event.text for event in self.helm.context.hub.recent() if event.kind == "passage_refused"]


@asynccontextmanager
async def fleet_behind(
    folder: Path, kind: Callable[[Path], HonestBeacon] = EvilBeacon, *, timeout: float = 30
) -> AsyncIterator[RelayFleet]:
    """Run helm and one relay of that kind while the block lasts, which has ``timeout`` seconds."""
    with trio.fail_after(timeout):
        async with open_helm(open_state_directory(folder / "helm")) as helm, trio.open_nursery() as nursery:
            beacon = kind(folder / "gate")
            ports = {"ingress_port": free_port(socket.SOCK_STREAM), "tunnel_port": free_port(socket.SOCK_STREAM)}
            wanted = new_relay("gate", address=HOST, **ports)
            relay, grant = await helm.store.run(
                adopt_relay, sample_act(), helm.authority, beacon.keys.make_request(), wanted
            )
            beacon.keys.install(grant, now=now())
            run = functools.partial(
                beacon.run, folder / "gate", ingress=ports["ingress_port"], tunnel=ports["tunnel_port"]
            )
            await nursery.start(run)
            edge = PassageEdge(helm.context)
            links = RelayLinks(authorities=helm.context.authorities, edge=edge, board=helm.context.board)

            async def link() -> None:
                async with links.dial(relay) as dialled:
                    await dialled.run()

            nursery.start_soon(link)
            await beacon.reached.wait()
            yield RelayFleet(folder=folder, helm=helm, edge=edge, relay=relay, beacon=beacon)
            nursery.cancel_scope.cancel()
