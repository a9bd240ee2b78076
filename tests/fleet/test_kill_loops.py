"""helm and a node killed again and again while they work, as processes: nothing that was acknowledged is lost.

helm's callers contend for a few records, and all that they were told is one history that has to be linearizable over
the kills. It costs 60 s, which are mostly starts of Python.
"""

from __future__ import annotations

import functools
import random
import resource
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import attrs
import httpx
import pytest
import trio

from pharos.demo.processes import free_port
from pharos.helm.config import SOCKET_NAME
from pharos.wire.agent import AgentGrant, AgentKeys
from pharos.wire.files import open_state_directory
from pharos.wire.noise.keys import KeyPair
from pharos.wire.pki.roles import Role
from tests.support.buoy import orders_on_disk
from tests.support.contending import FIRST, contend, make_users, read
from tests.support.figures import Fault, record
from tests.support.fleet import HOST, Fleet, running_fleet
from tests.support.helm import now, open_helm
from tests.support.helmstory import check_record
from tests.support.linearizable import History, Told
from tests.support.nouns import API

pytestmark = pytest.mark.journey

CALLERS = 8
USERS = 8
KILLS = 4
PACE = 0.1
"""Seconds between two devices that are added."""
DESCRIPTORS = 64
# More than the limit leaves to a process that has just started.
CROWD = 100

LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, ({0}, {0}))
from pharos.cli import main
main(prog_name="pharos")
"""


@asynccontextmanager
async def running(log: Path, *words: str, descriptors: int = 0) -> AsyncIterator[trio.Process]:
    """Run one of our programs; it is killed at the end of the block, if it has not ended."""
    begin = ["-c", LIMITED.format(descriptors)] if descriptors else ["-m", "pharos"]
    with log.open("ab") as out:
        process = await trio.lowlevel.open_process(
            [sys.executable, *begin, *words], stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


@attrs.frozen
class Site:
    """A helm's directory, and how its socket is asked."""

    state: Path
    web_port: int

    @asynccontextmanager
    async def helm(self, *, descriptors: int = 0) -> AsyncIterator[tuple[trio.Process, httpx.AsyncClient]]:
        """Run it; the client is there once it answers."""
        words = ["helm", "run", "--state", str(self.state), "--web-port", str(self.web_port), "--beacon", "off"]
        log = self.state.with_name("log")
        async with running(log, *words, descriptors=descriptors) as process, self.client() as client:
            await answers(client)
            yield process, client

    @asynccontextmanager
    async def client(self) -> AsyncIterator[httpx.AsyncClient]:
        transport = httpx.AsyncHTTPTransport(uds=str(self.state / SOCKET_NAME))
        async with httpx.AsyncClient(transport=transport, base_url="http://helm", timeout=30) as client:
            yield client


async def answers(client: httpx.AsyncClient) -> None:
    """Wait until helm does; the test's own timeout ends the wait."""
    while True:
        with suppress(httpx.HTTPError):
            if (await client.get(f"{API}/status")).status_code == 200:
                return
        await trio.sleep(0.02)


@pytest.fixture
async def site(tmp_path: Path) -> Site:
    (tmp_path / "helm").mkdir(mode=0o700)
    async with open_helm(tmp_path / "helm"):
        pass
    return Site(tmp_path / "helm", free_port(socket.SOCK_STREAM))


async def work_until_killed(site: Site, history: History, users: list[str], chance: random.Random, how: str) -> None:
    """Let callers contend, and kill helm in the middle of it."""
    async with site.helm() as (process, client):
        if not users:
            users += await make_users(client, [f"user {number}" for number in range(USERS)])
        async with trio.open_nursery() as nursery:
            for _ in range(CALLERS):
                seed = chance.randrange(1_000_000)
                alive = functools.partial(_is_alive, process)
                nursery.start_soon(functools.partial(contend, client, history, users, seed, goes_on=alive))
            calls = len(history.calls) + chance.randrange(400, 700)
            # Nobody calls out how many there were.
            while len(history.calls) < calls:  # noqa: ASYNC110
                await trio.sleep(0.01)
            if how == "memory":
                starve(process.pid)
                with trio.move_on_after(1):
                    await process.wait()
            process.kill()
            await process.wait()


def _is_alive(process: trio.Process) -> bool:
    return process.poll() is None


def starve(pid: int) -> None:
    """Let a process have no more memory than it has."""
    (size,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmSize:"))
    limit = int(size.split()[1]) * 1024
    resource.prlimit(pid, resource.RLIMIT_AS, (limit, limit))


async def test_nothing_acknowledged_is_lost_however_often_helm_is_killed(site: Site) -> None:
    history, chance = History(), random.Random(13)
    users: list[str] = []
    with trio.fail_after(180):
        for number in range(KILLS):
            await work_until_killed(site, history, users, chance, "memory" if number == KILLS - 1 else "kill")
            check_record(site.state)
        async with site.helm() as (_, client):
            for user in users:
                await read(client, history, user, {})
    assert history.faults(FIRST) == []
    acknowledged = sum(call.told is Told.WRITTEN for call in history.calls)
    assert acknowledged > 200
    record(Fault.KILLED_HELM, "acknowledged changes lost by a helm that was killed under load", 0, f"of {acknowledged}")
    record(Fault.EXHAUSTION, "acknowledged changes lost by a helm that ran out of memory", 0, "")


async def test_helm_goes_on_after_it_ran_out_of_descriptors(site: Site) -> None:
    with trio.fail_after(60):
        async with site.helm(descriptors=DESCRIPTORS) as (process, client):
            await crowd(str(site.state / SOCKET_NAME))
            await crowd((HOST, site.web_port))
            await answers(client)
            (user,) = await make_users(client, ["after it"])
            assert user
            assert process.poll() is None
    record(Fault.EXHAUSTION, f"listeners of helm that died of {CROWD} connections with {DESCRIPTORS} descriptors", 0)


async def crowd(address: tuple[str, int] | str) -> None:
    """Come with more connections than there are descriptors for, and leave again."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    streams = []
    for _ in range(CROWD):
        stream = socket.socket(family)
        stream.setblocking(False)  # noqa: FBT003 -- the standard library's
        with suppress(BlockingIOError):
            stream.connect(address)
        streams.append(stream)
    # The last either waits in the kernel's queue, or is sent away: nobody has to hear of it.
    with trio.move_on_after(0.5):
        await trio.lowlevel.wait_readable(streams[-1])
    for stream in streams:
        stream.close()


# -- a node


async def join_node(fleet: Fleet, state: Path) -> list[str]:
    """Let a node join, and return the words that run it as a process."""
    ports = {"control_port": free_port(socket.SOCK_STREAM), "awg_port": free_port(socket.SOCK_DGRAM)}
    keys = AgentKeys(open_state_directory(state), Role.NODE)
    answer = await fleet.ask(
        "POST",
        "/api/v1/nodes",
        {"name": "n", "address": HOST, "tags": [], "request": keys.make_request().render()} | ports,
    )
    keys.install(AgentGrant.parse(answer["grant"]), now=now())
    config = state.with_name("buoy.toml")
    config.write_text('awg_driver = "embedded"\nreality_driver = "embedded"\nnetwork = false\nrootless_exit = false\n')
    fleet.ports["n"] = ports
    return [
        *("buoy", "run", "--state", str(state), "--config", str(config), "--host", HOST),
        *("--control-port", str(ports["control_port"]), "--awg-port", str(ports["awg_port"])),
        *("--reality-port", str(free_port(socket.SOCK_STREAM))),
    ]


async def add_devices(fleet: Fleet, made: list[str]) -> None:
    """Add one device after the other."""
    while True:
        await trio.sleep(PACE)
        keys = {name: KeyPair.generate().public.hex() for name in ("sealing", "derive", "noise", "awg")}
        body = {"name": f"device {len(made)}", "keys": keys}
        made.append((await fleet.ask("POST", "/api/v1/devices", body))["id"])


async def settled(fleet: Fleet, made: list[str]) -> set[str]:
    """Return devices of which the node has said that it serves them."""
    known = set(made)
    wanted = (await fleet.ask("GET", "/api/v1/status"))["nodes"][0]["desired_revision"]
    await fleet.wait_status(lambda picture: picture["nodes"][0]["applied_revision"] >= wanted)
    return known


def on_disk(state: Path) -> set[str]:
    return {peer["device_id"] for peer in orders_on_disk(state)["peers"]}


async def test_no_peer_is_lost_however_often_a_node_is_killed(tmp_path: Path) -> None:
    chance, state = random.Random(13), tmp_path / "n"
    made: list[str] = []
    async with running_fleet(tmp_path, buoys=(), timeout=180, reality=False) as fleet:
        words = await join_node(fleet, state)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(add_devices, fleet, made)
            for _ in range(KILLS - 1):
                async with running(tmp_path / "log", *words) as process:
                    served = await settled(fleet, made)
                    await trio.sleep(chance.uniform(0, 0.5))
                    served |= await settled(fleet, made)
                    process.kill()
                    await process.wait()
                assert served <= on_disk(state), "a peer that was acknowledged is gone"
            nursery.cancel_scope.cancel()
        began = trio.current_time()
        async with running(tmp_path / "log", *words, descriptors=DESCRIPTORS) as process:
            await up(fleet.ports["n"]["control_port"])
            record(
                Fault.KILLED_BUOY,
                "from the start of the process until it listens again",
                trio.current_time() - began,
                "s",
            )
            everybody = await settled(fleet, made)
            assert everybody <= on_disk(state)
            # And once more than it has descriptors for.
            await crowd((HOST, fleet.ports["n"]["control_port"]))
            process_lives = process.poll() is None
            await fleet.wait_status(lambda picture: picture["nodes"][0]["link"] == "up")
            await up(fleet.ports["n"]["control_port"])
            assert process_lives
    assert len(made) > 20
    record(Fault.KILLED_BUOY, "peers lost by a node that was killed while orders came", 0, f"of {len(made)}")
    record(Fault.EXHAUSTION, f"listeners of a node that died of {CROWD} connections with {DESCRIPTORS} descriptors", 0)


async def up(port: int) -> None:
    """Wait until somebody listens there."""
    while True:
        with suppress(OSError):
            async with await trio.open_tcp_stream(HOST, port):
                return
        await trio.sleep(0.01)


async def test_relay_goes_on_after_it_ran_out_of_descriptors(tmp_path: Path) -> None:
    async with running_fleet(tmp_path, buoys=(), timeout=90, reality=False) as fleet:
        assert fleet.beacon is not None
        await fleet.beacon.stop()
        ports = fleet.ports["gate"]
        words = [
            *("beacon", "run", "--state", str(tmp_path / "gate"), "--host", HOST),
            *("--ingress-port", str(ports["ingress_port"]), "--tunnel-port", str(ports["tunnel_port"])),
        ]
        async with running(tmp_path / "log", *words, descriptors=DESCRIPTORS) as process:
            await fleet.wait_status(lambda picture: picture["relays"][0]["link"] == "up")
            for port in ports.values():
                await crowd((HOST, port))
            await up(ports["ingress_port"])
            await up(ports["tunnel_port"])
            await fleet.wait_status(lambda picture: picture["relays"][0]["link"] == "up")
            enrolled = await fleet.enrol()
            assert enrolled.device_id
            assert process.poll() is None
    record(Fault.EXHAUSTION, f"listeners of a relay that died of {CROWD} connections with {DESCRIPTORS} descriptors", 0)
