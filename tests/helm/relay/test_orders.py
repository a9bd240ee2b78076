"""The care for a relay: it hears what changes, its certificate is renewed, and it cannot keep helm busy."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from cryptography.hazmat.primitives.asymmetric import ec
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from pharos.helm.audit.checkpoints import sign_next
from pharos.helm.live.board import now_us
from pharos.helm.model.relays import Relay
from pharos.helm.onboard.agents import adopt_relay
from pharos.helm.relay.orders import BURST, RelayOrders
from pharos.helm.store.alerts import standing_alert
from pharos.helm.store.members import member_state
from pharos.helm.store.records import get_record
from pharos.helm.store.relays import RELAYS
from pharos.helm.trust.witness import FORKED
from pharos.wire.agent import AgentRequest
from pharos.wire.gen.pharos.relay.v1 import orders_grpc
from pharos.wire.gen.pharos.relay.v1 import orders_pb2 as pb
from pharos.wire.ids import RelayId
from pharos.wire.passage.metadata import RUN_HEADER
from pharos.wire.pki.csr import make_csr
from pharos.wire.pki.keys import certificate_from_der, generate_key
from pharos.wire.pki.roles import Role
from pharos.wire.pki.verify import authorize_peer
from pharos.wire.rpc.client import Channel, open_channel
from pharos.wire.rpc.flow import TUNNEL
from pharos.wire.rpc.server import Service, serve_connection
from pharos.wire.seal.checkpoint import Checkpoint, sign_checkpoint
from pharos.wire.seal.denylist import verify_deny_list
from tests.support.helm import (
    SampleHelm,
    enrol_sample_device,
    new_relay,
    now,
    open_helm,
    revoke_sample_device,
    sample_act,
)


@attrs.define(kw_only=True)
class Scene:
    """helm and the relay's end of a tunnel to it."""

    helm: SampleHelm
    channel: Channel
    relay: Relay
    key: ec.EllipticCurvePrivateKey
    certificate: bytes

    def report(self, **changes: object) -> pb.Report:
        held = {
            "manifest_version": 1,
            "certificate_fingerprint": hashlib.sha256(self.certificate).digest(),
            "version": "1",
        }
        return pb.Report(**(held | changes))  # type: ignore[arg-type]

    @asynccontextmanager
    async def follow(self) -> AsyncIterator[Any]:
        async with orders_grpc.OrdersStub(self.channel).Follow.open() as stream:
            yield stream
            await stream.end()


@asynccontextmanager
async def tunnel(tmp_path: Path) -> AsyncIterator[Scene]:
    relay_end, helm_end = trio.testing.memory_stream_pair()
    async with open_helm(tmp_path) as helm, trio.open_nursery() as nursery:
        key = generate_key()
        request = AgentRequest(role=Role.RELAY, csr=make_csr(key))
        relay, grant = await helm.store.run(adopt_relay, sample_act(), helm.authority, request, new_relay())
        service = Service([RelayOrders(helm.context, RelayId(relay.id), run="0123456789abcdef")])

        async def serve() -> None:
            await serve_connection(helm_end, service, windows=TUNNEL, keepalive=None)

        nursery.start_soon(serve)
        with trio.fail_after(10):
            async with open_channel(relay_end, authority="helm", windows=TUNNEL, keepalive=None) as channel:
                yield Scene(helm=helm, channel=channel, relay=relay, key=key, certificate=grant.certificate)
        nursery.cancel_scope.cancel()


async def test_relay_hears_at_once_which_run_of_helm_it_is(tmp_path: Path) -> None:
    async with tunnel(tmp_path) as scene, scene.follow() as stream:
        # It lacks nothing, so no order brings the word along.
        await stream.send_message(scene.report())
        await stream.recv_initial_metadata()
        assert stream.initial_metadata[RUN_HEADER] == "0123456789abcdef"


async def test_relay_that_holds_an_old_manifest_is_given_the_new_one(tmp_path: Path) -> None:
    async with tunnel(tmp_path) as scene, scene.follow() as stream:
        await stream.send_message(scene.report(manifest_version=0))
        order = await stream.recv_message()
        assert order == pb.Order(manifest=scene.helm.authority.manifest)


async def test_relay_hears_of_a_revocation_and_what_it_holds_then_is_known(tmp_path: Path) -> None:
    async with tunnel(tmp_path) as scene, scene.follow() as stream:
        store, authority = scene.helm.store, scene.helm.authority
        await stream.send_message(scene.report())
        device = await store.run(enrol_sample_device, 1)
        await store.run(revoke_sample_device, device.id)
        order = await stream.recv_message()
        assert order is not None
        denied = verify_deny_list(order.deny_list, fleet=authority.trust.fleet, signing_keys=authority.verify_keys)
        assert denied.denies_member(Role.DEVICE, device.id)
        assert denied.denies_tunnel_key(device.awg_key)
        await stream.send_message(scene.report(deny_epoch=denied.epoch, deny_version=denied.version))
        await store.run(sign_next, authority, at=now_us(), everything=True)
        order = await stream.recv_message()
        assert order is not None
        assert order.checkpoint
        assert not order.deny_list, "it holds that one"
        assert (await store.read(member_state, scene.relay.id)).deny_order == denied.order


async def test_relay_whose_certificate_is_due_makes_a_new_key_and_gets_its_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = certificate_from_der
    async with tunnel(tmp_path) as scene, scene.follow() as stream:
        old = first(scene.certificate)
        monkeypatch.setattr("pharos.helm.trust.renewals.due", lambda certificate, _now: certificate == old)
        await stream.send_message(scene.report())
        assert await stream.recv_message() == pb.Order(renew=True)
        key = generate_key()
        await stream.send_message(scene.report(csr=make_csr(key)))
        order = await stream.recv_message()
        assert order is not None
        trust = scene.helm.authority.trust
        authorize_peer(order.certificate, trust=trust, roles={Role.RELAY}, peer_id=scene.relay.id, now=now())
        assert first(order.certificate).public_key() == key.public_key()
        record = await scene.helm.store.read(get_record, RELAYS, scene.relay.id)
        assert record.certificate == order.certificate
        # The answer was lost: the same key gets the same again.
        await stream.send_message(scene.report(csr=make_csr(key)))
        assert await stream.recv_message() == pb.Order(certificate=order.certificate)
        scene.certificate = order.certificate
        await stream.send_message(scene.report(manifest_version=0))
        assert await stream.recv_message() == pb.Order(manifest=scene.helm.authority.manifest), "and nothing is due"


@pytest.mark.parametrize("whose", ["its own old key", "another member's", "nobody's"])
async def test_relay_gets_no_certificate_for_a_key_that_is_not_new(tmp_path: Path, whose: str) -> None:
    async with tunnel(tmp_path) as scene:
        other = generate_key()
        request = AgentRequest(role=Role.RELAY, csr=make_csr(other))
        store = scene.helm.store
        await store.run(adopt_relay, sample_act(), scene.helm.authority, request, new_relay("other"))
        csr = {"its own old key": make_csr(scene.key), "another member's": make_csr(other), "nobody's": b"\x30"}[whose]
        with pytest.raises(GRPCError) as refused:
            async with scene.follow() as stream:
                await stream.send_message(scene.report(csr=csr))
                await stream.recv_message()
        assert refused.value.status is Status.PERMISSION_DENIED
        record = await store.read(get_record, RELAYS, scene.relay.id)
        assert record.certificate == scene.certificate


async def test_relay_that_reports_without_end_is_let_go(tmp_path: Path) -> None:
    async with tunnel(tmp_path) as scene:
        with pytest.raises(GRPCError) as refused:
            async with scene.follow() as stream:
                for _ in range(10 * BURST):
                    await stream.send_message(scene.report())
                await stream.recv_message()
        assert refused.value.status is Status.RESOURCE_EXHAUSTED


async def test_checkpoint_that_the_record_does_not_hold_is_an_alert(tmp_path: Path) -> None:
    async with tunnel(tmp_path) as scene, scene.follow() as stream:
        authority, store = scene.helm.authority, scene.helm.store
        forged = Checkpoint(fleet=authority.trust.fleet, size=1, head=bytes(32), at=1)
        await stream.send_message(
            scene.report(manifest_version=0, checkpoint=sign_checkpoint(forged, signing_key=authority.signing))
        )
        # What it says is written while the first order is on its way.
        with trio.fail_after(5):
            while True:
                commits = store.commits
                if (alert := await store.read(standing_alert, FORKED, "")) is not None:
                    break
                await store.wait_commit(commits)
        assert alert.evidence["size"] == 1
