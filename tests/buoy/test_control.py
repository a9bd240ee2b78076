"""The control port over real TLS: who commands, what is refused and by which status, and what changes under it."""

from __future__ import annotations

import errno
import functools
import hashlib
import json
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio
from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError

from pharos.buoy.control import serve_control
from pharos.buoy.dataplane.base import EngineError, PeerCounters
from pharos.buoy.events import EventFeed
from pharos.wire.agent import AgentKeys
from pharos.wire.convert import INVENTORY_PART, EventKind, peer_from, push_to, report_from
from pharos.wire.desired import Fence, Push
from pharos.wire.errors import LinkLostError, LinkRefusedError
from pharos.wire.gen.pharos.buoy.v1 import control_grpc
from pharos.wire.gen.pharos.buoy.v1 import control_pb2 as pb
from pharos.wire.ids import DeviceId
from pharos.wire.netpolicy import NetworkPlan
from pharos.wire.pki.roles import Authority, Role
from pharos.wire.pki.sessions import Sessions
from pharos.wire.pki.tls import client_context
from pharos.wire.pki.trust import Trust
from pharos.wire.reports import REALITY
from pharos.wire.rpc.client import Channel, open_channel
from pharos.wire.rpc.flow import CONTROL
from pharos.wire.rpc.peer import Peer
from pharos.wire.rpc.transport import open_tls
from tests.support.agents import joined
from tests.support.buoy import FakePlane, SampleBuoy, make_buoy
from tests.support.netplans import PLAN
from tests.support.pki import believing_both, home_fleet, utc_now
from tests.support.rpc import HOST
from tests.support.strategies import parameters_of, peer_of
from tests.support.trust import Signer

HOME, HELM = home_fleet(), Signer()
HELM_ITSELF = HOME.identity(Role.CONTROLLER, "helm-1")
FIRST = Push(fence=Fence(1, 1, 1), snapshot=True, upsert=(peer_of(1), peer_of(2)), awg=parameters_of(1))
# security.md §2a promises two seconds; a busy machine gets three times as long.
CUT_WITHIN = 3 * 2
ONE, TWO = bytes([1]) * 16, bytes([2]) * 16


@attrs.frozen(kw_only=True)
class Served:
    """A buoy that serves its control port on loopback."""

    sample: SampleBuoy
    feed: EventFeed
    port: int

    @asynccontextmanager
    async def connected(self, name: str = "helm-1", *, trust: Trust | None = None) -> AsyncIterator[Channel]:
        """Dial as a controller of the home fleet.

        Raises: LinkLostError, LinkRefusedError.
        """
        context = client_context(trust=trust or HOME.trust, credentials=HOME.member(Role.CONTROLLER, name))
        hostname = HOME.identity(Role.NODE, "node-1").dns_name or ""
        stream = await open_tls(HOST, self.port, context, server_hostname=hostname)
        peer = Peer(address=stream.peer_address, certificate=stream.peer_certificate)
        async with open_channel(stream, windows=CONTROL, authority="node-1", peer=peer) as channel:
            yield channel


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Served]:
    new = not (folder / "identity.json").exists()
    keys = joined(folder, name="node-1") if new else AgentKeys(folder, Role.NODE)
    sample, feed = make_buoy(folder, keys=keys, membership=keys.membership(now=utc_now())), EventFeed()
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            _, port = await nursery.start(functools.partial(serve_control, sample.node, feed, host=HOST, port=0))
            yield Served(sample=sample, feed=feed, port=port)
            nursery.cancel_scope.cancel()


async def push(channel: Channel, push: Push, lease: pb.Lease | None = None) -> pb.PushReply:
    request = push_to(push)
    if lease is not None:
        request.lease.CopyFrom(lease)
    return await control_grpc.ControlStub(channel).Push(request)


def after(revision: int, **parts: bytes) -> Push:
    return attrs.evolve(FIRST, fence=Fence(1, 1, revision), **parts)  # type: ignore[arg-type]


# -- trust


async def test_answer_to_a_push_says_what_is_in_force(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, served.connected() as channel:
        reply = await push(channel, after(1, manifest=HELM.manifest(4), deny_list=HELM.deny_list(version=3)))
        assert (reply.manifest_version, reply.deny_list.epoch, reply.deny_list.version) == (4, 1, 3)
        report = report_from(await control_grpc.ControlStub(channel).Status(pb.StatusRequest()))
        assert report == await served.sample.node.report() or report.now < (await served.sample.node.report()).now
        assert (report.deny_list, report.manifest_version) == ((1, 3), 4)
        assert report.certificate == served.sample.keeping.standing.membership.fingerprint
        assert [(peer.generation, peer.digest) for peer in report.peers] == [
            (peer.generation, peer.digest) for peer in FIRST.upsert
        ]


async def test_a12_older_deny_list_is_a_failed_precondition_also_after_a_restart(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, served.connected() as channel:
        await push(channel, after(1, manifest=HELM.manifest(), deny_list=HELM.deny_list(version=3)))
    async with serving(tmp_path) as served, served.connected() as channel:
        with pytest.raises(GRPCError) as refused:
            await push(channel, after(2, deny_list=HELM.deny_list(version=2)))
        assert refused.value.status is Status.FAILED_PRECONDITION
        assert "in use" in (refused.value.message or "")
        await push(channel, after(2, deny_list=HELM.deny_list(version=4)))


@asynccontextmanager
async def watching(channel: Channel) -> AsyncIterator[trio.Event]:
    """Hold a live stream while the block lasts; the event is set when the stream has ended."""
    ended, begun = trio.Event(), trio.Event()

    async def watch() -> None:
        try:
            async with control_grpc.ControlStub(channel).Watch.open() as stream:
                await stream.send_message(pb.WatchRequest(), end=True)
                await stream.recv_initial_metadata()
                begun.set()
                await stream.recv_message()
        except StreamTerminatedError:
            ended.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        await begun.wait()
        yield ended
        nursery.cancel_scope.cancel()


async def refused_at_the_door(served: Served, name: str) -> bool:
    try:
        async with served.connected(name):
            return False
    except (LinkLostError, LinkRefusedError):
        return True


async def test_a11_helm_that_was_revoked_loses_its_live_stream_and_does_not_come_back(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, served.connected("lost") as lost, served.connected() as kept:
        async with watching(lost) as lost_ended, watching(kept) as kept_ended:
            deny_list = HELM.deny_list(HOME.identity(Role.CONTROLLER, "lost"))
            with trio.fail_after(CUT_WITHIN):
                await push(kept, after(1, manifest=HELM.manifest(), deny_list=deny_list))
                await lost_ended.wait()
            assert not kept_ended.is_set()
            assert await refused_at_the_door(served, "lost")
            assert not await refused_at_the_door(served, "helm-2")
    async with serving(tmp_path) as again:
        assert await refused_at_the_door(again, "lost")


async def test_a11_turns_red_where_live_sessions_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def keep_out_only(self: Sessions, deny: object) -> tuple[()]:
        self.deny = deny  # type: ignore[assignment]
        return ()

    monkeypatch.setattr(Sessions, "apply", keep_out_only)
    async with serving(tmp_path) as served, served.connected("lost") as lost, served.connected() as kept:
        async with watching(lost) as ended:
            deny_list = HELM.deny_list(HOME.identity(Role.CONTROLLER, "lost"))
            await push(kept, after(1, manifest=HELM.manifest(), deny_list=deny_list))
            # It commands on.
            await push(lost, after(2))
            assert not ended.is_set()


# -- the lease


def lease(holder: bytes, previous: bytes = b"", seconds: int = 30) -> pb.Lease:
    return pb.Lease(holder=holder, previous=previous, seconds=seconds)


async def test_second_helm_may_look_and_neither_push_nor_take_the_lease(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, served.connected() as one, served.connected("helm-2") as two:
        await push(one, after(1), lease(ONE))
        stub = control_grpc.ControlStub(two)
        await stub.Status(pb.StatusRequest())
        for attempt in (
            functools.partial(push, two, after(2), lease(TWO)),
            functools.partial(push, two, after(2)),
            functools.partial(stub.Status, pb.StatusRequest(lease=lease(TWO))),
        ):
            with pytest.raises(GRPCError, match="another helm holds this node for") as refused:
                await attempt()
            assert refused.value.status is Status.UNAVAILABLE
        assert served.sample.node.desired.fence == Fence(1, 1, 1)
        # Its own next run takes over at once.
        await push(two, after(2), lease(TWO, previous=ONE))
        with pytest.raises(GRPCError, match="another helm"):
            await push(one, after(3), lease(ONE))


async def test_without_a_lease_two_helms_push_in_turns(tmp_path: Path) -> None:
    """Red: that is what the lease is for."""
    async with serving(tmp_path) as served, served.connected() as one, served.connected("helm-2") as two:
        await push(one, after(1))
        await push(two, after(2))
        await push(one, after(3))


@pytest.mark.parametrize(
    "bad", [lease(b"short"), lease(ONE, previous=b"short"), lease(ONE, seconds=0), lease(ONE, seconds=2**31)]
)
async def test_lease_that_does_not_fit_is_an_invalid_argument(tmp_path: Path, bad: pb.Lease) -> None:
    async with serving(tmp_path) as served, served.connected() as channel:
        with pytest.raises(GRPCError) as refused:
            await push(channel, after(1), bad)
        assert refused.value.status is Status.INVALID_ARGUMENT
        assert served.sample.plane.applied == []


# -- renewal


def shown(channel: Channel) -> bytes:
    """Return the fingerprint of what the node proved itself with."""
    certificate = channel.connection.peer.certificate
    assert certificate is not None
    return hashlib.sha256(certificate).digest()


async def test_new_certificate_is_shown_to_new_connections_and_the_others_live_on(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, served.connected() as channel, watching(channel) as ended:
        stub, before = control_grpc.ControlStub(channel), served.sample.keeping.standing.membership
        first = await stub.Renew(pb.RenewRequest())
        again = await stub.Renew(pb.RenewRequest())
        certificate = HELM.renewed(again.csr, before.identity)
        reply = await stub.Install(pb.InstallRequest(certificate=certificate))
        assert reply.certificate_fingerprint == hashlib.sha256(certificate).digest()
        # For one key, so that the certificate for the first request would have done as well.
        with pytest.raises(GRPCError, match="not asked") as refused:
            await stub.Install(pb.InstallRequest(certificate=HELM.renewed(first.csr, before.identity)))
        assert refused.value.status is Status.FAILED_PRECONDITION
        async with served.connected() as another:
            assert shown(another) == reply.certificate_fingerprint != shown(channel) == before.fingerprint
        report = report_from(await stub.Status(pb.StatusRequest()))
        assert report.certificate == reply.certificate_fingerprint
        assert not ended.is_set()


async def test_rotation_of_the_fleet_ca_goes_through_under_a_live_link(tmp_path: Path) -> None:
    rotated = HOME.rotated(Authority.FLEET)
    async with serving(tmp_path) as served, served.connected() as channel:
        stub, identity = control_grpc.ControlStub(channel), served.sample.keeping.standing.membership.identity
        await push(channel, after(1, manifest=HELM.manifest(1, trust=believing_both(HOME, rotated))))
        csr = (await stub.Renew(pb.RenewRequest())).csr
        await stub.Install(pb.InstallRequest(certificate=HELM.renewed(csr, identity, fleet=rotated)))
        await push(channel, after(2, manifest=HELM.manifest(2, trust=rotated.trust)))
        # helm's old certificate is of the old authority, which is gone.
        with pytest.raises((LinkLostError, LinkRefusedError)):
            async with served.connected(trust=rotated.trust):
                pass
        await stub.Status(pb.StatusRequest())


# -- inventory and events


async def test_inventory_is_everything_in_parts(tmp_path: Path) -> None:
    peers = tuple(peer_of(number) for number in range(2 * INVENTORY_PART + 1))
    async with serving(tmp_path) as served, served.connected() as channel:
        deny_list, checkpoint = HELM.deny_list(version=3), HELM.checkpoint(5)
        whole = after(1, manifest=HELM.manifest(), deny_list=deny_list, checkpoint=checkpoint)
        await served.sample.node.push(attrs.evolve(whole, upsert=peers))
        parts = [part async for part in inventory(channel)]
    assert (parts[0].deny_list, parts[0].checkpoint) == (deny_list, checkpoint)
    assert [len(part.peers) for part in parts] == [0, INVENTORY_PART, INVENTORY_PART, 1]
    assert tuple(peer_from(peer) for part in parts for peer in part.peers) == peers
    assert {(part.applied.epoch, part.applied.term, part.applied.revision) for part in parts} == {(1, 1, 1)}


async def inventory(channel: Channel) -> AsyncIterator[pb.InventoryPart]:
    async with control_grpc.ControlStub(channel).Inventory.open() as stream:
        await stream.send_message(pb.InventoryRequest(), end=True)
        async for part in stream:
            yield part


# -- engines, the log, the disk, events


async def test_engine_is_restarted_by_its_protocol(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, served.connected() as channel:
        stub = control_grpc.ControlStub(channel)
        await stub.Restart(pb.RestartRequest(protocol="amneziawg"))
        assert served.sample.plane.restarts == 1
        with pytest.raises(GRPCError) as refused:
            await stub.Restart(pb.RestartRequest(protocol="openvpn"))
        assert refused.value.status is Status.INVALID_ARGUMENT


async def test_log_says_more_until_it_is_told_otherwise(tmp_path: Path) -> None:
    level = logging.getLogger("pharos").level
    try:
        async with serving(tmp_path) as served, served.connected() as channel:
            stub = control_grpc.ControlStub(channel)
            for verbose, wanted in ((True, logging.DEBUG), (False, logging.INFO)):
                await stub.SetLogLevel(pb.LogLevelRequest(verbose=verbose))
                assert logging.getLogger("pharos").level == wanted
    finally:
        logging.getLogger("pharos").setLevel(level)


async def test_status_says_what_carries_the_packets_and_how_the_machine_is(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, served.connected() as channel:
        report = report_from(await control_grpc.ControlStub(channel).Status(pb.StatusRequest()))
        assert [(one.protocol, one.driver) for one in report.engines] == [("amneziawg", "fake")]
        assert report.machine is not None
        assert report.machine.disk > 0


async def test_push_on_a_full_disk_is_refused_and_the_next_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(tmp_path) as served, served.connected() as channel:
        await push(channel, after(1))
        applied = len(served.sample.plane.applied)

        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full)
            with pytest.raises(GRPCError) as refused:
                await push(channel, after(2))
        assert refused.value.status is Status.RESOURCE_EXHAUSTED
        assert "No space left" in caplog.text
        caplog.clear()
        assert len(served.sample.plane.applied) == applied
        assert served.sample.node.desired.fence == Fence(1, 1, 1)
        await push(channel, after(3))
        assert served.sample.node.desired.fence == Fence(1, 1, 3)


async def test_session_of_a_device_that_is_served_is_ended(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, served.connected() as channel:
        await push(channel, FIRST)
        stub = control_grpc.ControlStub(channel)
        await stub.EndSession(pb.EndSessionRequest(device_id="device-1"))
        assert served.sample.plane.ended == ["device-1"]
        assert "device-1" in served.sample.node.desired.peers, "what is ordered stays"
        for unknown in ("device-9", ""):
            with pytest.raises(GRPCError) as refused:
                await stub.EndSession(pb.EndSessionRequest(device_id=unknown))
            assert refused.value.status is Status.FAILED_PRECONDITION
            assert "not served here" in (refused.value.message or "")


async def test_session_that_an_engine_cannot_end_is_said_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuses(_: FakePlane, device_id: DeviceId) -> None:
        raise EngineError(f"the engine is away, and {device_id} with it")

    monkeypatch.setattr(FakePlane, "end_session", refuses)
    async with serving(tmp_path) as served, served.connected() as channel:
        await push(channel, FIRST)
        with pytest.raises(GRPCError) as refused:
            await control_grpc.ControlStub(channel).EndSession(pb.EndSessionRequest(device_id="device-1"))
        assert (refused.value.status, refused.value.message) == (
            Status.FAILED_PRECONDITION,
            "the engine is away, and device-1 with it",
        )


async def test_rules_of_the_firewall_are_shown_as_they_were_told(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, served.connected() as channel:
        stub = control_grpc.ControlStub(channel)
        assert (await stub.ShowNetwork(pb.NetworkRequest())).plan == b"", "nobody keeps any here"
        served.sample.plane.network = PLAN
        shown = await stub.ShowNetwork(pb.NetworkRequest())
        assert NetworkPlan.from_json(json.loads(shown.plan)) == PLAN


async def test_report_and_events_tell_protocols_apart(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, served.connected() as channel:
        await push(channel, FIRST)
        served.sample.plane.seen = [
            PeerCounters(
                device_id=DeviceId("device-1"),
                last_handshake=9,
                received=10,
                sent=11,
                reality_received=4,
                reality_sent=5,
                reality_handshake=8,
            )
        ]
        stub = control_grpc.ControlStub(channel)
        report = report_from(await stub.Status(pb.StatusRequest()))
        assert report.tells_protocols
        (one,) = [peer for peer in report.peers if peer.device_id == "device-1"]
        assert (one.reality_received, one.reality_sent, one.reality_handshake) == (4, 5, 8)
        async with stub.Watch.open() as stream:
            await stream.send_message(pb.WatchRequest())
            await stream.recv_initial_metadata()
            served.feed.publish(EventKind.CONNECTED, at=1, device_id=DeviceId("device-1"), detail="a", protocol=REALITY)
            batch = await stream.recv_message()
            assert batch is not None
            assert [event.protocol for event in batch.events] == [pb.PROTOCOL_REALITY]
            await stream.cancel()


async def test_watcher_that_comes_back_misses_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, served.connected() as channel:
        stub = control_grpc.ControlStub(channel)

        async def watch(resume: bytes) -> pb.EventBatch:
            async with stub.Watch.open() as stream:
                await stream.send_message(pb.WatchRequest(resume=resume))
                await stream.recv_initial_metadata()
                served.feed.publish(EventKind.CONNECTED, at=1, device_id=DeviceId("phone"), detail="a")
                batch = await stream.recv_message()
                assert batch is not None
                await stream.cancel()
                return batch

        first = await watch(b"")
        served.feed.publish(EventKind.DISCONNECTED, at=2, device_id=DeviceId("phone"), detail="silent")
        second = await watch(first.resume)
        while len(second.events) < 2:
            second.MergeFrom(await watch(second.resume))
        assert [event.sequence for event in second.events][:2] == [2, 3]
