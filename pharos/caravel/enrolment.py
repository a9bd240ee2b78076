"""Join a fleet with a ticket: a chain of steps, each of which needs what the one before it proved."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Final

from pharos.caravel.errors import AlreadyEnrolledError
from pharos.caravel.profiles.store import DeviceSecrets, Enrolled, ProfileStore, generate_secrets
from pharos.caravel.reach import Reach
from pharos.caravel.relays import open_as_stranger
from pharos.caravel.sync import CALL_TIMEOUT, failures_as_no_answer
from pharos.wire.errors import PeerRejectedError
from pharos.wire.gen.pharos.account.v1 import account_grpc
from pharos.wire.gen.pharos.account.v1 import account_pb2 as pb
from pharos.wire.ids import DeviceId, FleetId, check_label
from pharos.wire.noise.keys import KeyPair
from pharos.wire.passage.client import Passage, open_passage
from pharos.wire.passage.metadata import Purpose
from pharos.wire.pki.csr import make_csr
from pharos.wire.pki.keys import certificate_from_der, key_from_der
from pharos.wire.pki.manifest import verify_manifest
from pharos.wire.pki.roles import Role
from pharos.wire.pki.verify import authorize_peer
from pharos.wire.possession import prove_key
from pharos.wire.rpc.client import Channel
from pharos.wire.seal.ticket import BeaconAddress, TicketLink
from pharos.wire.units import SECONDS
from pharos.wire.world import utc_now

# The whole of it: a beacon may be far away and helm a laptop that just woke.
ENROLMENT_TIMEOUT: Final = 60 * SECONDS


async def enroll(
    store: ProfileStore, link: TicketLink, *, device_name: str = "", reach: Reach | None = None
) -> Enrolled:
    """Join the fleet that wrote ``link``, and keep certificate, manifest and first bundle.

    ``store`` is of this fleet or of none; `Fleets.store_for` gives one beside other fleets. The keys are kept before
    they are shown, so that a repeated call after a lost answer claims the ticket again.

    Raises: AlreadyEnrolledError — this store belongs to a fleet. HelmRefusedError — the ticket is used up, expired or
    unknown. NoAnswerError — nobody answered. PeerRejectedError — who answered is not the fleet of the link.
    """
    secrets = prepare(store, link.fleet)
    reply = await _claim(link, secrets, device_name, reach)
    return keep(store, reply, secrets, root_hash=link.root_hash, beacons=link.beacons)


def prepare(store: ProfileStore, fleet: FleetId) -> DeviceSecrets:
    """Return the keys of a device that is about to join, those of an earlier try at that fleet if there was one.

    Raises: AlreadyEnrolledError — this store belongs to a fleet.
    """
    member = store.member
    if member is not None and member.device:
        raise AlreadyEnrolledError(
            f"this device is in fleet {member.fleet} already"
            if member.fleet == fleet
            else f"this store is fleet {member.fleet}'s; a second one has its own place: Fleets(path).store_for(fleet)"
        )
    secrets = store.secrets() if member is None or member.fleet in (fleet, "") else None
    if secrets is None:
        secrets = generate_secrets()
        store.save_secrets(secrets, fleet)
    return secrets


def make_claim(
    secrets: DeviceSecrets, *, ephemeral: bytes, handshake_hash: bytes, ticket_proof: bytes = b"", device_name: str = ""
) -> pb.ClaimRequest:
    """Return a claim, with the proof of each key against helm's ephemeral one.

    Raises: RemoteProtocolError — that key cannot be used.
    """

    def proven(name: str, key: KeyPair) -> pb.ProvenKey:
        mac = prove_key(key, name=name, ephemeral=ephemeral, handshake_hash=handshake_hash)
        return pb.ProvenKey(public_key=key.public, mac=mac)

    return pb.ClaimRequest(
        ticket_proof=ticket_proof,
        csr=make_csr(key_from_der(secrets.tls)),
        sealing=proven("sealing", secrets.sealing),
        derive=proven("derive", secrets.derive),
        noise=proven("noise", secrets.noise),
        awg=proven("awg", secrets.awg),
        device_name=device_name,
    )


def keep(
    store: ProfileStore,
    reply: pb.ClaimReply,
    secrets: DeviceSecrets,
    *,
    root_hash: bytes,
    beacons: tuple[BeaconAddress, ...],
) -> Enrolled:
    """Verify what a claim brought, and keep it.

    Raises: PeerRejectedError, ManifestError, BundleError — it is not this fleet's, or not for this device.
    """
    now = utc_now()
    manifest = verify_manifest(reply.manifest, root_hash=root_hash, now=now)
    enrolled = Enrolled(
        device_id=DeviceId(check_label(reply.device_id)),
        secrets=secrets,
        certificate=reply.certificate,
        root_hash=root_hash,
        manifest=reply.manifest,
        beacons=beacons,
    )
    authorize_peer(reply.certificate, trust=manifest.trust, roles={Role.DEVICE}, peer_id=enrolled.device_id, now=now)
    if certificate_from_der(reply.certificate).public_key() != key_from_der(secrets.tls).public_key():
        raise PeerRejectedError("helm certified another key than this device's")
    bundle = enrolled.open(reply.bundle, manifest, newest=None)
    store.save_bundle(bundle, reply.bundle)
    store.save_enrolled(enrolled)
    return enrolled


async def _claim(link: TicketLink, secrets: DeviceSecrets, device_name: str, reach: Reach | None) -> pb.ClaimReply:
    keys = link.keys()

    def use(channel: Channel) -> AbstractAsyncContextManager[Passage]:
        return open_passage(
            channel,
            purpose=Purpose.ENROL,
            fleet=link.fleet,
            helm_key=link.helm_key,
            psk=keys.psk,
            ticket_id=link.ticket_id,
        )

    with failures_as_no_answer():
        async with (
            open_as_stranger(link.beacons, fleet=link.fleet, root_hash=link.root_hash, use=use, reach=reach) as passage,
            passage.channel() as inner,
        ):
            stub = account_grpc.EnrolmentStub(inner)
            challenge = await stub.Challenge(pb.ChallengeRequest(), timeout=CALL_TIMEOUT)
            claim = make_claim(
                secrets,
                ephemeral=challenge.ephemeral,
                handshake_hash=passage.handshake_hash,
                ticket_proof=keys.proof,
                device_name=device_name,
            )
            return await stub.Claim(claim, timeout=CALL_TIMEOUT)
