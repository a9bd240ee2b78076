"""Both of our REALITY drivers serve a plan, tell who comes and goes, and count over the ends of their servers."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import attrs
import pytest
import trio

from pharos.buoy.dataplane.base import (
    EngineError,
    PeerCounters,
    RealityDriver,
    RealityEndpoint,
    RealityPlan,
    RealityUser,
)
from pharos.buoy.dataplane.reality import make_embedded, make_userspace
from pharos.buoy.dataplane.realityplan import Place
from pharos.demo.processes import free_port
from pharos.wire.convert import EventKind
from pharos.wire.desired import Policy
from pharos.wire.ids import DeviceId
from pharos.wire.reality.addresses import Address
from pharos.wire.reality.dial import open_reality
from pharos.wire.reality.params import RealityParameters
from pharos.wire.reality.vless import Command, Flow, Request
from pharos.wire.reality.vlessstream import VlessStream, request_over
from pharos.wire.tasks import open_background
from tests.support.reality import NAME, NODE_KEY, SHORT_ID, node_public_key, settings
from tests.support.sites import running_tcp
from tests.wire.reality.nodes import LOOPBACK, running_site, site_context

HOST = "127.0.0.1"
PATIENCE = 30
PHONE, LAPTOP = DeviceId("phone"), DeviceId("laptop")
IDS = {PHONE: bytes(range(16)), LAPTOP: bytes(range(1, 17))}
OTHER_KEY = bytes(range(1, 33))


@attrs.define
class Told:
    events: list[tuple[EventKind, DeviceId, str]] = attrs.field(factory=list)
    changed: trio.Event = attrs.field(factory=trio.Event)

    def __call__(self, kind: EventKind, *, at: int, device_id: DeviceId, detail: str) -> None:
        assert at > 0
        self.events.append((kind, device_id, detail))
        self.changed.set()

    async def until(self, kind: EventKind) -> str:
        """Wait for an event and return its detail."""
        while True:
            for known, _, detail in self.events:
                if known is kind:
                    return detail
            self.changed = trio.Event()
            await self.changed.wait()


def users(*device_ids: DeviceId) -> dict[DeviceId, RealityUser]:
    return {name: RealityUser(device_id=name, user_id=IDS[name]) for name in device_ids}


def endpoint(target: int, port: int, *, key: bytes = NODE_KEY, generation: int = 1) -> RealityEndpoint:
    parameters = RealityParameters(
        target=f"{HOST}:{target}", server_names=(NAME,), short_ids=(SHORT_ID.hex(),), generation=generation
    )
    return RealityEndpoint(port=port, parameters=parameters, private_key=key)


async def echo(stream: trio.SocketStream) -> None:
    with contextlib.suppress(trio.BrokenResourceError):
        async for data in stream:
            await stream.send_all(data)


@contextlib.asynccontextmanager
async def device(
    port: int, target: int, *, name: DeviceId = PHONE, key: bytes = NODE_KEY
) -> AsyncIterator[VlessStream]:
    """Be a device's connection to an echo by way of the node."""
    request = Request(user_id=IDS[name], command=Command.TCP, target=Address(HOST, target), flow=Flow.VISION)
    async with open_reality(HOST, port, settings(public_key=node_public_key(key))) as outer:
        yield request_over(outer, request)


async def says(stream: VlessStream, data: bytes) -> bytes:
    await stream.send_all(data)
    got = b""
    while len(got) < len(data):
        got += await stream.receive_some()
    return got


@contextlib.contextmanager
def server_process(folder: Path) -> AsyncIterator[Callable[[], subprocess.Popen[bytes]]]:  # type: ignore[misc]
    """Give what starts the server, again if it was killed; it is ended with the block."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
            path = folder / f"notify{len(started)}"
            notified.bind(str(path))
            notified.settimeout(PATIENCE)
            command = [sys.executable, "-m", "pharos.wire.reality.process", "--socket", str(folder / "c.sock")]
            started.append(subprocess.Popen(command, env=os.environ | {"NOTIFY_SOCKET": str(path)}))
            assert notified.recv(100) == b"READY=1"
        return started[-1]

    try:
        yield start
    finally:
        for process in started:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE)


@attrs.frozen
class World:
    driver: RealityDriver
    told: Told
    site: int
    echo: int
    start: Callable[[], subprocess.Popen[bytes]] | None


@contextlib.asynccontextmanager
async def world(folder: Path, name: str) -> AsyncIterator[World]:
    told, place = Told(), Place(hosts=(HOST,), allowed=(LOOPBACK,))
    with contextlib.ExitStack() as stack, trio.fail_after(2 * PATIENCE):
        start = None
        if name == "embedded":
            driver = make_embedded(place=place, on_event=told)
        else:
            start = stack.enter_context(server_process(folder))
            await trio.to_thread.run_sync(start)
            driver = make_userspace(place=place, on_event=told, socket=folder / "c.sock")
        async with running_site(site_context(folder)) as site, running_tcp(echo) as port, open_background(driver.run):
            yield World(driver, told, site.port, port, start)


both = pytest.mark.parametrize("name", ["embedded", "userspace"])


@both
async def test_device_comes_is_counted_and_is_cut_when_it_is_taken_away(tmp_path: Path, name: str) -> None:
    async with world(tmp_path, name) as at:
        assert at.driver.name == name
        port = free_port(socket.SOCK_STREAM)
        plan = RealityPlan(endpoints=(endpoint(at.site, port),), users=users(PHONE, LAPTOP))
        assert at.driver.port == 0
        await at.driver.apply(plan)
        assert at.driver.port == port
        async with device(port, at.echo) as stream:
            assert await says(stream, b"octets") == b"octets"
            assert await at.told.until(EventKind.CONNECTED) == HOST
            counted = await counts(at, PHONE, 6)
            assert counted.received == 6
            assert counted.last_handshake > 0
            await at.driver.apply(attrs.evolve(plan, users=users(LAPTOP)), reasons={PHONE: "expired"})
            assert await at.told.until(EventKind.DISCONNECTED) == "expired"
            with pytest.raises(trio.BrokenResourceError):
                await stream.receive_some()
        assert PHONE not in {one.device_id for one in await at.driver.read_counters()}


@both
async def test_endpoint_before_is_served_beside_the_new_one_and_cuts_nobody(tmp_path: Path, name: str) -> None:
    async with world(tmp_path, name) as at:
        port, spare = free_port(socket.SOCK_STREAM), free_port(socket.SOCK_STREAM)
        old, new = endpoint(at.site, port), endpoint(at.site, port, key=OTHER_KEY, generation=2)
        await at.driver.apply(RealityPlan(endpoints=(old,), users=users(PHONE)))
        async with device(port, at.echo) as stream:
            assert await says(stream, b"before") == b"before"
            before = attrs.evolve(old, port=spare)
            await at.driver.apply(RealityPlan(endpoints=(new, before), users=users(PHONE)))
            assert await says(stream, b"after") == b"after"
            async with device(port, at.echo, key=OTHER_KEY) as newer, device(spare, at.echo) as older:
                assert await says(newer, b"new") == b"new"
                assert await says(older, b"old") == b"old"
            (counted,) = await at.driver.read_counters()
            assert counted.received == len(b"beforeafternewold")
            await at.driver.apply(RealityPlan(endpoints=(new,), users=users(PHONE)))
            assert await says(stream, b"still") == b"still"
            await closed(spare)
        assert [kind for kind, _, _ in at.told.events] == [EventKind.HANDSHAKE, EventKind.CONNECTED]


@both
async def test_policy_closes_what_users_may_reach(tmp_path: Path, name: str) -> None:
    async with world(tmp_path, name) as at:
        port = free_port(socket.SOCK_STREAM)
        policy = Policy(closed=("127.0.0.1/32",))
        await at.driver.apply(RealityPlan(endpoints=(endpoint(at.site, port),), users=users(PHONE), policy=policy))
        async with device(port, at.echo) as stream:
            await stream.send_all(b"octets")
            with pytest.raises(trio.BrokenResourceError):
                assert await stream.receive_some() == b"", "nothing comes back"
                raise trio.BrokenResourceError


@both
async def test_port_that_somebody_else_has_is_said_and_the_other_endpoint_is_served(tmp_path: Path, name: str) -> None:
    async with world(tmp_path, name) as at:
        port = free_port(socket.SOCK_STREAM)
        before = endpoint(at.site, at.echo, key=OTHER_KEY, generation=2)
        with pytest.raises(EngineError, match="in use"):
            await at.driver.apply(RealityPlan(endpoints=(endpoint(at.site, port), before), users=users(PHONE)))
        async with device(port, at.echo) as stream:
            assert await says(stream, b"served") == b"served"


async def test_server_that_was_killed_is_told_its_plan_again_and_counts_on(tmp_path: Path) -> None:
    async with world(tmp_path, "userspace") as at:
        assert at.start is not None
        port = free_port(socket.SOCK_STREAM)
        await at.driver.apply(RealityPlan(endpoints=(endpoint(at.site, port),), users=users(PHONE)))
        async with device(port, at.echo) as stream:
            assert await says(stream, b"one") == b"one"
        assert [one.received for one in await at.driver.read_counters()] == [3]
        await trio.to_thread.run_sync(functools.partial(kill_server, tmp_path))
        await trio.to_thread.run_sync(at.start)
        while True:
            with contextlib.suppress(Exception):
                async with device(port, at.echo) as stream:
                    assert await says(stream, b"four") == b"four"
                    break
            await trio.sleep(0.05)
        assert [one.received for one in await at.driver.read_counters()] == [7]


async def test_driver_without_a_server_says_so_and_tells_the_plan_when_it_comes(tmp_path: Path) -> None:
    told = Told()
    driver = make_userspace(place=Place(hosts=(HOST,), allowed=(LOOPBACK,)), on_event=told, socket=tmp_path / "c.sock")
    with trio.fail_after(2 * PATIENCE), server_process(tmp_path) as start:
        async with running_site(site_context(tmp_path)) as site, running_tcp(echo) as port, open_background(driver.run):
            served = free_port(socket.SOCK_STREAM)
            plan = RealityPlan(endpoints=(endpoint(site.port, served),), users=users(PHONE))
            with pytest.raises(EngineError):
                await driver.apply(plan)
            await trio.to_thread.run_sync(start)
            await until(lambda: driver.port == served)
            async with device(served, port) as stream:
                assert await says(stream, b"there") == b"there"


async def test_embedded_servers_end_with_their_agent_alone(tmp_path: Path) -> None:
    async with world(tmp_path, "embedded") as at:
        with pytest.raises(EngineError, match="with its agent"):
            await at.driver.restart()


async def counts(at: World, device_id: DeviceId, sent: int) -> PeerCounters:
    """Return a device's counters once so much was sent to it, which is counted a moment after it has arrived."""
    while True:
        found = {one.device_id: one for one in await at.driver.read_counters()}
        if device_id in found and found[device_id].sent >= sent:
            return found[device_id]
        await trio.sleep(0.02)


async def closed(port: int) -> None:
    """Return once nobody listens on a port: who accepted there leaves a moment after the server has said so."""
    while True:
        try:
            async with await trio.open_tcp_stream(HOST, port):
                pass
        except OSError:
            return


async def until(holds: Callable[[], bool]) -> None:
    """Return once something holds that nobody tells of; the caller's own timeout ends the wait."""
    while True:
        if holds():
            return
        await trio.sleep(0.02)


def kill_server(folder: Path) -> None:
    """Kill whoever listens at the socket."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(folder / "c.sock"))
        pid = int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)[:4], sys.byteorder)
    os.kill(pid, signal.SIGKILL)
