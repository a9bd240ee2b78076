"""A whole fleet in one process: helm, beacons, buoys and devices, each on a machine of its own."""

from __future__ import annotations

import functools
import random
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import attrs
import trio

from pharos.beacon.app import run_beacon
from pharos.beacon.config import BeaconConfig
from pharos.caravel.enrolment import enroll
from pharos.caravel.errors import HelmRefusedError
from pharos.caravel.follow import follow
from pharos.caravel.profiles.store import ProfileStore
from pharos.caravel.reach import Reach
from pharos.caravel.sync import sync
from pharos.helm.app import run_helm
from pharos.helm.ca.authority import create_fleet
from pharos.helm.ca.vault import create_vault
from pharos.helm.cli.api import ask
from pharos.helm.config import HelmConfig
from pharos.helm.model.fleet import Posture
from pharos.helm.store.database import open_store
from pharos.helm.store.settings import put_setting
from pharos.wire.agent import AgentGrant, AgentKeys
from pharos.wire.chance import fraction
from pharos.wire.files import open_state_directory
from pharos.wire.pki.roles import Role
from pharos.wire.seal.ticket import TicketLink
from pharos.wire.world import inhabiting, utc_now
from tests.sim.daemons import AWG_PORT, CONTROL_PORT, LightBuoy, run_light_buoy
from tests.sim.machines import Machine, copy_folder
from tests.sim.net import SimNet, open_net
from tests.sim.world import SimFactory, SimWorld
from tests.support.helm import sample_act

HELM: Final = "10.0.0.1"
# A site of nobody: what a node learns of its target comes from no network.
TARGET: Final = "192.0.2.9:443 site.example"
INGRESS_PORT: Final = 443
TUNNEL_PORT: Final = 7444
TAGS: Final = ("t0", "t1", "t2")
CREW: Final = "crew"
"""The group that everybody is in; it says which nodes may be used, by their tags."""


def tag_of(number: int) -> str:
    """Return the tag of a node."""
    return TAGS[number % len(TAGS)]


@attrs.frozen(kw_only=True)
class Size:
    """How large a fleet is."""

    nodes: int
    beacons: int = 1
    devices: int = 4


class SimFleet:
    """A fleet; `open_fleet` makes it, of files that are there or of none."""

    def __init__(
        self, folder: Path, net: SimNet, nursery: trio.Nursery, *, seed: int, web_port: int, age: float
    ) -> None:
        self.folder = folder
        self.net = net
        self.chance = random.Random(f"{seed} fleet")
        self.nodes: dict[str, Machine] = {}
        self.beacons: dict[str, Machine] = {}
        self.devices: dict[str, Machine] = {}
        """On each runs what holds a passage and syncs whenever helm says so."""
        self._nursery = nursery
        self._seed = seed
        self._age = age
        config = HelmConfig(state=folder / "h", web_port=web_port, beacon="off")
        self.helm = self._machine("helm", HELM, folder / "h", functools.partial(run_helm, config))
        self.helm.is_durable = self._is_durable

    # -- machines

    def world(self, host: str) -> SimWorld:
        """Return a machine's world."""
        return SimWorld(host, self.net, seed=self._seed, age=self._age)

    def _machine(self, name: str, host: str, folder: Path, run: Callable[..., Any]) -> Machine:
        return Machine(name, folder, self.world(host), self._nursery, run)

    def know_node(self, number: int) -> Machine:
        """Have a node's machine, whose files may be there or not."""
        name, host = f"node-{number}", f"10.1.{number // 250}.{number % 250 + 1}"
        folder = self.folder / name
        self.nodes[name] = self._machine(name, host, folder, functools.partial(run_light_buoy, folder, host))
        return self.nodes[name]

    def know_beacon(self, number: int) -> Machine:
        """Have a beacon's machine."""
        name, host = f"beacon-{number}", f"10.2.0.{number + 1}"
        folder = self.folder / name
        config = BeaconConfig(state=folder, host=host, ingress_port=INGRESS_PORT, tunnel_port=TUNNEL_PORT)
        self.beacons[name] = self._machine(name, host, folder, functools.partial(run_beacon, config))
        return self.beacons[name]

    def know_device(self, number: int) -> Machine:
        """Have a device's machine."""
        name, host = f"device-{number}", f"10.3.{number // 250}.{number % 250 + 1}"
        folder = self.folder / name
        self.devices[name] = self._machine(name, host, folder, functools.partial(run_follower, folder))
        return self.devices[name]

    @property
    def machines(self) -> list[Machine]:
        """All that run a daemon."""
        return [self.helm, *self.beacons.values(), *self.nodes.values()]

    def plane_peers(self, name: str) -> set[str]:
        """Return whom a node that runs would carry packets for."""
        buoy: LightBuoy = self.nodes[name].value
        return set(buoy.plane.serving.peers)

    # -- joining

    def init_helm(self) -> None:
        """Make helm's files."""
        with inhabiting(self.helm.world):
            state = open_state_directory(self.helm.folder)
            vault, data_key = create_vault(state)
            with open_store(state, create=True) as store:
                db: sqlite3.Connection = store.core._writer._db
                create_fleet(db, vault, data_key, Posture.PERSONAL, now=utc_now())
                put_setting(db, sample_act(), "reality.targets", 0, [TARGET])

    async def add_node(self, number: int, *, start: bool = True) -> None:
        """Let a node join, and start it."""
        machine = self.know_node(number)
        with inhabiting(machine.world):
            keys = AgentKeys(open_state_directory(machine.folder), Role.NODE)
            said: dict[str, Any] = {"name": machine.name, "address": machine.host, "tags": [tag_of(number)]}
            said |= {"control_port": CONTROL_PORT}
            said |= {"awg_port": AWG_PORT, "request": keys.make_request().render()}
            answer = await self.ask("POST", "/api/v1/nodes", said)
            keys.install(AgentGrant.parse(answer["grant"]), now=utc_now())
        if start:
            await machine.start()

    async def add_beacon(self, number: int) -> None:
        """Let a beacon join, and start it."""
        machine = self.know_beacon(number)
        with inhabiting(machine.world):
            keys = AgentKeys(open_state_directory(machine.folder), Role.RELAY)
            said: dict[str, Any] = {"name": machine.name, "address": machine.host}
            said |= {"request": keys.make_request().render()}
            said |= {"ingress_port": INGRESS_PORT, "tunnel_port": TUNNEL_PORT}
            answer = await self.ask("POST", "/api/v1/relays", said)
            keys.install(AgentGrant.parse(answer["grant"]), now=utc_now())
        await machine.start()

    # -- what an operator does

    async def ask(
        self, method: str, path: str, body: dict[str, Any] | None = None, *, version: int | None = None
    ) -> Any:
        """Ask helm, as its operator does on its machine. Raises: CommandError."""
        with inhabiting(self.helm.world):
            return await ask(self.helm.folder, method, path, body, version)

    async def record(self, noun: str, name: str) -> dict[str, Any]:
        """Return the record of that name. Raises: CommandError."""
        (found,) = (await self.ask("GET", f"/api/v1/{noun}?name={name}"))["items"]
        return dict(found)

    async def move(self, noun: str, name: str, verb: str) -> None:
        """Disable, enable, push to, re-issue … a record. Raises: CommandError."""
        record = await self.record(noun, name)
        await self.ask("POST", f"/api/v1/{noun}/{record['id']}/{verb}", version=record["version"])

    # -- what devices do

    def store(self, name: str) -> ProfileStore:
        """Return what a device keeps."""
        return ProfileStore(self.folder / name)

    async def enrol(self, name: str) -> None:
        """Let a device join. Raises: CommandError, CaravelError, WireError."""
        answer = await self.ask("POST", "/api/v1/tickets", {"device_name": name, "seconds": 900})
        world = self.devices[name].world
        with inhabiting(world):
            await enroll(self.store(name), TicketLink.parse(answer["link"]), reach=Reach(random=world.chance.random))

    async def sync(self, name: str) -> None:
        """Let a device ask for its newest profile. Raises: CaravelError, WireError."""
        world = self.devices[name].world
        with inhabiting(world):
            await sync(self.store(name), reach=Reach(random=world.chance.random))

    # -- looking

    def _is_durable(self, database: str) -> bool:
        file = getattr(self.helm.value.store, database.removesuffix(".db"))
        found: int = file._writer._db.execute("PRAGMA synchronous").fetchone()[0]
        return found >= 2


async def run_follower(folder: Path, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Have a device stay in touch with helm, until it hears that it was revoked, or is cancelled."""
    task_status.started()
    store, random_ = ProfileStore(folder), fraction
    with suppress(HelmRefusedError):
        await follow(store, random=random_, told=lambda _outcome: None, reach=Reach(random=random_))


@asynccontextmanager
async def open_fleet(
    folder: Path, *, seed: int, web_port: int, age: float = 0.0, note: Callable[[str], None] = lambda _text: None
) -> AsyncIterator[SimFleet]:
    """Have the machines of a fleet, none of which is known yet, and a network, while the block lasts.

    ``age`` is in seconds, of the files that it will begin with.
    """
    trio.socket.set_custom_socket_factory(SimFactory())
    async with open_net(random.Random(f"{seed} net"), note) as net, trio.open_nursery() as nursery:
        yield SimFleet(folder, net, nursery, seed=seed, web_port=web_port, age=age)
        nursery.cancel_scope.cancel()


async def found_fleet(fleet: SimFleet, size: Size) -> None:
    """Make a fleet of that size, of which every machine runs and every device has joined."""
    fleet.init_helm()
    await fleet.helm.start()
    for number in range(size.beacons):
        await fleet.add_beacon(number)
    for number in range(size.nodes):
        await fleet.add_node(number)
    await wait_linked(fleet)
    await fleet.ask("POST", "/api/v1/groups", {"name": CREW, "everybody": True})
    for number in range(size.devices):
        await fleet.enrol(fleet.know_device(number).name)
    await wait_settled(fleet)


async def resume_fleet(fleet: SimFleet, size: Size, template: Path) -> None:
    """Start a fleet of that size from the files of a template."""
    for number in range(size.beacons):
        fleet.know_beacon(number)
    for number in range(size.nodes):
        fleet.know_node(number)
    for machine in fleet.machines:
        copy_folder(template / machine.folder.name, machine.folder)
    for number in range(size.devices):
        device = fleet.know_device(number)
        copy_folder(template / device.name, device.folder)
    for machine in reversed(fleet.machines):
        await machine.start()


async def wait_linked(fleet: SimFleet) -> None:
    """Return when every node and beacon that is switched on has its link."""
    await _until(fleet, lambda picture: all(one["link"] == "up" for one in (*picture["nodes"], *picture["relays"])))


async def wait_settled(fleet: SimFleet) -> None:
    """Return when every link is up and every node is what it shall be, as far as helm knows."""
    await _until(
        fleet,
        lambda picture: (
            all(one["link"] == "up" for one in (*picture["nodes"], *picture["relays"]))
            and all(node["applied_revision"] == node["desired_revision"] for node in picture["nodes"])
        ),
    )


async def _until(fleet: SimFleet, holds: Callable[[dict[str, Any]], bool]) -> None:
    while not holds(await fleet.ask("GET", "/api/v1/status")):  # noqa: ASYNC110 -- helm tells it when it is asked
        await trio.sleep(0.25)
