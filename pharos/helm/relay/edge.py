"""What arrives through the tunnels: passages, each from one device, or from one that is about to become one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final

import trio
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.server import Stream

from pharos.helm.accounts.inner import Account, Enrolment
from pharos.helm.accounts.login import Login
from pharos.helm.accounts.oidclogin import ProviderDoor
from pharos.helm.accounts.own import OwnDevices
from pharos.helm.accounts.passphrases import PassphraseDoor
from pharos.helm.accounts.statuses import ACCOUNT_STATUSES
from pharos.helm.accounts.tickets import PSK_VERSION, psk_name
from pharos.helm.anomalies.tries import Door as TriedDoor
from pharos.helm.context import HelmContext
from pharos.helm.errors import BusyError
from pharos.helm.live.board import now_us
from pharos.helm.relay.adminweb import AdminCalls, Desk
from pharos.helm.relay.online import OnlineDevices
from pharos.helm.relay.refusals import Refusals
from pharos.helm.store.database import Database
from pharos.helm.store.devices import find_by_noise_key, fingerprints_of, is_allowed
from pharos.helm.store.tickets import find_ticket
from pharos.wire.chance import token_hex
from pharos.wire.gen.pharos.relay.v1 import passage_grpc
from pharos.wire.gen.pharos.relay.v1 import passage_pb2 as pb
from pharos.wire.ids import DeviceId, RelayId, TicketId
from pharos.wire.passage.accepted import AcceptedPassage, DeviceRecord
from pharos.wire.passage.admission import Door
from pharos.wire.passage.beaconpace import BeaconPace
from pharos.wire.passage.metadata import Purpose
from pharos.wire.passage.notes import Note
from pharos.wire.passage.server import BUSY, Incident, accept_passage
from pharos.wire.rpc.server import Service
from pharos.wire.units import MINUTES

Count = Callable[[int], None]

LOGIN_TIME: Final = 10 * MINUTES
"""Of a whole login passage (security.md row 26), whatever its beacon lets live on."""


class PassageEdge:
    """Accepts passages; the relay that carries them is trusted with nothing."""

    def __init__(self, context: HelmContext, desk: Desk | None = None) -> None:
        self.context: Final = context
        self._desk = desk
        self._door = Door()
        self._pace = BeaconPace()
        self._refusals = Refusals(context)
        self._passphrases = PassphraseDoor(context)
        self._provider = ProviderDoor(context)
        self.online: Final = OnlineDevices()
        self.run: Final = token_hex(8)
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
            context.board.refuse(relay_id, incident.trouble.value)
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
            context.board.accept(relay_id)
            try:
                await self._serve(passage, relay_id)
            finally:
                count(-1)

    async def _serve(self, passage: AcceptedPassage, relay_id: RelayId) -> None:
        request, context, device = passage.request, self.context, passage.device
        if device is not None:
            account = Account(context, device.id, passage.fingerprint)
            own = OwnDevices(context, device.id)
            admin = [] if self._desk is None else [AdminCalls(self._desk, device.id)]
            with await self._place(device.id, passage):
                await passage.serve(Service([account, own, *admin], statuses=ACCOUNT_STATUSES))
        elif request.purpose is Purpose.ENROL and request.ticket_id is not None:
            ticket_id, handshake_hash = request.ticket_id, passage.handshake_hash
            await passage.serve(Service([Enrolment(context, ticket_id=ticket_id, handshake_hash=handshake_hash)]))
        else:
            await self._serve_login(passage, relay_id)

    async def _place(self, device_id: DeviceId, passage: AcceptedPassage) -> AbstractContextManager[None]:
        """Return the place of a device's passage: an admin at the desk puts no other passage of the device out."""
        at_desk = passage.began_with_call and self._desk is not None and await self._desk.find(device_id) is not None
        return self.online.beside(device_id, passage) if at_desk else self.online.joined(device_id, passage)

    async def _serve_login(self, passage: AcceptedPassage, relay_id: RelayId) -> None:
        context = self.context
        handshake_hash = passage.handshake_hash
        login = Login(context, self._passphrases, self._provider, relay_id=relay_id, handshake_hash=handshake_hash)
        try:
            with context.logins.passage(relay_id), login, trio.move_on_after(LOGIN_TIME):
                await passage.serve(Service([login], statuses=ACCOUNT_STATUSES))
        except BusyError as error:
            raise GRPCError(Status.UNAVAILABLE, BUSY) from error

    async def _find_psk(self, ticket_id: TicketId) -> bytes | None:
        ticket = await self.context.store.read(find_ticket, ticket_id)
        if ticket is None:
            return None
        return self.context.vault.unwrap(psk_name(ticket_id), PSK_VERSION, ticket.psk)

    async def _find_device(self, noise_key: bytes) -> DeviceRecord | None:
        record, denied = await self.context.store.read(_device_record, noise_key)
        if denied is not None:
            self.context.tries.refused(TriedDoor.DENIED, denied, now_us())
        return record


class RelayPassages(passage_grpc.PassageBase):
    """The one service that a tunnel carries."""

    def __init__(self, edge: PassageEdge, relay_id: RelayId, count: Count) -> None:
        self._edge = edge
        self._relay_id = relay_id
        self._count = count

    async def Open(self, stream: Stream[pb.Frame, pb.Frame]) -> None:
        """Take a call as a passage."""
        await self._edge.accept(stream, self._relay_id, self._count)


def _device_record(db: Database, noise_key: bytes) -> tuple[DeviceRecord | None, DeviceId | None]:
    """Return the device with this key if it may come in, or else its id, if there is one that is to be kept out."""
    device = find_by_noise_key(db, noise_key)
    if device is None or device.exported:
        # Whose keys were made in a browser has nothing to ask here, and no certificate to show.
        return None, None
    if not is_allowed(db, device.id, now_us()):
        return None, device.id
    return DeviceRecord(id=device.id, fingerprints=fingerprints_of(db, device.id)), None
