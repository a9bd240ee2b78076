"""What a device can ask inside its passage: to be enrolled, or to be brought up to date."""

from __future__ import annotations

import logging
from typing import Final

from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.server import Stream

from pharos.helm.accounts.claim import DeviceClaim, NewDevice, claim_ticket
from pharos.helm.accounts.newcomer import Newcomer
from pharos.helm.ca.authority import Authority
from pharos.helm.context import HelmContext
from pharos.helm.errors import ConflictError, NotAllowedError, NotFoundError
from pharos.helm.live.board import now_us
from pharos.helm.model.devices import Device
from pharos.helm.profiles.pairs import note_commitments
from pharos.helm.profiles.seal import current_bundle
from pharos.helm.store.admindevices import find_admin_device
from pharos.helm.store.bundles import Bundle, note_held
from pharos.helm.store.changes import Act
from pharos.helm.store.checkpoints import latest_checkpoint
from pharos.helm.store.database import Database
from pharos.helm.store.devices import get_device, is_allowed
from pharos.helm.store.members import note_member
from pharos.helm.store.pairs import Said
from pharos.helm.trust.renewals import renew_device
from pharos.wire.errors import PeerRejectedError, RemoteProtocolError
from pharos.wire.gen.pharos.account.v1 import account_grpc
from pharos.wire.gen.pharos.account.v1 import account_pb2 as pb
from pharos.wire.ids import DeviceId, NodeId, TicketId
from pharos.wire.seal.freshness import NONCE_LENGTH, sign_freshness

log = logging.getLogger(__name__)

MAX_COUNT: Final = 2**63 - 1
"""What a column holds; protobuf's counts go one bit further."""


class Enrolment(account_grpc.EnrolmentBase):
    """Served in one enrolment passage, for one ticket."""

    def __init__(self, context: HelmContext, *, ticket_id: TicketId, handshake_hash: bytes) -> None:
        self._ticket_id = ticket_id
        self._newcomer = Newcomer(context, handshake_hash)

    async def Challenge(self, stream: Stream[pb.ChallengeRequest, pb.ChallengeReply]) -> None:
        """Draw the key against which the device proves its own."""
        await self._newcomer.challenge(stream)

    async def Claim(self, stream: Stream[pb.ClaimRequest, pb.ClaimReply]) -> None:
        """Consume the ticket and answer with all that the device needs."""
        request = await stream.recv_message()
        proof = b"" if request is None else request.ticket_proof

        def take(db: Database, act: Act, authority: Authority, new: NewDevice) -> tuple[Device, bytes]:
            claim = DeviceClaim(
                ticket_id=self._ticket_id, proof=proof, csr=new.csr, keys=new.keys, device_name=new.device_name
            )
            return claim_ticket(db, act, authority, claim)

        await stream.send_message(await self._newcomer.claim(request, take, by=f"ticket {self._ticket_id.hex()}"))


class Account(account_grpc.AccountBase):
    """Served in one device passage; Noise has proven which device it is."""

    def __init__(self, context: HelmContext, device_id: DeviceId, fingerprint: str | None = None) -> None:
        self._context = context
        self._device_id = device_id
        self._fingerprint = fingerprint
        """Of the certificate that it showed to the beacon, says the beacon; it is one of the device's own."""

    async def Sync(self, stream: Stream[pb.SyncRequest, pb.SyncReply]) -> None:
        """Answer with whatever the device does not hold yet, and with proof that its bundle is the newest."""
        request = await stream.recv_message()
        if request is None or len(request.nonce) != NONCE_LENGTH:
            raise GRPCError(Status.INVALID_ARGUMENT, f"a sync needs a nonce of {NONCE_LENGTH} octets")
        context = self._context
        try:
            # One authority for all of it: what the manifest says has to fit what the bundle was signed with.
            authority, bundle, checkpoint, is_first = await context.store.run(self._newest, now_us(), request)
        except (NotFoundError, NotAllowedError) as error:
            raise GRPCError(Status.PERMISSION_DENIED, str(error)) from error
        if is_first:
            # Whoever invited it waits for this; afterwards only counts are told.
            context.hub.publish("profile_delivered", at=now_us(), device=self._device_id)
        denied = await context.authorities.deny_lists.current(context.store, authority)
        known = (request.epoch, request.revision) == (bundle.epoch, bundle.revision)
        desk = await context.store.read(find_admin_device, self._device_id, at=now_us()) is not None
        behind = request.manifest_version < authority.manifest_version
        await stream.send_message(
            pb.SyncReply(
                bundle=b"" if known else bundle.sealed,
                manifest=authority.manifest if behind else b"",
                freshness=sign_freshness(
                    request.nonce, epoch=bundle.epoch, revision=bundle.revision, signing_key=authority.signing
                ),
                epoch=bundle.epoch,
                revision=bundle.revision,
                deny_list=denied.blob if denied.order > (request.deny_epoch, request.deny_version) else b"",
                checkpoint=checkpoint,
                now=now_us(),
                desk=desk,
            )
        )

    async def Renew(self, stream: Stream[pb.RenewRequest, pb.RenewReply]) -> None:
        """Answer with the successor of the device's certificate, for the same key."""
        request = await stream.recv_message()
        if request is None:
            raise GRPCError(Status.INVALID_ARGUMENT, "a renewal needs a request")
        try:
            certificate = await self._context.store.run(self._renew, request.csr, now_us())
        except (NotFoundError, NotAllowedError, PeerRejectedError) as error:
            raise GRPCError(Status.PERMISSION_DENIED, str(error)) from error
        except ConflictError as error:
            raise GRPCError(Status.ABORTED, str(error)) from error
        except RemoteProtocolError as error:
            raise GRPCError(Status.INVALID_ARGUMENT, str(error)) from error
        await stream.send_message(pb.RenewReply(certificate=certificate))

    def _newest(self, db: Database, now: int, request: pb.SyncRequest) -> tuple[Authority, Bundle, bytes, bool]:
        device, authority = get_device(db, self._device_id), self._context.authority
        if not is_allowed(db, device.id, now):
            raise NotAllowedError("this device was revoked or disabled, or has expired")
        note_commitments(db, Act(actor="device", at=now, via="passage"), device.id, _commitments_from(request))
        bundle = current_bundle(db, authority, device, at=now)
        is_first = note_held(db, device.id, epoch=request.epoch, revision=request.revision, at=now)
        note_member(
            db,
            device.id,
            at=now,
            manifest_version=min(request.manifest_version, authority.manifest_version),
            deny_epoch=min(request.deny_epoch, MAX_COUNT),
            deny_version=min(request.deny_version, MAX_COUNT),
            certificate=self._fingerprint or "",
        )
        checkpoint = latest_checkpoint(db)
        told = b"" if checkpoint is None else checkpoint.blob(authority.trust.fleet)
        return authority, bundle, told, is_first

    def _renew(self, db: Database, csr: bytes, now: int) -> bytes:
        if not is_allowed(db, get_device(db, self._device_id).id, now):
            raise NotAllowedError("this device was revoked or disabled, or has expired")
        act = Act(actor="device", at=now, via="passage")
        return renew_device(db, act, self._context.authority, self._device_id, csr, shown=self._fingerprint)


def _commitments_from(request: pb.SyncRequest) -> list[tuple[NodeId, Said]]:
    return [(NodeId(c.node_id), Said(generation=c.generation, commitment=c.commitment)) for c in request.commitments]
