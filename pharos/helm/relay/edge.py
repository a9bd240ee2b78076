"""What arrives through the tunnels: passages, each from one device, or from one that is about to become one."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from grpclib.server import Stream

from pharos.helm.accounts.inner import Account, Enrolment
from pharos.helm.accounts.tickets import PSK_VERSION, psk_name
from pharos.helm.context import HelmContext
from pharos.helm.live.board import now_us
from pharos.helm.model.devices import DeviceState
from pharos.helm.store.database import Database
from pharos.helm.store.devices import find_by_noise_key, fingerprints_of
from pharos.helm.store.tickets import find_ticket
from pharos.wire.gen.pharos.relay.v1 import passage_grpc
from pharos.wire.gen.pharos.relay.v1 import passage_pb2 as pb
from pharos.wire.ids import RelayId, TicketId
from pharos.wire.passage.metadata import Purpose
from pharos.wire.passage.server import AcceptedPassage, DeviceRecord, Incident, accept_passage
from pharos.wire.rpc.flow import INNER
from pharos.wire.rpc.limits import INNER_STREAMS
from pharos.wire.rpc.server import Service, serve_connection

log = logging.getLogger(__name__)

Count = Callable[[int], None]

# Microseconds: one refusal every ten seconds and relay is what a person can read.
TELL_INTERVAL: Final = 10_000_000


class PassageEdge:
    """Accepts passages; the relay that carries them is trusted with nothing."""

    def __init__(self, context: HelmContext) -> None:
        self._context = context
        self._told: dict[RelayId, int] = {}

    def for_relay(self, relay_id: RelayId, count: Count) -> RelayPassages:
        """Return the service for one tunnel; ``count`` is told +1 and -1 as confirmed passages come and go."""
        return RelayPassages(self, relay_id, count)

    async def accept(self, call: Stream[pb.Frame, pb.Frame], relay_id: RelayId, count: Count) -> None:
        """Serve one passage to its end."""
        context = self._context

        async def audit(incident: Incident) -> None:
            log.warning("passage through relay %s: %s (%s)", relay_id, incident.trouble.value, incident.detail)
            self._tell(relay_id, incident)

        async with accept_passage(
            call,
            fleet=context.authority.trust.fleet,
            static=context.authority.noise,
            find_psk=self._find_psk,
            find_device=self._find_device,
            audit=audit,
        ) as passage:
            count(+1)
            try:
                await self._serve(passage)
            finally:
                count(-1)

    def _tell(self, relay_id: RelayId, incident: Incident) -> None:
        # A beacon can make any number of refusals, and must not push everything else out of the feed.
        now = now_us()
        if now - self._told.get(relay_id, 0) >= TELL_INTERVAL:
            self._told[relay_id] = now
            self._context.hub.publish("passage_refused", at=now, node=relay_id, text=incident.trouble.value)

    async def _serve(self, passage: AcceptedPassage) -> None:
        request, context = passage.request, self._context
        if request.purpose is Purpose.ENROL and request.ticket_id is not None:
            handshake_hash = passage.stream.handshake_hash
            service = Service([Enrolment(context, ticket_id=request.ticket_id, handshake_hash=handshake_hash)])
        elif passage.device is not None:
            service = Service([Account(context, passage.device.id)])
        else:
            # Account login belongs to a later version; until then nobody may log in.
            service = Service([])
        # The hop between device and beacon is kept alive already, and calls have deadlines: no PING of our own.
        await serve_connection(passage.stream, service, windows=INNER, max_streams=INNER_STREAMS, keepalive=None)

    async def _find_psk(self, ticket_id: TicketId) -> bytes | None:
        ticket = await self._context.store.run(find_ticket, ticket_id)
        if ticket is None:
            return None
        return self._context.vault.unwrap(psk_name(ticket_id), PSK_VERSION, ticket.psk)

    async def _find_device(self, noise_key: bytes) -> DeviceRecord | None:
        return await self._context.store.run(_device_record, noise_key)


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
    if device is None or device.state is not DeviceState.ACTIVE:
        return None
    return DeviceRecord(id=device.id, fingerprints=fingerprints_of(db, device.id))
