"""Bring a device up to date through a beacon; nothing is used before it is kept, and nothing older replaces newer."""

from __future__ import annotations

import datetime
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Final

import attrs
import trio
from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError

from pharos.caravel.errors import HelmRefusedError, NoAnswerError
from pharos.caravel.profiles.denied import Denied
from pharos.caravel.profiles.given import note_given
from pharos.caravel.profiles.store import DeviceSecrets, Enrolled, ProfileStore, microseconds
from pharos.caravel.reach import Reach
from pharos.caravel.relays import open_as_member
from pharos.caravel.renew import renew
from pharos.caravel.tunnel.amnezia import pairing_of
from pharos.caravel.tunnel.parts import Protect, StreamOpener
from pharos.wire.errors import (
    BundleRollbackError,
    DenyListError,
    LinkLostError,
    LinkRefusedError,
    RemoteProtocolError,
    WireError,
)
from pharos.wire.gen.pharos.account.v1 import account_grpc
from pharos.wire.gen.pharos.account.v1 import account_pb2 as pb
from pharos.wire.passage.client import Passage, open_passage
from pharos.wire.passage.metadata import Purpose
from pharos.wire.passage.notes import Note
from pharos.wire.pki.manifest import Manifest, verify_manifest
from pharos.wire.profile import Profile, ProfileNode, parse_profile
from pharos.wire.rpc.client import Channel
from pharos.wire.seal.blind import commitment, derive_psk
from pharos.wire.seal.denylist import verify_deny_list
from pharos.wire.seal.freshness import NONCE_LENGTH, verify_freshness
from pharos.wire.seal.ticket import BeaconAddress
from pharos.wire.units import SECONDS
from pharos.wire.world import random_bytes, utc_now

log = logging.getLogger(__name__)

CALL_TIMEOUT: Final = 15 * SECONDS
MAX_COMMITMENTS: Final = 64
"""In one sync: 3 ms of this device's time, 3 kB, and as many as helm takes."""


@attrs.frozen(kw_only=True)
class SyncOutcome:
    """What a sync brought."""

    changed: bool
    epoch: int
    revision: int
    owes: bool = False
    """Somebody waits to hear what this device has now: a node, what it derived for its next generation, or a fleet
    whose keys are exchanged, that it believes the new manifest. To ask once more says so."""
    renewed: bool = False
    """This device has another certificate, and owes helm the sight of it: on the next passage."""
    skew: float | None = None
    """Seconds by which this device's clock is ahead of helm's, the way of the answer included; None: it did not say."""


async def sync(
    store: ProfileStore,
    through: StreamOpener | None = None,
    protect: Protect | None = None,
    *,
    reach: Reach | None = None,
) -> SyncOutcome:
    """Ask for the newest bundle and keep it; once more where that brought something to acknowledge.

    The fleet's relays are raced, each directly, with ``protect`` for the sockets, and then ``through`` the tunnel that
    this device has up. Whoever syncs again and again gives a ``reach`` of its own instead, which remembers.

    Raises: NoAnswerError — nobody answered. HelmRefusedError — helm said no. BundleError — what came cannot be used;
    what is kept stays. LockedStoreError — what is kept cannot be read.
    """
    ways = reach or Reach(protect=protect, through=through)
    outcome = await _sync_once(store, ways)
    if not (outcome.owes or outcome.renewed):
        return outcome
    return attrs.evolve(await _sync_once(store, ways), changed=True)


async def _sync_once(store: ProfileStore, reach: Reach) -> SyncOutcome:
    with failures_as_no_answer():
        async with open_device_passage(store, reach=reach) as passage:
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
    renewed: bool = False
    """Whether another certificate came and was kept."""

    def keep(self) -> SyncOutcome:
        """Verify it and keep what is newer.

        Raises: BundleError — it cannot be used; what is kept stays.
        """
        now = utc_now()
        enrolled = self.store.enrolled()
        manifest = enrolled.verified_manifest(now)
        outcome = _keep(self.store, enrolled, manifest, self.reply, self.nonce, self.order, now)
        return attrs.evolve(outcome, renewed=self.renewed)


async def ask(passage: Passage, store: ProfileStore) -> Answer:
    """Ask helm for the newest bundle, by the inner connection of a passage."""
    order = kept_order(store)
    nonce = random_bytes(NONCE_LENGTH)
    manifest = store.enrolled().verified_manifest(utc_now())
    denied = store.denied().order
    async with passage.channel() as inner:
        request = pb.SyncRequest(
            epoch=order[0],
            revision=order[1],
            nonce=nonce,
            manifest_version=manifest.version,
            deny_epoch=denied[0],
            deny_version=denied[1],
            commitments=kept_commitments(store),
        )
        account = account_grpc.AccountStub(inner)
        reply = await account.Sync(request, timeout=CALL_TIMEOUT)
        renewed = await renew(account, store)
    return Answer(store=store, reply=reply, nonce=nonce, order=order, renewed=renewed)


def kept_order(store: ProfileStore) -> tuple[int, int]:
    """Return epoch and revision of the bundle that this device holds, (0, 0) if it holds none."""
    kept = store.bundle()
    return (0, 0) if kept is None else kept[0]


def kept_commitments(store: ProfileStore) -> list[pb.Commitment]:
    """Return what this device derived for the nodes of the profile it holds; none where it cannot be read."""
    try:
        profile = store.profile(utc_now())
        secrets_ = store.enrolled().secrets
        return [
            pb.Commitment(node_id=node.id, generation=generation, commitment=made)
            for node, generation, made in commitments_of(profile, secrets_)
        ]
    except WireError:
        return []


def commitments_of(profile: Profile, keys: DeviceSecrets) -> Iterator[tuple[ProfileNode, int, bytes]]:
    """Give what this device derived for some of its nodes, those first that wait for its word, with the generation."""
    reachable = [node for node in profile.nodes if node.access]
    for node in sorted(reachable, key=lambda node: not node.next_generation)[:MAX_COMMITMENTS]:
        generation = node.next_generation or node.generation
        yield node, generation, commitment(derive_psk(pairing_of(profile, node, keys, generation), keys.derive))


def _keep(
    store: ProfileStore,
    enrolled: Enrolled,
    manifest: Manifest,
    reply: pb.SyncReply,
    nonce: bytes,
    order: tuple[int, int],
    now: datetime.datetime,
) -> SyncOutcome:
    is_exchanged = bool(reply.manifest) and reply.manifest != enrolled.manifest
    if is_exchanged:
        manifest = verify_manifest(
            reply.manifest, root_hash=enrolled.root_hash, now=now, minimum_version=manifest.version
        )
        enrolled = attrs.evolve(enrolled, manifest=reply.manifest)
        # Kept whatever else there is in the answer: by the next one, what signed the one before may be gone.
        store.save_enrolled(enrolled)
    if reply.deny_list:
        _keep_denied(store, manifest, reply.deny_list)
    newest = verify_freshness(
        reply.freshness,
        nonce=nonce,
        epoch=reply.epoch,
        revision=reply.revision,
        signing_keys=manifest.signing_keys,
    )
    store.save_heard(now)
    note_given(store.path, desk=reply.desk)
    skew = (microseconds(now) - reply.now) / 1e6 if reply.now else None
    if not reply.bundle:
        if newest != order:
            raise BundleRollbackError(f"helm says that {newest} is the newest bundle, and this device holds {order}")
        return SyncOutcome(changed=False, epoch=order[0], revision=order[1], owes=is_exchanged, skew=skew)
    bundle = enrolled.open(reply.bundle, manifest, newest=order)
    if bundle.header.order != newest:
        raise BundleRollbackError(f"helm says that {newest} is the newest bundle, and {bundle.header.order} came")
    store.save_bundle(bundle, reply.bundle)
    epoch, revision = bundle.header.order
    owes = is_exchanged or any(node.next_generation for node in parse_profile(bundle.profile).nodes)
    changed = bundle.header.order != order
    return SyncOutcome(changed=changed, epoch=epoch, revision=revision, owes=owes, skew=skew)


def _keep_denied(store: ProfileStore, manifest: Manifest, blob: bytes) -> None:
    try:
        deny_list = verify_deny_list(blob, fleet=manifest.trust.fleet, signing_keys=manifest.signing_keys)
    except DenyListError as error:
        # The one that is kept stays in force, and the profile is good without a newer one.
        log.warning("a deny list was refused: %s", error)
        return
    if deny_list.order > store.denied().order:
        store.save_denied(Denied.of(deny_list))


@asynccontextmanager
async def open_device_passage(
    store: ProfileStore, *, beside: bool = False, reach: Reach | None = None
) -> AsyncIterator[Passage]:
    """Open this device's passage through the first beacon that leads to helm; light until somebody calls.

    ``beside``: it says nothing of bundles and takes no other passage's place, for an admin's device; somebody has to
    call at once.

    Raises: what `failures_as_no_answer` turns into errors for people.
    """
    now = utc_now()
    enrolled = store.enrolled()
    manifest = enrolled.verified_manifest(now)
    reach = reach or Reach()

    def use(channel: Channel) -> AbstractAsyncContextManager[Passage]:
        # Without a word of bundles: helm takes notice of the winner alone, which says so then.
        return open_passage(
            channel,
            purpose=Purpose.DEVICE,
            fleet=manifest.trust.fleet,
            helm_key=manifest.noise_key,
            static=enrolled.secrets.noise,
        )

    beacons = _beacons(store, enrolled, now, reach.random)
    async with open_as_member(beacons, enrolled=enrolled, manifest=manifest, use=use, reach=reach) as (beacon, passage):
        store.save_relay(beacon.relay)
        if not beside:
            try:
                await passage.send_note(Note(*kept_order(store)))
            except trio.BrokenResourceError as error:
                raise LinkLostError(f"the passage broke at once: {error}") from error
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
        failure = NoAnswerError(f"the conversation with helm broke off: {error}")
        failure.retry_after = error.retry_after if isinstance(error, LinkLostError) else 0.0
        raise failure from error


def _beacons(
    store: ProfileStore, enrolled: Enrolled, now: datetime.datetime, random: Callable[[], float]
) -> list[BeaconAddress]:
    """Return where to try: what led to helm last, then the profile's own relays, then where the fleet was joined.

    Otherwise in no order, so that a fleet's devices spread over its relays. A damaged bundle must not keep us from
    asking, and whom the deny list names is not dialled.
    """
    try:
        relays = store.profile(now).relays
    except WireError:
        relays = ()
    fresh = [BeaconAddress(relay=relay.id, host=relay.host, port=relay.port) for relay in relays]
    known = [*_shuffled(fresh, random), *_shuffled([b for b in enrolled.beacons if b not in fresh], random)]
    denied, last = store.denied().relays, store.heard_through()
    # A stable sort: the rest stays as it is.
    return sorted((b for b in known if b.relay not in denied), key=lambda beacon: beacon.relay != last)


def _shuffled(beacons: Sequence[BeaconAddress], random: Callable[[], float]) -> list[BeaconAddress]:
    return sorted(beacons, key=lambda _beacon: random())
