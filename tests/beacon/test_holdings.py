"""What a relay holds for those who do not read, in both directions together, is bounded (passage.md §2).

The relay is a process of its own, so that its memory can be read; helm and the devices are played by the test.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio
import trio.testing
from grpclib.const import Status
from grpclib.exceptions import StreamTerminatedError

from pharos.beacon.sanitize import PASSAGE_PATH
from pharos.demo.processes import free_port
from pharos.helm.relay.link import open_relay_link
from pharos.wire.files import open_state_directory
from pharos.wire.link import Backoff
from pharos.wire.passage.metadata import PURPOSE_HEADER
from pharos.wire.pki.roles import Role
from pharos.wire.pki.tls import client_context
from pharos.wire.rpc.flow import EDGE
from pharos.wire.rpc.h2conn import Connection
from pharos.wire.rpc.h2stream import H2Stream
from pharos.wire.rpc.limits import EDGE_STREAMS, RELAY_HOLDINGS
from pharos.wire.rpc.peer import Peer
from pharos.wire.rpc.server import refuse
from pharos.wire.rpc.transport import SecureStream, open_tls
from pharos.wire.units import KIB, MIB
from tests.support.agents import joined
from tests.support.pki import home_fleet
from tests.support.relay import echo, passage_headers
from tests.support.rpc import HOST
from tests.system.lab.processes import Process

# An eighth of what a relay really has, for the sake of the machine that runs this: the sum is the same.
LIMIT = RELAY_HOLDINGS // 8
# Each of these passages can fill a stream window in the relay: 32 MiB in all.
STALLED = 4 * LIMIT // EDGE.stream
DEVICES = STALLED // EDGE_STREAMS
# TLS records and buffers of each connection that has had traffic, 100 kB as measured, whatever it holds; and what tasks
# have in their hands when they are cancelled.
SLACK = DEVICES * 100 * KIB + 6 * MIB
# What is freed goes back to the kernel at once: it is not the allocator that is measured (mallopt(3)).
ENVIRONMENT = ("MALLOC_MMAP_THRESHOLD_=16384",)

RELAY = """
import sys
from pharos.beacon import shares
from pharos.wire.rpc import limits
limits.RELAY_HOLDINGS = int(sys.argv.pop(1))
# All devices of this test have one certificate.
shares.DEVICE_CONNECTIONS = shares.DEVICE_PASSAGES = shares.DEVICE_BURST = 10**6
from pharos.beacon.cli import main
main()
"""
# How the passage of a device whose helm, or which itself, does not read calls itself here.
HELM_READS_NOT = "login"
DEVICE_READS_NOT = "enrol.0123456789abcdef"


@attrs.define
class Scene:
    """A relay process with helm behind it, and devices."""

    process: Process
    ingress: int
    tunnel: int
    nursery: trio.Nursery
    go: trio.Event = attrs.field(factory=trio.Event)
    """Nobody sends before, so that what connections cost at rest can be told apart."""

    def memory(self, field: str) -> int:
        """Return ``VmRSS``, what the relay has, or ``VmHWM``, the most it has had (proc(5))."""
        status = (Path("/proc") / str(self.process.pid) / "status").read_text()
        return int(dict(line.split(":", 1) for line in status.splitlines())[field].split()[0]) * KIB

    async def open_stream(self) -> tuple[SecureStream, Peer]:
        """Dial the relay as helm."""
        return await dial(Role.CONTROLLER, self.tunnel), Peer()

    async def serve(self, stream: H2Stream) -> None:
        """Be helm in one passage, and order nothing."""
        if dict(stream.headers or [])[":path"] != PASSAGE_PATH:
            await refuse(stream, Status.UNIMPLEMENTED)
            return
        purpose = dict(stream.headers or [])[PURPOSE_HEADER]
        if purpose == "device":
            await echo(stream)
            return
        await stream.send_headers([(":status", "200"), ("content-type", "application/grpc")])
        if purpose == HELM_READS_NOT:
            await trio.sleep_forever()
        await self.fill(stream)

    async def fill(self, stream: H2Stream) -> None:
        """Send for as long as the relay takes it."""
        await self.go.wait()
        try:
            while True:
                await stream.send_data(bytes(8 * KIB))
        except StreamTerminatedError:
            pass

    async def connect(self) -> Connection:
        connection = Connection(await dial(Role.DEVICE, self.ingress), client_side=True, windows=EDGE)
        self.nursery.start_soon(connection.run)
        await connection.wait_up()
        return connection

    async def open_all(self, purpose: str) -> None:
        """Open all passages that one device may have."""
        connection = await self.connect()
        for _ in range(EDGE_STREAMS):
            stream = connection.create_stream()
            await stream.send_request(passage_headers(purpose))
            await stream.recv_headers()
            if purpose == HELM_READS_NOT:
                self.nursery.start_soon(self.fill, stream)

    async def wait_stalled(self) -> None:
        """Wait until nobody can send any more: nothing at all has moved here for as long as the relay may think."""
        await trio.testing.wait_all_tasks_blocked(0.5)

    async def round_trip(self) -> bytes:
        """Be a good device."""
        connection = await self.connect()
        stream = connection.create_stream()
        await stream.send_request(passage_headers())
        await stream.send_data(b"a good device")
        echoed = await stream.recv_data(13)
        stream.close()
        connection.close_now()
        return echoed


async def dial(role: Role, port: int) -> SecureStream:
    fleet = home_fleet()
    context = client_context(trust=fleet.trust, credentials=fleet.member(role))
    name = fleet.identity(Role.RELAY, "gate").dns_name
    assert name is not None
    return await open_tls(HOST, port, context, server_hostname=name)


@asynccontextmanager
async def relaying(state: Path, limit: int) -> AsyncIterator[Scene]:
    """Run a relay whose holdings have this limit, with helm connected."""
    joined(open_state_directory(state), Role.RELAY, "gate")
    ingress, tunnel = free_port(socket.SOCK_STREAM), free_port(socket.SOCK_STREAM)
    run = ["run", "--state", str(state), "--host", HOST, "--ingress-port", str(ingress), "--tunnel-port", str(tunnel)]
    process = Process(["env", *ENVIRONMENT, sys.executable, "-c", RELAY, str(limit), *run], state.with_suffix(".log"))
    try:
        with trio.fail_after(60):
            await process.start(ready=True)
            async with trio.open_nursery() as nursery:
                scene = Scene(process, ingress, tunnel, nursery)
                backoff = Backoff(random=lambda: 1.0)
                async with open_relay_link(scene.open_stream, scene.serve, name="gate", backoff=backoff) as link:
                    nursery.start_soon(link.run)
                    yield scene
                    nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):
            await process.kill()


async def growth(state: Path, limit: int) -> int:
    """Return by how much a relay grew, at most, by devices and a helm that do not read; a good one is served beside."""
    async with relaying(state, limit) as scene:
        assert await scene.round_trip() == b"a good device"
        for number in range(DEVICES):
            await scene.open_all(HELM_READS_NOT if number % 2 else DEVICE_READS_NOT)
        before = scene.memory("VmRSS")
        scene.go.set()
        await scene.wait_stalled()
        with trio.fail_after(10):
            assert await scene.round_trip() == b"a good device"
        return scene.memory("VmHWM") - before


async def test_those_who_do_not_read_do_not_fill_the_relay(tmp_path: Path) -> None:
    assert await growth(tmp_path / "bounded", LIMIT) < LIMIT + SLACK
    # Without a bound they get all that their windows allow.
    assert await growth(tmp_path / "weakened", 2**40) > 1.5 * (LIMIT + SLACK)
