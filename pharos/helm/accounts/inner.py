"""What a device can ask inside its passage: to be enrolled, or to be brought up to date."""

from __future__ import annotations

import logging

from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.server import Stream

from pharos.helm.accounts.claim import REFUSED, DeviceClaim, claim_ticket
from pharos.helm.context import HelmContext
from pharos.helm.errors import ConflictError, InvalidRequestError, NotAllowedError, NotFoundError
from pharos.helm.live.board import now_us
from pharos.helm.model.devices import Device, DeviceKeys
from pharos.helm.profiles.seal import current_bundle
from pharos.helm.store.bundles import Bundle, note_held
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.devices import get_device, is_allowed
from pharos.wire.errors import RemoteProtocolError
from pharos.wire.gen.pharos.account.v1 import account_grpc
from pharos.wire.gen.pharos.account.v1 import account_pb2 as pb
from pharos.wire.ids import DeviceId, TicketId
from pharos.wire.noise.keys import KeyPair
from pharos.wire.possession import verify_key
from pharos.wire.seal.freshness import NONCE_LENGTH, sign_freshness

log = logging.getLogger(__name__)


class Enrolment(account_grpc.EnrolmentBase):
    """Served in one enrolment passage, for one ticket."""

    def __init__(self, context: HelmContext, *, ticket_id: TicketId, handshake_hash: bytes) -> None:
        self._context = context
        self._ticket_id = ticket_id
        self._handshake_hash = handshake_hash
        self._ephemeral: KeyPair | None = None

    async def Challenge(self, stream: Stream[pb.ChallengeRequest, pb.ChallengeReply]) -> None:
        """Draw the key against which the device proves its own."""
        await stream.recv_message()
        self._ephemeral = KeyPair.generate()
        await stream.send_message(pb.ChallengeReply(ephemeral=self._ephemeral.public))

    async def Claim(self, stream: Stream[pb.ClaimRequest, pb.ClaimReply]) -> None:
        """Consume the ticket and answer with all that the device needs."""
        request = await stream.recv_message()
        ephemeral, self._ephemeral = self._ephemeral, None
        if request is None or ephemeral is None:
            raise GRPCError(Status.FAILED_PRECONDITION, "ask for a challenge first")
        try:
            claim = self._claim_from(request, ephemeral)
            device, certificate, bundle = await self._context.store.run(self._enrol, claim, now_us())
        except NotAllowedError as error:
            log.warning("ticket %s: %s", self._ticket_id.hex(), error)
            raise GRPCError(Status.PERMISSION_DENIED, REFUSED) from error
        except ConflictError as error:
            raise GRPCError(Status.ALREADY_EXISTS, str(error)) from error
        except (InvalidRequestError, RemoteProtocolError) as error:
            raise GRPCError(Status.INVALID_ARGUMENT, str(error)) from error
        log.info("device %s enrolled as %r", device.id, device.name)
        await stream.send_message(
            pb.ClaimReply(
                device_id=device.id,
                certificate=certificate,
                manifest=self._context.authority.manifest,
                bundle=bundle.sealed,
            )
        )

    def _claim_from(self, request: pb.ClaimRequest, ephemeral: KeyPair) -> DeviceClaim:
        def proven(name: str, key: pb.ProvenKey) -> bytes:
            return verify_key(
                key.public_key, key.mac, name=name, ephemeral=ephemeral, handshake_hash=self._handshake_hash
            )

        return DeviceClaim(
            ticket_id=self._ticket_id,
            proof=request.ticket_proof,
            csr=request.csr,
            keys=DeviceKeys(
                sealing=proven("sealing", request.sealing),
                derive=proven("derive", request.derive),
                noise=proven("noise", request.noise),
                awg=proven("awg", request.awg),
            ),
            device_name=request.device_name,
        )

    def _enrol(self, db: Database, claim: DeviceClaim, now: int) -> tuple[Device, bytes, Bundle]:
        authority = self._context.authority
        device, certificate = claim_ticket(db, Act(actor="device", at=now, via="passage"), authority, claim)
        return device, certificate, current_bundle(db, authority, device, at=now)


class Account(account_grpc.AccountBase):
    """Served in one device passage; Noise has proven which device it is."""

    def __init__(self, context: HelmContext, device_id: DeviceId) -> None:
        self._context = context
        self._device_id = device_id

    async def Sync(self, stream: Stream[pb.SyncRequest, pb.SyncReply]) -> None:
        """Answer with the newest bundle, unless the device holds it, and with proof that it is the newest."""
        request = await stream.recv_message()
        if request is None or len(request.nonce) != NONCE_LENGTH:
            raise GRPCError(Status.INVALID_ARGUMENT, f"a sync needs a nonce of {NONCE_LENGTH} octets")
        authority = self._context.authority
        try:
            bundle = await self._context.store.run(self._newest, now_us(), (request.epoch, request.revision))
        except (NotFoundError, NotAllowedError) as error:
            raise GRPCError(Status.PERMISSION_DENIED, str(error)) from error
        known = (request.epoch, request.revision) == (bundle.epoch, bundle.revision)
        await stream.send_message(
            pb.SyncReply(
                bundle=b"" if known else bundle.sealed,
                manifest=b"" if known else authority.manifest,
                freshness=sign_freshness(
                    request.nonce, epoch=bundle.epoch, revision=bundle.revision, signing_key=authority.signing
                ),
                epoch=bundle.epoch,
                revision=bundle.revision,
            )
        )

    def _newest(self, db: Database, now: int, held: tuple[int, int]) -> Bundle:
        device = get_device(db, self._device_id)
        if not is_allowed(db, device.id, now):
            raise NotAllowedError("this device was revoked or disabled, or has expired")
        bundle = current_bundle(db, self._context.authority, device, at=now)
        note_held(db, device.id, epoch=held[0], revision=held[1], at=now)
        return bundle
