"""A beacon obeys what the fleet signed, over the tunnel that helm dialled, beside the passages that it forwards."""

from __future__ import annotations

import errno
import functools
import hashlib
import math
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing
from grpclib.exceptions import StreamTerminatedError
from grpclib.server import Stream

from pharos.beacon import orders
from pharos.beacon.ingress import serve_ingress
from pharos.beacon.orders import ASK_AGAIN, follow_orders
from pharos.beacon.sanitize import PASSAGE_PATH
from pharos.beacon.tunnel import serve_tunnel
from pharos.beacon.upstream import Upstreams
from pharos.wire.agent import AgentKeys
from pharos.wire.errors import LinkLostError, LinkRefusedError
from pharos.wire.gen.pharos.relay.v1 import orders_grpc
from pharos.wire.gen.pharos.relay.v1 import orders_pb2 as pb
from pharos.wire.keeping import Keeping
from pharos.wire.passage.metadata import RUN_HEADER
from pharos.wire.pki.roles import Authority, Identity, Role
from pharos.wire.pki.sessions import Sessions
from pharos.wire.pki.tls import client_context
from pharos.wire.pki.trust import Trust
from pharos.wire.rpc.flow import EDGE, TUNNEL
from pharos.wire.rpc.h2conn import Connection
from pharos.wire.rpc.h2stream import H2Stream
from pharos.wire.rpc.server import Service
from pharos.wire.rpc.transport import SecureStream, open_tls
from pharos.wire.world import World, inhabiting
from tests.support.agents import joined
from tests.support.pki import believing_both, home_fleet, utc_now
from tests.support.relay import echo, passage_headers
from tests.support.rpc import HOST
from tests.support.trust import Signer

HOME, HELM = home_fleet(), Signer()
LOST = HOME.identity(Role.DEVICE, "lost")
# security.md §2a promises two seconds; a busy machine gets three times as long.
CUT_WITHIN = 3 * 2


class Orders(orders_grpc.OrdersBase):
    """helm's side: says what the test says, and remembers what it is told."""

    def __init__(self, run: str = "") -> None:
        self._run = run
        self.orders, self._said = trio.open_memory_channel[pb.Order](math.inf)
        self._told, self.reports = trio.open_memory_channel[pb.Report](math.inf)

    async def Follow(self, stream: Stream[pb.Report, pb.Order]) -> None:
        async def hear() -> None:
            async for report in stream:
                self._told.send_nowait(report)
            nursery.cancel_scope.cancel()

        if self._run:
            await stream.send_initial_metadata(metadata={RUN_HEADER: self._run})
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hear)
            async for order in self._said:
                await stream.send_message(order)

    async def order(self, **parts: object) -> pb.Report:
        """Give one order and return what comes back."""
        self.orders.send_nowait(pb.Order(**parts))  # type: ignore[arg-type]
        return await self.reports.receive()


@attrs.define(eq=False)
class RunningBeacon:
    """A beacon with both ports on loopback."""

    keeping: Keeping
    upstreams: Upstreams
    tunnel: int
    ingress: int
    nursery: trio.Nursery

    async def _dial(self, role: Role, name: str, port: int, trust: Trust) -> SecureStream:
        context = client_context(trust=trust, credentials=HOME.member(role, name))
        hostname = HOME.identity(Role.RELAY, "gate").dns_name or ""
        return await open_tls(HOST, port, context, server_hostname=hostname)

    async def dial_as_helm(
        self, helm: Orders | None, name: str = "helm-1", *, trust: Trust | None = None
    ) -> Connection:
        """Open a tunnel that serves passages, and orders where there are any to give."""
        service = Service([] if helm is None else [helm])

        async def accept(stream: H2Stream) -> None:
            passage = dict(stream.headers or [])[":path"] == PASSAGE_PATH
            await (echo(stream) if passage else service(stream))

        stream = await self._dial(Role.CONTROLLER, name, self.tunnel, trust or HOME.trust)
        connection = Connection(stream, client_side=False, windows=TUNNEL, accept=accept)
        self.nursery.start_soon(connection.run)
        await connection.wait_up()
        while len(self.upstreams) == 0:
            await trio.testing.wait_all_tasks_blocked()
        return connection

    async def open_passage(self, name: str) -> H2Stream:
        """Come as a device, and say something.

        Raises: LinkLostError, LinkRefusedError — the beacon does not let it in.
        """
        stream = await self._dial(Role.DEVICE, name, self.ingress, HOME.trust)
        connection = Connection(stream, client_side=True, windows=EDGE)
        self.nursery.start_soon(connection.run)
        await connection.wait_up()
        passage = connection.create_stream()
        await passage.send_request(passage_headers())
        await passage.recv_headers()
        await says(passage)
        return passage


async def says(passage: H2Stream) -> None:
    """Say something and hear it come back.

    Raises: StreamTerminatedError — the passage has ended.
    """
    await passage.send_data(b"hello")
    assert await passage.recv_data(5) == b"hello"


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[RunningBeacon]:
    new = not (folder / "identity.json").exists()
    keys = joined(folder, Role.RELAY, "gate") if new else AgentKeys(folder, Role.RELAY)
    keeping, upstreams = Keeping(folder, keys, keys.membership(now=utc_now())), Upstreams()
    attend = functools.partial(follow_orders, keeping, announce=upstreams.announce)
    serve: Callable[..., object] = functools.partial(serve_tunnel, attend=attend)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            ports = []
            for listen in (serve, serve_ingress):
                listener = functools.partial(listen, upstreams, standing=keeping.standing, host=HOST, port=0)
                ports.append((await nursery.start(listener))[1])  # type: ignore[arg-type]
            tunnel, ingress = ports
            yield RunningBeacon(keeping, upstreams, tunnel, ingress, nursery)
            nursery.cancel_scope.cancel()


# -- reports and orders


async def test_beacon_reports_at_the_start_and_after_each_order(tmp_path: Path) -> None:
    async with running(tmp_path) as beacon:
        helm = Orders()
        await beacon.dial_as_helm(helm)
        report = await helm.reports.receive()
        assert (report.manifest_version, report.deny_epoch, report.deny_version) == (0, 0, 0)
        assert report.certificate_fingerprint == beacon.keeping.standing.membership.fingerprint
        checkpoint, deny_list = HELM.checkpoint(4), HELM.deny_list(version=3)
        report = await helm.order(manifest=HELM.manifest(2), deny_list=deny_list, checkpoint=checkpoint)
        assert (report.manifest_version, report.deny_epoch, report.deny_version) == (2, 1, 3)
        assert (report.checkpoint, report.deny_list) == (checkpoint, b"")
        assert (await helm.order(tell_deny_list=True)).deny_list == deny_list
    # It comes up with all of that.
    async with running(tmp_path) as beacon:
        helm = Orders()
        await beacon.dial_as_helm(helm)
        report = await helm.reports.receive()
        assert (report.manifest_version, report.deny_version, report.checkpoint) == (2, 3, checkpoint)


async def test_refused_order_is_not_reported_and_the_next_is_obeyed(tmp_path: Path) -> None:
    async with running(tmp_path) as beacon:
        helm = Orders()
        await beacon.dial_as_helm(helm)
        await helm.reports.receive()
        await helm.order(manifest=HELM.manifest(2), deny_list=HELM.deny_list(LOST, version=3))
        for refused in (
            pb.Order(deny_list=HELM.deny_list(version=2)),
            pb.Order(deny_list=b"junk"),
            pb.Order(manifest=HELM.manifest(1)),
            pb.Order(certificate=b"junk"),
            pb.Order(checkpoint=b"junk"),
        ):
            helm.orders.send_nowait(refused)
        report = await helm.order(checkpoint=HELM.checkpoint(1))
        assert (report.manifest_version, report.deny_version) == (2, 3)
        with pytest.raises(trio.WouldBlock):
            helm.reports.receive_nowait()


class Disk(World):
    """One that may be full."""

    full = False

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(descriptor, data)


async def test_beacon_with_a_full_disk_keeps_its_tunnel_and_asks_again_for_its_orders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(orders, "ASK_AGAIN", 0.05)
    disk = Disk()
    with inhabiting(disk):
        async with running(tmp_path) as beacon:
            helm = Orders()
            await beacon.dial_as_helm(helm)
            await helm.reports.receive()
            disk.full = True
            order = {"manifest": HELM.manifest(2), "deny_list": HELM.deny_list(LOST, version=3)}
            # It has nothing of it, and says so anew; passages go on by the same tunnel.
            report = await helm.order(**order)
            assert (report.manifest_version, report.deny_version) == (0, 0)
            passage = await beacon.open_passage("ann")
            passage.close()
            disk.full = False
            report = await helm.order(**order)
            assert (report.manifest_version, report.deny_version) == (2, 3)
    assert "orders wait: the disk does not take them" in caplog.text
    caplog.clear()


async def test_helm_that_says_which_run_it_is_takes_over_from_another(tmp_path: Path) -> None:
    async with running(tmp_path) as beacon:
        first, second = Orders("0" * 16), Orders("1" * 16)
        for helm in (first, second):
            await beacon.dial_as_helm(helm)
            await helm.reports.receive()
            while beacon.upstreams._tunnels[-1].run is None:
                await trio.testing.wait_all_tasks_blocked()
        assert [tunnel.run for tunnel in beacon.upstreams._tunnels] == [1, 2]
        passage = await beacon.open_passage("ann")
        assert [tunnel.passages for tunnel in beacon.upstreams._tunnels] == [0, 1]
        passage.close()


@pytest.mark.parametrize("run", ["", "0" * 15, "X" * 16, "0" * 17])
async def test_run_that_is_none_is_not_heard(tmp_path: Path, run: str) -> None:
    async with running(tmp_path) as beacon:
        helm = Orders(run)
        await beacon.dial_as_helm(helm)
        await helm.reports.receive()
        await helm.order(manifest=HELM.manifest(2))
        assert [tunnel.run for tunnel in beacon.upstreams._tunnels] == [None]


async def test_older_helm_orders_nothing_and_has_its_passages(tmp_path: Path) -> None:
    async with running(tmp_path) as beacon:
        await beacon.dial_as_helm(None)
        await beacon.open_passage("ann")


async def test_tunnel_that_helm_drains_ends_although_its_orders_were_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orders, "ASK_AGAIN", ASK_AGAIN / 50)
    async with running(tmp_path) as beacon:
        helm = Orders()
        tunnel = await beacon.dial_as_helm(helm)
        await helm.reports.receive()
        beacon.nursery.start_soon(tunnel.drain, math.inf)
        await tunnel.wait_closed()


async def test_orders_take_a_stream_from_the_passages(tmp_path: Path) -> None:
    async with running(tmp_path) as beacon:
        await beacon.dial_as_helm(Orders())
        (tunnel,) = beacon.upstreams._tunnels
        room = tunnel.connection.machine.remote_settings.max_concurrent_streams
        places = []
        for tunnel.passages in (room - 2, room - 1):
            places.append(tunnel.has_place)
        assert places == [True, False]
        tunnel.passages = 0


async def test_what_comes_along_with_a_refused_part_is_obeyed(tmp_path: Path) -> None:
    async with running(tmp_path) as beacon:
        helm = Orders()
        await beacon.dial_as_helm(helm)
        await helm.reports.receive()
        report = await helm.order(manifest=HELM.manifest(2), deny_list=b"junk", renew=True, certificate=b"junk")
        assert (report.manifest_version, report.deny_epoch) == (2, 0)
        assert report.csr


# -- revocation


async def order_denial(beacon: RunningBeacon, *members: Identity) -> None:
    """Order a list over a tunnel of its own, and wait until it is in force."""
    helm = Orders()
    await beacon.dial_as_helm(helm)
    await helm.reports.receive()
    await helm.order(manifest=HELM.manifest(), deny_list=HELM.deny_list(*members))


async def wait_end(passage: H2Stream) -> None:
    with pytest.raises(StreamTerminatedError):
        await passage.recv_data(1)


async def test_a11_live_passage_of_a_revoked_device_ends_and_it_does_not_come_back(tmp_path: Path) -> None:
    async with running(tmp_path) as beacon:
        await beacon.dial_as_helm(None)
        lost, kept = await beacon.open_passage("lost"), await beacon.open_passage("kept")
        with trio.fail_after(CUT_WITHIN):
            await order_denial(beacon, LOST)
            await wait_end(lost)
        await says(kept)
        with pytest.raises(LinkRefusedError):
            await beacon.open_passage("lost")
        await beacon.open_passage("new")
    # Nor after a restart, with helm away or of an earlier version.
    async with running(tmp_path) as beacon:
        await beacon.dial_as_helm(None)
        with pytest.raises(LinkRefusedError):
            await beacon.open_passage("lost")
        await beacon.open_passage("kept")


async def test_a11_turns_red_where_live_passages_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def keep_out_only(self: Sessions, deny: object) -> tuple[()]:
        self.deny = deny  # type: ignore[assignment]
        return ()

    monkeypatch.setattr(Sessions, "apply", keep_out_only)
    async with running(tmp_path) as beacon:
        await beacon.dial_as_helm(None)
        lost = await beacon.open_passage("lost")
        await order_denial(beacon, LOST)
        await says(lost)


async def test_a11_helm_that_was_revoked_loses_its_tunnel(tmp_path: Path) -> None:
    async with running(tmp_path) as beacon:
        stolen = await beacon.dial_as_helm(None, "stolen")
        with trio.fail_after(CUT_WITHIN):
            await order_denial(beacon, HOME.identity(Role.CONTROLLER, "stolen"))
            await stolen.wait_closed()
        with pytest.raises((LinkLostError, LinkRefusedError)):
            await beacon.dial_as_helm(None, "stolen")


# -- renewal and rotation


async def test_beacon_renews_its_certificate_and_the_tunnel_lives_on(tmp_path: Path) -> None:
    async with running(tmp_path) as beacon:
        helm = Orders()
        tunnel = await beacon.dial_as_helm(helm)
        await helm.reports.receive()
        csr = (await helm.order(renew=True)).csr
        certificate = HELM.renewed(csr, HOME.identity(Role.RELAY, "gate"))
        report = await helm.order(certificate=certificate)
        assert report.certificate_fingerprint == hashlib.sha256(certificate).digest()
        again = await beacon._dial(Role.CONTROLLER, "helm-1", beacon.tunnel, HOME.trust)
        assert again.peer_certificate == certificate
        again.close()
        device = await beacon._dial(Role.DEVICE, "ann", beacon.ingress, HOME.trust)
        assert device.peer_certificate == certificate
        device.close()
        assert not tunnel.closed


async def test_rotation_of_the_device_ca_lets_devices_of_both_in_and_then_of_the_new_one(tmp_path: Path) -> None:
    rotated = HOME.rotated(Authority.DEVICE)

    async def comes(beacon: RunningBeacon, certificate_of: str) -> bool:
        fleet = rotated if certificate_of == "new" else HOME
        context = client_context(trust=HOME.trust, credentials=fleet.member(Role.DEVICE, "ann"))
        hostname = HOME.identity(Role.RELAY, "gate").dns_name or ""
        stream = await open_tls(HOST, beacon.ingress, context, server_hostname=hostname)
        connection = Connection(stream, client_side=True, windows=EDGE)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection.run)
            try:
                await connection.wait_up()
            except (LinkLostError, LinkRefusedError):
                return False
            connection.close_now()
            return True

    async with running(tmp_path) as beacon:
        helm = Orders()
        await beacon.dial_as_helm(helm)
        await helm.reports.receive()
        assert [await comes(beacon, which) for which in ("old", "new")] == [True, False]
        await helm.order(manifest=HELM.manifest(2, trust=believing_both(HOME, rotated)))
        assert [await comes(beacon, which) for which in ("old", "new")] == [True, True]
        await helm.order(manifest=HELM.manifest(3, trust=rotated.trust))
        assert [await comes(beacon, which) for which in ("old", "new")] == [False, True]
