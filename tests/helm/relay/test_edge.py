"""Passages at helm's edge: who may do what inside one, and what an evil relay cannot make happen."""

from __future__ import annotations

import datetime
import hashlib
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing
from cryptography.hazmat.primitives.asymmetric import ec
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from pharos.beacon.forward import forward
from pharos.beacon.sanitize import forwarded_headers
from pharos.helm.accounts.claim import REFUSED, DeviceClaim, claim_ticket
from pharos.helm.accounts.devices import change_device, move_device
from pharos.helm.accounts.tickets import invite_device
from pharos.helm.accounts.users import add_user
from pharos.helm.anomalies.tries import BRUTE_FORCE, DENIED_MOST, DENIED_TRIES, TRIES
from pharos.helm.audit.checkpoints import sign_next
from pharos.helm.live.board import now_us
from pharos.helm.model.devices import Device, DeviceAct, DeviceKeys
from pharos.helm.profiles.build import build_profile
from pharos.helm.relay.edge import PassageEdge
from pharos.helm.store.bundles import PROFILES
from pharos.helm.store.certificates import certificates_of
from pharos.helm.store.database import Database
from pharos.helm.store.devices import list_devices
from pharos.helm.store.fleet import get_fleet
from pharos.helm.store.members import member_state
from pharos.helm.store.nodes import list_nodes
from pharos.helm.store.pages import Query, list_page
from pharos.helm.store.relays import list_relays
from pharos.helm.store.tickets import find_ticket
from pharos.wire.errors import LinkLostError, LinkRefusedError
from pharos.wire.gen.pharos.account.v1 import account_grpc
from pharos.wire.gen.pharos.account.v1 import account_pb2 as pb
from pharos.wire.ids import DeviceId, RelayId
from pharos.wire.noise.keys import KeyPair
from pharos.wire.passage.client import Passage, open_passage
from pharos.wire.passage.metadata import Purpose
from pharos.wire.passage.notes import Note
from pharos.wire.pki.csr import make_csr
from pharos.wire.pki.keys import generate_key
from pharos.wire.pki.roles import Role
from pharos.wire.pki.verify import authorize_peer
from pharos.wire.possession import prove_key
from pharos.wire.profile import parse_profile
from pharos.wire.rpc.client import Channel, open_channel
from pharos.wire.rpc.flow import EDGE, TUNNEL
from pharos.wire.rpc.h2conn import Connection
from pharos.wire.rpc.h2stream import H2Stream
from pharos.wire.rpc.server import Service, serve_connection
from pharos.wire.seal.checkpoint import verify_checkpoint
from pharos.wire.seal.denylist import verify_deny_list
from pharos.wire.seal.envelope import open_bundle
from pharos.wire.seal.freshness import NONCE_LENGTH, verify_freshness
from pharos.wire.seal.ticket import TicketLink
from tests.support.fates import meets
from tests.support.helm import (
    SampleHelm,
    adopt_sample_node,
    adopt_sample_relay,
    enrol_sample_device,
    now,
    open_helm,
    revoke_sample_device,
    sample_act,
)

RELAY = RelayId("relay-1")
HOUR = datetime.timedelta(hours=1)
NOTHING = Note()


def sample_id(number: int) -> DeviceId:
    return DeviceId(f"00000000-0000-7000-8000-{number:012d}")


@attrs.define(kw_only=True)
class Machine:
    """A device's own keys."""

    tls: ec.EllipticCurvePrivateKey = attrs.field(factory=generate_key, repr=False)
    sealing: KeyPair = attrs.field(factory=KeyPair.generate)
    derive: KeyPair = attrs.field(factory=KeyPair.generate)
    noise: KeyPair = attrs.field(factory=KeyPair.generate)
    awg: KeyPair = attrs.field(factory=KeyPair.generate)

    def public(self) -> DeviceKeys:
        return DeviceKeys(
            sealing=self.sealing.public, derive=self.derive.public, noise=self.noise.public, awg=self.awg.public
        )


@attrs.define(kw_only=True)
class Scene:
    """helm's edge behind a relay that says of its clients whatever ``fingerprint`` is."""

    helm: SampleHelm
    outer: Channel
    fingerprint: str | None = None
    edge: PassageEdge
    passages: list[int] = attrs.field(factory=list)
    counted: trio.Event = attrs.field(factory=trio.Event)

    def count(self, change: int) -> None:
        self.passages.append(change)
        self.counted.set()
        self.counted = trio.Event()

    async def invite(self) -> TicketLink:
        made = await self.helm.store.run(
            invite_device,
            sample_act(),
            self.helm.authority,
            self.helm.vault,
            device_name="Ada's phone",
            lifetime=HOUR,
        )
        return TicketLink.parse(made.link)

    async def enrolled(self, machine: Machine) -> Device:
        """Enrol behind the scene; the relay knows the device's certificate from now on."""
        link = await self.invite()
        claim = DeviceClaim(
            ticket_id=link.ticket_id,
            proof=link.keys().proof,
            csr=make_csr(machine.tls),
            keys=machine.public(),
            device_name="",
        )
        device, certificate = await self.helm.store.run(claim_ticket, sample_act(), self.helm.authority, claim)
        self.fingerprint = hashlib.sha256(certificate).hexdigest()
        return device

    @asynccontextmanager
    async def passage(self, purpose: Purpose, **keys: object) -> AsyncIterator[tuple[Passage, Channel]]:
        authority = self.helm.authority
        with trio.fail_after(5):
            async with (
                open_passage(
                    self.outer,
                    purpose=purpose,
                    fleet=authority.trust.fleet,
                    helm_key=authority.noise.public,
                    **keys,  # type: ignore[arg-type]
                ) as passage,
                passage.channel() as inner,
            ):
                yield passage, inner

    def enrolment(self, link: TicketLink) -> object:
        return self.passage(Purpose.ENROL, psk=link.keys().psk, ticket_id=link.ticket_id)

    def of_device(self, machine: Machine) -> object:
        return self.passage(Purpose.DEVICE, static=machine.noise)

    @asynccontextmanager
    async def light(self, machine: Machine, holds: Note = NOTHING) -> AsyncIterator[Passage]:
        """Hold a passage that does nothing but listen; entered once helm counts it."""
        authority = self.helm.authority
        before = len(self.passages)
        with trio.fail_after(5):
            async with open_passage(
                self.outer,
                purpose=Purpose.DEVICE,
                fleet=authority.trust.fleet,
                helm_key=authority.noise.public,
                static=machine.noise,
                holds=holds,
            ) as passage:
                while len(self.passages) == before:
                    await self.counted.wait()
                yield passage

    def refusals(self) -> list[tuple[str | None, str]]:
        return [(event.node, event.text) for event in self.helm.context.hub.recent() if event.kind == "passage_refused"]


@asynccontextmanager
async def edge(tmp_path: Path) -> AsyncIterator[Scene]:
    device_end, relay_down = trio.testing.memory_stream_pair()
    relay_up, helm_end = trio.testing.memory_stream_pair()
    async with open_helm(tmp_path) as helm, trio.open_nursery() as nursery:
        await helm.store.run(adopt_sample_node, helm.authority)
        await helm.store.run(adopt_sample_relay, helm.authority)
        scene = Scene(helm=helm, outer=None, edge=PassageEdge(helm.context))  # type: ignore[arg-type]
        service = Service([scene.edge.for_relay(RELAY, scene.count)])
        up = Connection(relay_up, client_side=True, windows=TUNNEL, keepalive=None)

        async def hand_on(down: H2Stream) -> None:
            headers = forwarded_headers(down.headers or [], fingerprint=scene.fingerprint)
            assert isinstance(headers, list)
            await forward(down, up, headers)

        down = Connection(relay_down, client_side=False, windows=EDGE, accept=hand_on, keepalive=None)

        async def serve() -> None:
            await serve_connection(helm_end, service, windows=TUNNEL, keepalive=None)

        for task in (up.run, down.run, serve):
            nursery.start_soon(task)
        async with open_channel(device_end, authority="helm", windows=EDGE, keepalive=None) as scene.outer:
            yield scene
        nursery.cancel_scope.cancel()


async def claim_request(
    machine: Machine, link: TicketLink, passage: Passage, inner: Channel, **changes: object
) -> pb.ClaimRequest:
    challenge = await account_grpc.EnrolmentStub(inner).Challenge(pb.ChallengeRequest())

    def proven(name: str) -> pb.ProvenKey:
        key: KeyPair = getattr(machine, name)
        mac = prove_key(key, name=name, ephemeral=challenge.ephemeral, handshake_hash=passage.handshake_hash)
        return pb.ProvenKey(public_key=key.public, mac=mac)

    values = {name: proven(name) for name in ("sealing", "derive", "noise", "awg")}
    return pb.ClaimRequest(
        **{"ticket_proof": link.keys().proof, "csr": make_csr(machine.tls), **values} | changes  # type: ignore[arg-type]
    )


async def refused_with(status: Status, call: Callable[[], object]) -> str:
    with pytest.raises(GRPCError) as caught:
        await call()  # type: ignore[misc]
    assert caught.value.status is status
    return caught.value.message or ""


async def test_device_enrols_and_gets_all_that_it_needs(tmp_path: Path) -> None:
    machine = Machine()
    async with edge(tmp_path) as scene:
        link, authority = await scene.invite(), scene.helm.authority
        async with scene.enrolment(link) as (passage, inner):
            reply = await account_grpc.EnrolmentStub(inner).Claim(await claim_request(machine, link, passage, inner))
        (device,) = await scene.helm.store.run(list_devices)
        assert (reply.device_id, device.name, device.keys) == (device.id, "Ada's phone", machine.public())
        authorize_peer(reply.certificate, trust=authority.trust, roles={Role.DEVICE}, peer_id=device.id, now=now())
        assert reply.manifest == authority.manifest
        bundle = open_bundle(
            reply.bundle,
            fleet=link.fleet,
            device=device.id,
            sealing_key=machine.sealing,
            signing_keys=[bytes(authority.signing.verify_key)],
        )
        record = [await scene.helm.store.run(read) for read in (get_fleet, list_nodes, list_relays)]
        assert parse_profile(bundle.profile) == build_profile(record[0], device, record[1], record[2])


async def test_claim_needs_a_challenge_and_each_serves_once(tmp_path: Path) -> None:
    machine = Machine()
    async with edge(tmp_path) as scene:
        link = await scene.invite()
        async with scene.enrolment(link) as (passage, inner):
            stub = account_grpc.EnrolmentStub(inner)
            blank = pb.ClaimRequest(ticket_proof=link.keys().proof)
            assert "challenge" in await refused_with(Status.FAILED_PRECONDITION, lambda: stub.Claim(blank))
            request = await claim_request(machine, link, passage, inner, ticket_proof=bytes(32))
            await refused_with(Status.PERMISSION_DENIED, lambda: stub.Claim(request))
            request.ticket_proof = link.keys().proof
            await refused_with(Status.FAILED_PRECONDITION, lambda: stub.Claim(request))
            await stub.Claim(await claim_request(machine, link, passage, inner))


@pytest.mark.parametrize("name", ["sealing", "derive", "noise", "awg"])
async def test_key_that_is_not_proven_is_refused_by_name_and_keeps_the_ticket(tmp_path: Path, name: str) -> None:
    """Attack 73: joining with another device's public key needs its private half."""
    async with edge(tmp_path) as scene:
        link = await scene.invite()
        async with scene.enrolment(link) as (passage, inner):
            request = await claim_request(Machine(), link, passage, inner)
            getattr(request, name).public_key = KeyPair.generate().public
            said = await refused_with(Status.INVALID_ARGUMENT, lambda: account_grpc.EnrolmentStub(inner).Claim(request))
            assert name in said
        ticket = await scene.helm.store.run(find_ticket, link.ticket_id)
        assert ticket is not None
        assert ticket.used_keys is None
        assert await scene.helm.store.run(list_devices) == []


async def test_proofs_of_one_passage_are_worth_nothing_in_another(tmp_path: Path) -> None:
    machine = Machine()
    async with edge(tmp_path) as scene:
        link = await scene.invite()
        async with scene.enrolment(link) as (passage, inner):
            overheard = await claim_request(machine, link, passage, inner)
        async with scene.enrolment(link) as (passage, inner):
            await account_grpc.EnrolmentStub(inner).Challenge(pb.ChallengeRequest())
            await refused_with(Status.INVALID_ARGUMENT, lambda: account_grpc.EnrolmentStub(inner).Claim(overheard))


@pytest.mark.parametrize("length", [0, 31, 33, 1000])
async def test_key_of_another_length_is_refused(tmp_path: Path, length: int) -> None:
    async with edge(tmp_path) as scene:
        link = await scene.invite()
        async with scene.enrolment(link) as (passage, inner):
            request = await claim_request(Machine(), link, passage, inner)
            request.awg.public_key = bytes(length)
            await refused_with(Status.INVALID_ARGUMENT, lambda: account_grpc.EnrolmentStub(inner).Claim(request))


async def test_ticket_that_is_used_or_unproven_tells_no_more_than_that(tmp_path: Path) -> None:
    async with edge(tmp_path) as scene:
        link = await scene.invite()
        for proof, refused in ((bytes(32), True), (link.keys().proof, False), (link.keys().proof, True)):
            async with scene.enrolment(link) as (passage, inner):
                request = await claim_request(Machine(), link, passage, inner, ticket_proof=proof)
                stub = account_grpc.EnrolmentStub(inner)
                if refused:
                    assert await refused_with(Status.PERMISSION_DENIED, lambda: stub.Claim(request)) == REFUSED  # noqa: B023
                else:
                    await stub.Claim(request)


async def test_reader_of_the_tickets_link_without_its_secret_is_refused_at_the_door(tmp_path: Path) -> None:
    async with edge(tmp_path) as scene:
        link = await scene.invite()
        forged = attrs.evolve(link, secret=bytes(16))
        with meets(LinkRefusedError, LinkLostError):
            async with scene.enrolment(forged) as (passage, inner):
                await claim_request(Machine(), link, passage, inner)
        assert scene.passages == []
        assert [node for node, _ in scene.refusals()] == [RELAY]


async def test_sync_brings_the_newest_bundle_once_and_proves_that_it_is_the_newest(tmp_path: Path) -> None:
    machine, nonce = Machine(), secrets.token_bytes(NONCE_LENGTH)
    async with edge(tmp_path) as scene:
        device = await scene.enrolled(machine)
        signing_keys = [bytes(scene.helm.authority.signing.verify_key)]
        async with scene.of_device(machine) as (_, inner):
            stub = account_grpc.AccountStub(inner)
            first = await stub.Sync(pb.SyncRequest(nonce=nonce))
            assert open_bundle(
                first.bundle,
                fleet=scene.helm.authority.trust.fleet,
                device=device.id,
                sealing_key=machine.sealing,
                signing_keys=signing_keys,
            )
            version = scene.helm.authority.manifest_version
            known = pb.SyncRequest(nonce=nonce, epoch=first.epoch, revision=first.revision, manifest_version=version)
            again = await stub.Sync(known)
            assert (again.bundle, again.manifest) == (b"", b"")
            verify_freshness(
                again.freshness,
                nonce=nonce,
                epoch=first.epoch,
                revision=first.revision,
                signing_keys=signing_keys,
            )
            await scene.helm.store.run(adopt_sample_node, scene.helm.authority, "berlin")
            newer = await stub.Sync(known)
            assert newer.bundle
            assert (newer.epoch, newer.revision) > (first.epoch, first.revision)


async def test_sync_brings_manifest_deny_list_and_checkpoint_to_whoever_has_older_ones(tmp_path: Path) -> None:
    machine, nonce = Machine(), secrets.token_bytes(NONCE_LENGTH)
    async with edge(tmp_path) as scene:
        store, authority = scene.helm.store, scene.helm.authority
        device = await scene.enrolled(machine)
        async with scene.of_device(machine) as (_, inner):
            stub = account_grpc.AccountStub(inner)
            first = await stub.Sync(pb.SyncRequest(nonce=nonce))
            assert (first.manifest, first.deny_list, first.checkpoint) == (authority.manifest, b"", b"")
            await store.run(enrol_sample_device, 7)
            await store.run(revoke_sample_device, sample_id(7))
            await store.run(sign_next, authority, at=now_us(), everything=True)
            second = await stub.Sync(pb.SyncRequest(nonce=nonce, manifest_version=1, epoch=first.epoch, revision=9))
            fleet, keys = authority.trust.fleet, authority.verify_keys
            denied = verify_deny_list(second.deny_list, fleet=fleet, signing_keys=keys)
            assert denied.denies_member(Role.DEVICE, sample_id(7))
            assert verify_checkpoint(second.checkpoint, fleet=fleet, signing_keys=keys).size > 0
            assert second.manifest == b""
            third = await stub.Sync(
                pb.SyncRequest(nonce=nonce, manifest_version=1, deny_epoch=denied.epoch, deny_version=denied.version)
            )
            assert third.deny_list == b""
        said = await store.read(member_state, device.id)
        assert (said.manifest_version, said.deny_order, said.certificate) == (1, denied.order, scene.fingerprint)


async def test_device_renews_its_certificate_for_its_own_key_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine()
    async with edge(tmp_path) as scene:
        device = await scene.enrolled(machine)
        async with scene.of_device(machine) as (_, inner):
            stub = account_grpc.AccountStub(inner)
            early = await stub.Renew(pb.RenewRequest(csr=make_csr(machine.tls)))
            assert hashlib.sha256(early.certificate).hexdigest() == scene.fingerprint, "it is good for months"
            monkeypatch.setattr("pharos.helm.trust.renewals.due", lambda *_: True)
            renewed = await stub.Renew(pb.RenewRequest(csr=make_csr(machine.tls)))
            trust = scene.helm.authority.trust
            identity = authorize_peer(
                renewed.certificate, trust=trust, roles={Role.DEVICE}, peer_id=device.id, now=now()
            )
            assert identity.id == device.id
            assert renewed.certificate != early.certificate
            for csr in (make_csr(generate_key()), b"", renewed.certificate):
                await refused_with(Status.INVALID_ARGUMENT, lambda csr=csr: stub.Renew(pb.RenewRequest(csr=csr)))
        # Either certificate may be shown from now on.
        for certificate in (early.certificate, renewed.certificate):
            scene.fingerprint = hashlib.sha256(certificate).hexdigest()
            async with scene.of_device(machine) as (_, inner):
                await account_grpc.AccountStub(inner).Renew(pb.RenewRequest(csr=make_csr(machine.tls)))
        await scene.helm.store.run(revoke_sample_device, device.id)
        assert {c.state.value for c in await scene.helm.store.read(certificates_of, device.id)} == {"revoked"}


async def test_device_whose_certificate_ended_needs_a_ticket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine()
    async with edge(tmp_path) as scene:
        await scene.enrolled(machine)
        later = now_us() + 400 * 24 * 3600 * 1_000_000
        async with scene.of_device(machine) as (_, inner):
            monkeypatch.setattr("pharos.helm.accounts.inner.now_us", lambda: later)
            stub = account_grpc.AccountStub(inner)
            await refused_with(Status.PERMISSION_DENIED, lambda: stub.Renew(pb.RenewRequest(csr=make_csr(machine.tls))))


@pytest.mark.parametrize("length", [0, NONCE_LENGTH - 1, NONCE_LENGTH + 1])
async def test_sync_without_a_nonce_of_its_length_is_refused(tmp_path: Path, length: int) -> None:
    machine = Machine()
    async with edge(tmp_path) as scene:
        await scene.enrolled(machine)
        async with scene.of_device(machine) as (_, inner):
            request = pb.SyncRequest(nonce=bytes(length))
            await refused_with(Status.INVALID_ARGUMENT, lambda: account_grpc.AccountStub(inner).Sync(request))


async def test_each_passage_serves_its_own_purpose_only(tmp_path: Path) -> None:
    machine = Machine()
    sync, challenge = pb.SyncRequest(nonce=bytes(NONCE_LENGTH)), pb.ChallengeRequest()
    async with edge(tmp_path) as scene:
        await scene.enrolled(machine)
        link = await scene.invite()
        async with scene.of_device(machine) as (_, inner):
            await refused_with(Status.UNIMPLEMENTED, lambda: account_grpc.EnrolmentStub(inner).Challenge(challenge))
        async with scene.enrolment(link) as (_, inner):
            await refused_with(Status.UNIMPLEMENTED, lambda: account_grpc.AccountStub(inner).Sync(sync))
        async with scene.passage(Purpose.LOGIN) as (_, inner):
            await refused_with(Status.UNIMPLEMENTED, lambda: account_grpc.AccountStub(inner).Sync(sync))
            await refused_with(Status.UNIMPLEMENTED, lambda: account_grpc.EnrolmentStub(inner).Challenge(challenge))


async def test_passages_that_are_up_are_counted(tmp_path: Path) -> None:
    machine = Machine()
    async with edge(tmp_path) as scene:
        await scene.enrolled(machine)
        async with scene.of_device(machine) as (_, inner):
            await account_grpc.AccountStub(inner).Sync(pb.SyncRequest(nonce=bytes(NONCE_LENGTH)))
            assert scene.passages == [1]
        await trio.testing.wait_all_tasks_blocked()
        assert scene.passages == [1, -1]


async def test_device_that_is_here_is_told_of_a_newer_bundle_and_syncs_in_the_same_passage(tmp_path: Path) -> None:
    machine = Machine()
    async with edge(tmp_path) as scene:
        device = await scene.enrolled(machine)
        assert not scene.edge.notify(device.id, 1, 2)
        async with scene.light(machine, holds=Note(1, 1)) as passage:
            assert scene.edge.notify(device.id, 1, 1)
            assert scene.edge.notify(device.id, 1, 2)
            # That it holds the first one helm knew already.
            assert await anext(passage.notes) == Note(1, 2)
            async with passage.channel() as inner:
                reply = await account_grpc.AccountStub(inner).Sync(pb.SyncRequest(nonce=bytes(NONCE_LENGTH)))
            assert reply.bundle
            assert scene.passages == [1]
        await trio.testing.wait_all_tasks_blocked()
        assert not scene.edge.notify(device.id, 1, 3)
        assert len(scene.edge.online) == 0


async def test_newest_passage_of_a_device_wins_and_the_older_one_ends_cleanly(tmp_path: Path) -> None:
    machine = Machine()
    async with edge(tmp_path) as scene:
        device = await scene.enrolled(machine)
        async with scene.light(machine) as older, scene.light(machine) as newer:
            await older.wait_ended()
            assert older.failure is None
            assert list(scene.edge.online) == [device.id]
            assert scene.edge.notify(device.id, 1, 2)
            assert await anext(newer.notes) == Note(1, 2)
        assert scene.refusals() == []


async def test_revoked_device_is_cut(tmp_path: Path) -> None:
    machine = Machine()
    async with edge(tmp_path) as scene:
        device = await scene.enrolled(machine)
        async with scene.light(machine) as passage:
            scene.edge.online.cut(device.id)
            await passage.wait_ended()
        assert device.id not in scene.edge.online


async def refused_passage(scene: Scene, machine: Machine) -> None:
    with meets(LinkRefusedError, LinkLostError):
        async with scene.of_device(machine) as (_, inner):
            await account_grpc.AccountStub(inner).Sync(pb.SyncRequest(nonce=bytes(NONCE_LENGTH)))


async def test_revoked_device_gets_no_passage_and_none_that_it_has_serves_it(tmp_path: Path) -> None:
    machine = Machine()
    async with edge(tmp_path) as scene:
        device = await scene.enrolled(machine)
        async with scene.of_device(machine) as (_, inner):
            stub, request = account_grpc.AccountStub(inner), pb.SyncRequest(nonce=bytes(NONCE_LENGTH))
            await stub.Sync(request)
            await scene.helm.store.run(revoke_sample_device, device.id)
            assert "revoked" in await refused_with(Status.PERMISSION_DENIED, lambda: stub.Sync(request))
        await refused_passage(scene, machine)
        assert scene.refusals() == [(RELAY, "no device has this key")]


async def test_denied_device_that_asks_again_and_again_and_tickets_that_are_guessed_are_noticed(tmp_path: Path) -> None:
    machine = Machine()
    async with edge(tmp_path) as scene:
        tries = scene.helm.context.tries
        device = await scene.enrolled(machine)
        await scene.helm.store.run(revoke_sample_device, device.id)
        for _ in range(DENIED_MOST):
            assert tries.take() == []
            await refused_passage(scene, machine)
        (asked,) = tries.take()
        assert (asked.kind, asked.subject) == (DENIED_TRIES, device.id)
        link = await scene.invite()
        forged = attrs.evolve(link, secret=bytes(16))
        for _ in range(TRIES):
            assert tries.take() == []
            with meets(LinkRefusedError, LinkLostError):
                async with scene.enrolment(forged) as (passage, inner):
                    await claim_request(Machine(), link, passage, inner)
        (guessed,) = tries.take()
        assert (guessed.kind, guessed.evidence["name"]) == (BRUTE_FORCE, link.ticket_id.hex())


async def test_disabled_device_gets_no_passage_until_it_is_enabled(tmp_path: Path) -> None:
    machine = Machine()
    async with edge(tmp_path) as scene:
        device = await scene.enrolled(machine)
        run = scene.helm.store.run
        async with scene.of_device(machine) as (_, inner):
            stub, request = account_grpc.AccountStub(inner), pb.SyncRequest(nonce=bytes(NONCE_LENGTH))
            await run(move_device, sample_act(), device.id, 1, DeviceAct.DISABLE)
            assert "disabled" in await refused_with(Status.PERMISSION_DENIED, lambda: stub.Sync(request))
            await refused_passage(scene, machine)
            await run(move_device, sample_act(), device.id, 2, DeviceAct.ENABLE)
            assert (await stub.Sync(request)).revision == 1
        async with scene.of_device(machine) as (_, inner):
            assert (await account_grpc.AccountStub(inner).Sync(request)).revision == 1


async def test_device_whose_user_has_expired_gets_no_passage(tmp_path: Path) -> None:
    machine = Machine()
    async with edge(tmp_path) as scene:
        device = await scene.enrolled(machine)

        def expire(db: Database) -> None:
            user = add_user(db, sample_act(), {"name": "ada", "expires_at": sample_act().at - 1})
            change_device(db, sample_act(), device.id, 1, {"user_id": user.id})

        await scene.helm.store.run(expire)
        await refused_passage(scene, machine)


async def test_profile_is_synced_once_the_device_says_that_it_holds_it(tmp_path: Path) -> None:
    machine = Machine()

    def state(db: Database) -> str:
        (profile,) = list_page(db, PROFILES, Query()).items
        return profile.state.value

    async with edge(tmp_path) as scene:
        await scene.enrolled(machine)
        run = scene.helm.store.run
        async with scene.of_device(machine) as (_, inner):
            stub, request = account_grpc.AccountStub(inner), pb.SyncRequest(nonce=bytes(NONCE_LENGTH))
            reply = await stub.Sync(request)
            assert await run(state) == "stale", "it was sent, and may be lost"
            request.epoch, request.revision = reply.epoch, reply.revision
            await stub.Sync(request)
            assert await run(state) == "synced"
            # Another device alters nobody's profile; another node alters everybody's.
            await scene.enrolled(Machine())
            states = await run(lambda db: {p.state.value for p in list_page(db, PROFILES, Query()).items})
            assert states == {"synced"}, "one that was never sealed is none"
            await run(adopt_sample_node, scene.helm.authority, "another")
            assert await run(state) == "stale"
            reply = await stub.Sync(request)
            request.revision = reply.revision
            await stub.Sync(request)
            assert await run(state) == "synced"


async def test_relay_that_names_another_certificate_is_refused_and_seen(tmp_path: Path) -> None:
    """Attack 17: the fingerprint is a hint; the device's own key says who it is."""
    alice, bob = Machine(), Machine()
    async with edge(tmp_path) as scene:
        await scene.enrolled(alice)
        await scene.enrolled(bob)
        await refused_passage(scene, alice)
        assert scene.refusals() == [(RELAY, "the certificate is not this device's")]
        scene.fingerprint = "0" * 64
        await refused_passage(scene, bob)
        assert scene.passages == []


async def test_stranger_with_a_key_of_its_own_is_no_device(tmp_path: Path) -> None:
    machine = Machine()
    async with edge(tmp_path) as scene:
        await scene.enrolled(machine)
        await refused_passage(scene, Machine())
        assert scene.refusals() == [(RELAY, "no device has this key")]
