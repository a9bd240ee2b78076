"""Where the journeys take place: an open fleet in the lab, and its people, who act by the commands they would type.

helm is at its desk behind a NAT, buoys and beacons stand at hosts of the lab, and devices are whole machines that
`caravel up` leads through the fleet by a TUN interface. Each of them is a process of its own in its own namespace.
"""

from __future__ import annotations

import functools
import json
import shutil
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import attrs
import trio

from pharos.buoy.state import DesiredState
from pharos.helm.cli.api import ask
from pharos.wire.desired import Desired
from tests.support.commands import program
from tests.support.fleet import TARGET
from tests.system.lab.fleet import LabFleet
from tests.system.lab.knock import Watch
from tests.system.lab.network import Lab, open_lab
from tests.system.lab.traffic import round_trips
from tests.system.machinehost import MachineHost, open_machine_host

SLACK: Final = 3
"""For a machine that does much else at the same time. What is promised, in seconds, without it:"""
CUT: Final = 2.0
"""A node or device that is revoked is out."""
FAIL_OVER: Final = 5.0
"""A device is at another node."""
COLD_START: Final = 3.0
"""A device that knows its nodes has a tunnel; a node that was killed serves."""
CONVERGED: Final = 10.0
"""Nodes have what helm wants."""

BUOYS: Final = ("buoya", "buoyb")
BEACONS: Final = ("beacon",)
POLL_INTERVAL: Final = 0.05
ROUND: Final = 20
"""Echoes that one ping(8) sends, in a second."""


class Scene(LabFleet):
    """A fleet that runs; ``open_scene`` makes it. Its members are called as their hosts."""

    def __init__(self, lab: Lab, stack: AsyncExitStack) -> None:
        super().__init__(lab, family=4)
        self.desk = "helm"
        """The host at which the operator sits."""
        self.record = self.folder / "helm"
        """helm's state directory."""
        self.kit = ""
        """The recovery kit, as it was printed."""
        self.watch: Watch | None = None
        """Counts what comes to helm from outside, if somebody wanted that."""
        self._stack = stack

    @property
    def folder(self) -> Path:
        """Where all states and logs are, by host."""
        return self.lab.folder

    # -- the operator

    async def helm(self, *words: str, stdin: str = "") -> Any:
        """Type a command of helm's at the desk, and return the JSON that it prints. Raises: CommandError."""
        command = [*program("helm"), *words, "--state", str(self.record), "--json"]
        return json.loads(await self.lab.run(self.desk, *command, stdin=stdin))

    async def ask(
        self, method: str, path: str, body: dict[str, Any] | None = None, *, version: int | None = None
    ) -> dict[str, Any]:
        """Ask helm as its commands do, without the second that a command takes to start."""
        return await ask(self.record, method, path, body, version)

    async def start_helm(self) -> None:
        """Make a fleet as its owner does, and run its helm."""
        self.kit = (await self.helm("init", "--personal", "--yes"))["recovery_kit"]
        await self.run_helm()
        # The sites that REALITY would stand before are of the Internet, which is not here.
        await self.ask("PUT", "/api/v1/settings/reality.targets", {"value": [TARGET]}, version=0)

    async def run_helm(self) -> None:
        """Run helm at the desk, by the record that is there."""
        words = [*program("helm"), "run", "--state", str(self.record), "--beacon", "off"]
        self.processes["helm"] = await self.lab.start(self.desk, *words, name=self.record.name, ready=True)

    async def lose_desk(self) -> None:
        """Have the laptop gone, with all that was on it."""
        await self.kill("helm")
        await trio.to_thread.run_sync(shutil.rmtree, self.record)

    async def restore(self, backup: str, *, at: str) -> Any:
        """Sit down at another host, and make a helm of a backup there; it does not run yet."""
        self.desk, self.record = at, self.folder / "restored"
        return await self.helm("restore", backup, "--kit", "-", stdin=self.kit)

    async def names(self, noun: str, state: str = "active") -> set[str]:
        """Return the names of the nodes, relays or devices in a state."""
        return {one["name"] for one in (await self.ask("GET", f"/api/v1/{noun}"))["items"] if one["state"] == state}

    # -- what happens to machines

    async def kill(self, name: str) -> None:
        """End a daemon as a power cut would."""
        await self.processes[name].kill()

    async def start_again(self, name: str) -> float:
        """Start a daemon that was ended; return after how many seconds it was ready."""
        begun = time.monotonic()
        await self.processes[name].start(ready=True)
        return time.monotonic() - begun

    # -- devices

    async def join(self, host: str) -> MachineHost:
        """Have a machine join the fleet as a device, and wait until every node serves it."""
        before = len(await self.names("devices"))
        opened = open_machine_host(self, self.folder, host=host, peers=before + 1)
        return await self._stack.enter_async_context(opened)

    async def join_as(self, name: str, host: str, *, link: str = "") -> Path:
        """Have one more device join, at a host, which does not connect yet; return its directory.

        It comes by a ``link`` that it was sent, or by one that helm writes now.
        """
        state = self.folder / f"caravel-{name}"
        command = [*program("caravel"), "enroll", "-", "--state", str(state)]
        await self.lab.run(host, *command, stdin=link or await self.invite(name))
        return state

    async def doctor(self, name: str, host: str) -> dict[str, str]:
        """Have a device that is not connected look at what it finds from a host; return a level for each thing."""
        words = ["doctor", "--count", "1", "--state", str(self.folder / f"caravel-{name}"), "--json"]
        said = await self.lab.run(host, *program("caravel"), *words, check=False)
        return {finding["id"]: finding["level"] for finding in json.loads(said)["findings"]}

    async def inner_addresses(self, device: MachineHost) -> dict[str, str]:
        """Return each node's own address inside the tunnel, by what a device keeps: helm is not asked."""
        listed = await device.caravel("profiles", "--no-sync")
        return {node["name"]: node["addresses"][0] for node in listed["nodes"]}

    async def inner_address(self, device: MachineHost, node: str) -> str:
        """Return that of one node."""
        return (await self.inner_addresses(device))[node]

    # -- when all is as it shall be

    def orders_on_disk(self, node: str) -> Desired:
        """Return what a node would go by if it started now."""
        return DesiredState(self.folder / node).load()

    async def wait_settled(self, peers: int) -> None:
        """Wait until every link is up and every node has applied the newest revision, with so many devices.

        Members that are revoked are not waited for.
        """
        await self.wait_status(functools.partial(_settled, peers=peers))

    async def wait_converged(self, *devices: str) -> float:
        """Wait until helm and its nodes agree on these devices and no others, in what they say and on their disks.

        Returns how many seconds that took.
        """
        begun = time.monotonic()
        picture = await self.wait_status(functools.partial(_settled, peers=len(devices)))
        took = time.monotonic() - begun
        wanted = {device["id"] for device in picture["devices"] if device["name"] in devices}
        assert len(wanted) == len(devices), picture["devices"]
        for node in _active(picture["nodes"]):
            assert set(self.orders_on_disk(node["name"]).peers) == wanted, node["name"]
        return took


def _active(members: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [member for member in members if member["state"] == "active"]


def _settled(picture: dict[str, Any], *, peers: int) -> bool:
    nodes = _active(picture["nodes"])
    return all(member["link"] == "up" for member in (*nodes, *_active(picture["relays"]))) and all(
        node["applied_revision"] == node["desired_revision"] and node["peers"] == peers for node in nodes
    )


@attrs.define
class Echoes:
    """What became of a device's packets while a block lasted; known when it has ended."""

    sent: int = 0
    answered: int = 0

    @property
    def lost(self) -> int:
        return self.sent - self.answered


@asynccontextmanager
async def echoing(device: MachineHost, address: str) -> AsyncIterator[Echoes]:
    """Have a device send an echo each 50 ms to an address while the block lasts; count after it what came back."""
    echoes, over = Echoes(), trio.Event()

    async def send() -> None:
        while not over.is_set():
            echoes.answered += len(await round_trips(device.fleet.lab, device.host, address, count=ROUND))
            echoes.sent += ROUND

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        yield echoes
        over.set()


async def wait_echo(device: MachineHost, address: str) -> float:
    """Wait until an echo from a device to an address is answered; return the seconds that took."""
    begun = time.monotonic()
    while True:
        if await round_trips(device.fleet.lab, device.host, address, count=1, patience=0.25):
            return time.monotonic() - begun
        await trio.sleep(POLL_INTERVAL)


@asynccontextmanager
async def open_scene(
    folder: Path,
    *,
    buoys: Sequence[str] = BUOYS,
    beacons: Sequence[str] = BEACONS,
    stranger: str | None = None,
    timeout: float = 240,
) -> AsyncIterator[Scene]:
    """Have a fleet in a lab, all links up, while the block lasts; the whole journey has ``timeout`` seconds.

    With a ``stranger``, who knocks at helm from that host, its packets are watched from the first on.
    """
    with trio.fail_after(timeout):
        async with open_lab(folder) as lab, AsyncExitStack() as stack:
            scene = Scene(lab, stack)
            if stranger is not None:
                # Before helm dials: a connection that was not seen to begin would count as uninvited.
                scene.watch = Watch(lab, lab.host(stranger))
                await scene.watch.install()
            await scene.start_helm()
            async with trio.open_nursery() as nursery:
                for host in buoys:
                    nursery.start_soon(scene.add_buoy, host)
                for host in beacons:
                    nursery.start_soon(scene.add_beacon, host)
            await scene.wait_settled(peers=0)
            yield scene
            lab.check()
