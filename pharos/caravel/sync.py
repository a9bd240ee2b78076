"""Bring a device up to date through a beacon; nothing is used before it is kept, and nothing older replaces newer."""

from __future__ import annotations

import datetime
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import attrs
import trio
from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError

from pharos.caravel.errors import HelmRefusedError, NoAnswerError
from pharos.caravel.profiles.store import Enrolled, ProfileStore
from pharos.caravel.relays import open_member_channel
from pharos.wire.errors import BundleRollbackError, LinkLostError, LinkRefusedError, RemoteProtocolError, WireError
from pharos.wire.gen.pharos.account.v1 import account_grpc
from pharos.wire.gen.pharos.account.v1 import account_pb2 as pb
from pharos.wire.passage.client import Passage, open_passage
from pharos.wire.passage.metadata import Purpose
from pharos.wire.passage.notes import Note
from pharos.wire.pki.manifest import Manifest, verify_manifest
from pharos.wire.seal.freshness import NONCE_LENGTH, verify_freshness
from pharos.wire.seal.ticket import BeaconAddress
from pharos.wire.units import SECONDS

CALL_TIMEOUT: Final = 15 * SECONDS


@attrs.frozen(kw_only=True)
class SyncOutcome:
    """What a sync brought."""

    changed: bool
    epoch: int
    revision: int


async def sync(store: ProfileStore) -> SyncOutcome:
    """Ask for the newest bundle and keep it.

    Raises: NoAnswerError — nobody answered. BundleError — what came cannot be used; what is kept stays.
    """
    with failures_as_no_answer():
        async with open_device_passage(store) as passage:
            answer = await ask(passage, store)
    return answer.keep()


@attrs.frozen(kw_only=True)
class Answer:
    """What helm said to one question, not yet believed."""

    store: ProfileStore
    reply: pb.SyncReply = attrs.field(repr=False)
    nonce: bytes
    order: tuple[int, int]
    """Of the bundle that was held when it was asked."""

    def keep(self) -> SyncOutcome:
        """Verify it and keep what is newer.

        Raises: BundleError — it cannot be used; what is kept stays.
        """
        now = datetime.datetime.now(datetime.UTC)
        enrolled = self.store.enrolled()
        return _keep(self.store, enrolled, enrolled.verified_manifest(now), self.reply, self.nonce, self.order, now)


async def ask(passage: Passage, store: ProfileStore) -> Answer:
    """Ask helm for the newest bundle, by the inner connection of a passage."""
    order = kept_order(store)
    nonce = secrets.token_bytes(NONCE_LENGTH)
    async with passage.channel() as inner:
        request = pb.SyncRequest(epoch=order[0], revision=order[1], nonce=nonce)
        reply = await account_grpc.AccountStub(inner).Sync(request, timeout=CALL_TIMEOUT)
    return Answer(store=store, reply=reply, nonce=nonce, order=order)


def kept_order(store: ProfileStore) -> tuple[int, int]:
    """Return epoch and revision of the bundle that this device holds, (0, 0) if it holds none."""
    kept = store.bundle()
    return (0, 0) if kept is None else kept[0]


def _keep(
    store: ProfileStore,
    enrolled: Enrolled,
    manifest: Manifest,
    reply: pb.SyncReply,
    nonce: bytes,
    order: tuple[int, int],
    now: datetime.datetime,
) -> SyncOutcome:
    if reply.manifest and reply.manifest != enrolled.manifest:
        manifest = verify_manifest(
            reply.manifest, root_hash=enrolled.root_hash, now=now, minimum_version=manifest.version
        )
        enrolled = attrs.evolve(enrolled, manifest=reply.manifest)
    newest = verify_freshness(
        reply.freshness,
        nonce=nonce,
        epoch=reply.epoch,
        revision=reply.revision,
        signing_keys=manifest.signing_keys,
    )
    if not reply.bundle:
        if newest != order:
            raise BundleRollbackError(f"helm says that {newest} is the newest bundle, and this device holds {order}")
        return SyncOutcome(changed=False, epoch=order[0], revision=order[1])
    bundle = enrolled.open(reply.bundle, manifest, newest=order)
    if bundle.header.order != newest:
        raise BundleRollbackError(f"helm says that {newest} is the newest bundle, and {bundle.header.order} came")
    store.save_enrolled(enrolled)
    store.save_bundle(bundle, reply.bundle)
    epoch, revision = bundle.header.order
    return SyncOutcome(changed=bundle.header.order != order, epoch=epoch, revision=revision)


@asynccontextmanager
async def open_device_passage(store: ProfileStore) -> AsyncIterator[Passage]:
    """Open this device's passage through the first beacon that answers; light until somebody calls.

    Raises: what `failures_as_no_answer` turns into errors for people.
    """
    now = datetime.datetime.now(datetime.UTC)
    enrolled = store.enrolled()
    manifest = enrolled.verified_manifest(now)
    async with (
        open_member_channel(enrolled, manifest, _beacons(store, enrolled, now)) as outer,
        open_passage(
            outer,
            purpose=Purpose.DEVICE,
            fleet=manifest.trust.fleet,
            helm_key=manifest.noise_key,
            static=enrolled.secrets.noise,
            holds=Note(*kept_order(store)),
        ) as passage,
    ):
        yield passage


@contextmanager
def failures_as_no_answer() -> Iterator[None]:
    """Turn the many ways in which a conversation breaks off into one error, and helm's refusals into another.

    Raises: NoAnswerError, HelmRefusedError.
    """
    try:
        yield
    except GRPCError as error:
        if error.status in (Status.UNAVAILABLE, Status.DEADLINE_EXCEEDED):
            raise NoAnswerError(f"helm cannot be reached now: {error.message}") from error
        raise HelmRefusedError(f"helm refused: {error.message or error.status.name.lower()}") from error
    except LinkRefusedError as error:
        raise HelmRefusedError(f"helm refused: {error}") from error
    except (LinkLostError, StreamTerminatedError, trio.BrokenResourceError, RemoteProtocolError) as error:
        raise NoAnswerError(f"the conversation with helm broke off: {error}") from error


def _beacons(store: ProfileStore, enrolled: Enrolled, now: datetime.datetime) -> list[BeaconAddress]:
    """Return where to try, the profile's own relays first; a damaged bundle must not keep us from asking."""
    try:
        relays = store.profile(now).relays
    except WireError:
        relays = ()
    fresh = [BeaconAddress(relay=relay.id, host=relay.host, port=relay.port) for relay in relays]
    return fresh + [beacon for beacon in enrolled.beacons if beacon not in fresh]
