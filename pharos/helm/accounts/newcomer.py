"""What a ticket and a login have in common: a device proves each of its keys, and gets all that it needs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeAlias

from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.server import Stream

from pharos.helm.accounts.claim import NewDevice
from pharos.helm.ca.authority import Authority
from pharos.helm.context import HelmContext
from pharos.helm.errors import ConflictError, InvalidRequestError, NotAllowedError
from pharos.helm.live.board import now_us
from pharos.helm.model.devices import Device, DeviceKeys
from pharos.helm.profiles.seal import current_bundle
from pharos.helm.store.bundles import Bundle
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.wire.errors import RemoteProtocolError
from pharos.wire.gen.pharos.account.v1 import account_pb2 as pb
from pharos.wire.noise.keys import KeyPair
from pharos.wire.possession import verify_key

log = logging.getLogger(__name__)

Take: TypeAlias = Callable[[Database, Act, Authority, NewDevice], tuple[Device, bytes]]
"""Makes the device by whatever lets it in, and returns it with its certificate (DER)."""


class Newcomer:
    """The peer of one passage that is about to become a device."""

    def __init__(self, context: HelmContext, handshake_hash: bytes) -> None:
        self._context = context
        self._handshake_hash = handshake_hash
        self._ephemeral: KeyPair | None = None

    async def challenge(self, stream: Stream[pb.ChallengeRequest, pb.ChallengeReply]) -> None:
        """Draw the key against which the device proves its own."""
        await stream.recv_message()
        self._ephemeral = KeyPair.generate()
        await stream.send_message(pb.ChallengeReply(ephemeral=self._ephemeral.public))

    async def claim(self, request: pb.ClaimRequest | None, take: Take, *, by: str) -> pb.ClaimReply:
        """Enrol the device in one transaction. ``by`` says for the log what lets it in.

        Raises: GRPCError — there is no challenge, or it is not let in; the message is for the device's owner.
        """
        ephemeral, self._ephemeral = self._ephemeral, None
        if request is None or ephemeral is None:
            raise GRPCError(Status.FAILED_PRECONDITION, "ask for a challenge first")
        try:
            new = self._proven(request, ephemeral)
            device, certificate, bundle = await self._context.store.run(self._enrol, take, new, now_us())
        except NotAllowedError as error:
            log.warning("%s: %s", by, error)
            raise GRPCError(Status.PERMISSION_DENIED, str(error)) from error
        except ConflictError as error:
            raise GRPCError(Status.ALREADY_EXISTS, str(error)) from error
        except (InvalidRequestError, RemoteProtocolError) as error:
            raise GRPCError(Status.INVALID_ARGUMENT, str(error)) from error
        log.info("device %s enrolled as %r", device.id, device.name)
        return pb.ClaimReply(
            device_id=device.id,
            certificate=certificate,
            manifest=self._context.authority.manifest,
            bundle=bundle.sealed,
        )

    def _proven(self, request: pb.ClaimRequest, ephemeral: KeyPair) -> NewDevice:
        def proven(name: str, key: pb.ProvenKey) -> bytes:
            return verify_key(
                key.public_key, key.mac, name=name, ephemeral=ephemeral, handshake_hash=self._handshake_hash
            )

        return NewDevice(
            csr=request.csr,
            keys=DeviceKeys(
                sealing=proven("sealing", request.sealing),
                derive=proven("derive", request.derive),
                noise=proven("noise", request.noise),
                awg=proven("awg", request.awg),
            ),
            device_name=request.device_name,
        )

    def _enrol(self, db: Database, take: Take, new: NewDevice, now: int) -> tuple[Device, bytes, Bundle]:
        authority = self._context.authority
        device, certificate = take(db, Act(actor="device", at=now, via="passage"), authority, new)
        return device, certificate, current_bundle(db, authority, device, at=now)
