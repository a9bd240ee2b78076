"""What arrives through the tunnels: passages, each from one device, or from one that is about to become one."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Final

from grpclib.server import Stream

from pharos.helm.accounts.inner import Account, Enrolment
from pharos.helm.accounts.tickets import PSK_VERSION, psk_name
from pharos.helm.context import HelmContext
from pharos.helm.live.board import now_us
from pharos.helm.relay.online import OnlineDevices
from pharos.helm.relay.refusals import Refusals
from pharos.helm.store.database import Database
from pharos.helm.store.devices import find_by_noise_key, fingerprints_of, is_allowed
from pharos.helm.store.tickets import find_ticket
from pharos.wire.gen.pharos.relay.v1 import passage_grpc
from pharos.wire.gen.pharos.relay.v1 import passage_pb2 as pb
from pharos.wire.ids import DeviceId, RelayId, TicketId
from pharos.wire.passage.accepted import AcceptedPassage, DeviceRecord
from pharos.wire.passage.admission import Door
from pharos.wire.passage.beaconpace import BeaconPace
from pharos.wire.passage.metadata import Purpose
from pharos.wire.passage.notes import Note
from pharos.wire.passage.server import Incident, accept_passage
from pharos.wire.rpc.server import Service

Count = Callable[[int], None]


class PassageEdge:
    """Accepts passages; the relay that carries them is trusted with nothing."""

    def __init__(self, context: HelmContext) -> None:
        self.context: Final = context
        self._door = Door()
        self._pace = BeaconPace()
        self._refusals = Refusals(context)
        self.online: Final = OnlineDevices()
        self.run: Final = secrets.token_hex(8)
        """Which run of helm this is, for relays that meet another one (`pharos.wire.passage.metadata.RUN_HEADER`)."""

    def for_relay(self, relay_id: RelayId, count: Count) -> RelayPassages:
        """Return the service for one tunnel; ``count`` is told +1 and -1 as confirmed passages come and go."""
        return RelayPassages(self, relay_id, count)

    def notify(self, device_id: DeviceId, epoch: int, rev: int) -> bool:
        """Tell a device which bundle is its newest; return whether it is here to be told. Never waits."""
        return self.online.notify(device_id, Note(epoch, rev))

    async def accept(self, call: Stream[pb.Frame, pb.Frame], relay_id: RelayId, count: Count) -> None:
        """Serve one passage to its end."""
        context = self.context

        async def audit(incident: Incident) -> None:
            await self._refusals.tell(relay_id, incident)

        async with accept_passage(
            call,
            fleet=context.authority.trust.fleet,
            keys=context.authority.noise_keys,
            door=self._door,
            pace=self._pace,
            beacon=relay_id,
            find_psk=self._find_psk,
            find_device=self._find_device,
            audit=audit,
        ) as passage:
            count(+1)
            try:
                await self._serve(passage)
            finally:
                count(-1)

    async def _serve(self, passage: AcceptedPassage) -> None:
        request, context, device = passage.request, self.context, passage.device
        if device is not None:
            with self.online.joined(device.id, passage):
                await passage.serve(Service([Account(context, device.id, passage.fingerprint)]))
        elif request.purpose is Purpose.ENROL and request.ticket_id is not None:
            ticket_id, handshake_hash = request.ticket_id, passage.handshake_hash
            await passage.serve(Service([Enrolment(context, ticket_id=ticket_id, handshake_hash=handshake_hash)]))
        else:
            # Account login belongs to a later version; until then nobody may log in.
            await passage.serve(Service([]))

    async def _find_psk(self, ticket_id: TicketId) -> bytes | None:
        ticket = await self.context.store.read(find_ticket, ticket_id)
        if ticket is None:
            return None
        return self.context.vault.unwrap(psk_name(ticket_id), PSK_VERSION, ticket.psk)

    async def _find_device(self, noise_key: bytes) -> DeviceRecord | None:
        return await self.context.store.read(_device_record, noise_key)


class RelayPassages(passage_grpc.PassageBase):
    """The one service that a tunnel carries."""

    def __init__(self, edge: PassageEdge, relay_id: RelayId, count: Count) -> None:
        self._edge = edge
        self._relay_id = relay_id
        self._count = count

    async def Open(self, stream: Stream[pb.Frame, pb.Frame]) -> None:
        """Take a call as a passage."""
        await self._edge.accept(stream, self._relay_id, self._count)


def _device_record(db: Database, noise_key: bytes) -> DeviceRecord | None:
    device = find_by_noise_key(db, noise_key)
    if device is None or not is_allowed(db, device.id, now_us()):
        return None
    return DeviceRecord(id=device.id, fingerprints=fingerprints_of(db, device.id))
