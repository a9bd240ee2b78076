"""A fleet in a storm: helm is killed, links are cut, nodes come back with old disks, and the invariants hold.

Real daemons, sockets and files; the seed says what happens. After each blow, and once more in the calm, the invariants
of security.md §3 are looked at: I1 what was acknowledged is there; I2 who was revoked is nowhere served; I3 no version
goes down; I4 no tunnel secret leaves its owner; I5 a node serves its last good orders; I6 the audit chain verifies;
I7 what is desired is so.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio

from pharos.caravel.errors import CaravelError, NoAnswerError
from pharos.helm.config import SOCKET_NAME
from pharos.wire.console import CommandError
from pharos.wire.errors import WireError
from pharos.wire.profile import AMNEZIAWG, AmneziaWgAccess
from tests.attacks.test_a59_blind_helm import HelmProcess, files_below, found_in, secrets_of
from tests.sim.strait import Strait
from tests.support.buoy import orders_on_disk
from tests.support.fleet import Fleet, running_fleet

pytestmark = pytest.mark.journey

# More of them by STORM_SEEDS; what takes thousands is the simulation beside this (`make sim`).
SEEDS = range(1, 1 + int(os.environ.get("STORM_SEEDS") or "2"))
LENGTH = 30
BUOYS = ("a", "b")
TIMEOUT = 180
"""Seconds for one seed."""
CUT = 3 * 2.0
"""Seconds within which an online node has cut whoever was revoked, with slack (security.md row 11)."""
HEALED = 40.0
"""Seconds after which a fleet with nothing in its way is what it shall be; a dial comes 30 s after the last at most."""
PATIENCE = 5.0
"""Seconds for a handshake."""

REVOKED, DISABLED, ACTIVE = "revoked", "disabled", "active"
AFTER = {"disable": DISABLED, "enable": ACTIVE, "revoke": REVOKED}

Order = tuple[int, ...]


class Storm:
    """One fleet, what its operator was told, and what was seen of it so far."""

    def __init__(self, fleet: Fleet, nursery: trio.Nursery, chance: random.Random) -> None:
        self.fleet = fleet
        self.chance = chance
        self.helm = HelmProcess(fleet)
        self.up = False
        self.straits: dict[str, Strait] = {}
        self.down: set[str] = set()
        """Nodes without power."""
        self.aged: set[str] = set()
        """Nodes that came back with an old disk, and that helm was not seen to lead since."""
        self.devices: dict[str, str] = {}
        """State by name, as helm acknowledged it."""
        self.doubtful: dict[str, set[str]] = {}
        """Devices that helm was killed over, and what may have become of each."""
        self.stale: set[str] = set()
        """Devices that have not synced since they joined, or since a node got other parameters."""
        self.fences: dict[str, Order] = {}
        self.bundles: dict[str, Order] = {}
        self._nursery = nursery

    async def begin(self) -> None:
        await self.fleet.helm.stop()
        await self.start_helm()
        for name in BUOYS:
            strait = self.straits[name] = Strait(self.fleet.next_address)
            await self._nursery.start(strait.run)
            await self.fleet.add_buoy(name, seen_at=strait.port)
            strait.target = self.fleet.ports[name]["control_port"]
        await self.heal()
        for name in ("ann", "bob", "eve"):
            await self.fleet.enrol(name)
            self.devices[name] = ACTIVE
            self.stale.add(name)

    async def start_helm(self) -> None:
        if self.up:
            return
        # What a killed one left of its socket is none.
        (self.fleet.helm_state / SOCKET_NAME).unlink(missing_ok=True)
        await self.helm.start()
        self.up = True
        for name, possible in self.doubtful.items():
            self.devices[name] = (await self.record(name))["state"]
            assert self.devices[name] in possible
        self.doubtful.clear()

    async def kill_helm(self) -> None:
        if self.up:
            self.up = False
            await killed(self.helm)

    # -- what an operator and his people do

    async def enrol(self) -> None:
        """Let another device join."""
        name = f"device-{len(self.devices)}"
        if self.up:
            # The relay may have no tunnel yet, after a start of helm's.
            with suppress(CaravelError, WireError):
                await self.fleet.enrol(name)
                self.devices[name] = ACTIVE
                self.stale.add(name)

    async def move(self) -> None:
        """Disable, enable or revoke a device."""
        verb, chosen = self.some_act()
        if self.up and chosen:
            await self.fleet.move_device(chosen, verb)
            self.devices[chosen] = AFTER[verb]

    async def move_and_die(self) -> None:
        """Do the same, and kill helm about when it happens."""
        verb, chosen = self.some_act()
        if not self.up or not chosen:
            return
        acknowledged = False

        async def change() -> None:
            nonlocal acknowledged
            with suppress(CommandError, WireError):
                await self.fleet.move_device(chosen, verb)
                acknowledged = True

        async with trio.open_nursery() as nursery:
            nursery.start_soon(change)
            await trio.sleep(self.chance.uniform(0.0, 0.08))
            await self.kill_helm()
        if acknowledged:
            self.devices[chosen] = AFTER[verb]
        else:
            self.doubtful[chosen] = {self.devices[chosen], AFTER[verb]}
        await self.start_helm()

    async def reissue(self) -> None:
        """Give a node other parameters."""
        if self.up:
            node = await self.record(self.chance.choice(BUOYS), "nodes")
            # A conflict, as long as it still serves those before.
            with suppress(CommandError):
                await self.fleet.ask("POST", f"/api/v1/nodes/{node['id']}/reissue", version=node["version"])
                self.stale |= set(self.devices)

    async def sync(self) -> None:
        """Let a device ask for its bundle, twice: the second time says what it made of the first."""
        name = self.chance.choice(list(self.devices))
        async with self.fleet.client(name) as client:
            with suppress(CaravelError, WireError):
                await client.sync()
                await client.sync()
                self.stale.discard(name)

    # -- what happens to machines and networks

    async def lose_power(self) -> None:
        """Stop a node, or start it if it is down."""
        name = self.chance.choice(BUOYS)
        if name in self.down:
            await self.start_buoy(name)
        else:
            await self.fleet.buoys[name].stop()
            self.down.add(name)

    async def start_buoy(self, name: str) -> None:
        await self.fleet.buoys[name].start()
        self.down.discard(name)

    async def swap_disk(self) -> None:
        """Take a snapshot of a node's disk, or let it come back with the one that was taken."""
        name = self.chance.choice(BUOYS)
        folder, snapshot = self.fleet.folder / name, self.fleet.folder / f"{name}-snapshot"
        if name not in self.down:
            await self.fleet.buoys[name].stop()
            self.down.add(name)
        if snapshot.exists():
            shutil.rmtree(folder)
            snapshot.rename(folder)
            self.fences.pop(name, None)
            self.aged.add(name)
        else:
            shutil.copytree(folder, snapshot)
        await self.start_buoy(name)

    async def cut(self) -> None:
        """Cut the connections of helm and a node."""
        self.straits[self.chance.choice(BUOYS)].cut()

    async def disturb(self) -> None:
        """Let a link be closed, slow, or cut in the midst of whatever comes."""
        strait = self.straits[self.chance.choice(BUOYS)]
        strait.calm()
        match self.chance.randrange(3):
            case 0:
                strait.closed = True
            case 1:
                strait.delay = 0.02
            case _:
                strait.allowance = self.chance.randrange(1, 12_000)
        strait.cut()

    async def calm(self) -> None:
        """Let the network be whole again."""
        for strait in self.straits.values():
            strait.calm()

    async def toggle_helm(self) -> None:
        """Kill helm, or start it if it is away."""
        await (self.kill_helm() if self.up else self.start_helm())

    async def second_helm(self) -> None:
        """Start another helm on a copy of the record, beside the one that leads: it gets no node."""
        await self.heal()
        await self.kill_helm()
        folder = self.fleet.folder / "second"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.fleet.helm_state, folder / "h", ignore=shutil.ignore_patterns(SOCKET_NAME))
        terms = {name: self.kept(name)["fence"][1] for name in BUOYS}
        await self.start_helm()
        await self.settled()
        # Until it has told them so, the nodes obey the one before.
        await self.fleet.until(lambda: all(self.kept(name)["fence"][1] > terms[name] for name in BUOYS))
        before = {name: self.kept(name)["fence"] for name in BUOYS}
        other = HelmProcess(Fleet(folder, self._nursery))
        await other.start()
        try:
            # Each node says no, and is asked again.
            await other.fleet.wait_status(
                lambda picture: (
                    {e["node"] for e in picture["events"] if "another helm" in e["text"]}
                    >= {node["id"] for node in picture["nodes"]}
                )
            )
            assert {name: self.kept(name)["fence"] for name in BUOYS} == before
        finally:
            with trio.CancelScope(shield=True):
                await killed(other)

    # -- looking

    async def look(self) -> None:
        """Check what has to hold at any moment."""
        for name in BUOYS:
            fence = tuple(self.kept(name)["fence"])
            assert fence >= self.fences.get(name, fence), f"I3: {name} goes back"
            self.fences[name] = fence
        for name in self.devices:
            kept = self.fleet.device_store(name).bundle()
            if kept is not None:
                assert kept[0] >= self.bundles.get(name, kept[0]), f"I3: {name} goes back"
                self.bundles[name] = kept[0]
        await self.look_at_tunnel()
        if self.up:
            shown = (await self.fleet.ask("GET", "/api/v1/devices?limit=200"))["items"]
            assert {device["name"]: device["state"] for device in shown} == self.devices, "I1"
            assert (await self.fleet.ask("GET", "/api/v1/audit/verify"))["ok"], "I6"
            await self.look_for_revoked({device["id"] for device in shown if device["state"] == REVOKED})

    async def look_at_tunnel(self) -> None:
        """Check that a node which runs serves whom it was told to, whatever became of helm."""
        nodes = [name for name in BUOYS if name not in self.down | self.aged]
        devices = [name for name, state in self.devices.items() if state == ACTIVE and name not in self.stale]
        if not nodes or not devices:
            return
        node, device = self.chance.choice(nodes), self.chance.choice(devices)
        # A node writes what it is told before it serves it, and whoever is too early for that, is not the next time.
        if not await self.is_served(node, device):
            assert await self.is_served(node, device), f"I5: {node} does not serve {device}"

    async def is_served(self, node: str, device: str) -> bool:
        """Tell whether a device gets its tunnel to a node, if that is told to serve it."""
        if self.fleet.device_store(device).enrolled().device_id not in self.peers(node):
            return True
        async with self.fleet.client(device) as client:
            (way,) = [seen.access[0] for seen in client.profile().nodes if seen.name == node]
            # To find the way to a node that has not heard of its re-issue takes a device longer.
            assert isinstance(way, AmneziaWgAccess)
            if way.parameters.as_mapping() != self.kept(node)["awg"]:
                return True
            async with client.connect(node, protocol=AMNEZIAWG, inner="netstack") as tunnel:
                try:
                    await tunnel.wait_up(PATIENCE)
                except NoAnswerError:
                    return False
                return True

    async def look_for_revoked(self, revoked: set[str]) -> None:
        """Check that nodes which helm reaches have cut whoever is revoked."""
        reachable = {name for name, strait in self.straits.items() if strait.is_calm} - self.down
        deadline = trio.current_time() + CUT
        while True:
            nodes = (await self.fleet.ask("GET", "/api/v1/status"))["nodes"]
            linked = {node["name"] for node in nodes if node["link"] == "up"} & reachable
            serving = {name: revoked & self.peers(name) for name in linked if revoked & self.peers(name)}
            if not serving:
                return
            assert trio.current_time() < deadline, f"I2: {serving}"
            await trio.sleep(0.05)

    async def heal(self) -> None:
        """End whatever is disturbed."""
        await self.calm()
        for name in sorted(self.down):
            await self.start_buoy(name)
        await self.start_helm()
        await self.settled()

    async def settled(self) -> None:
        """Wait until what is desired is so: invariant I7."""
        for name in BUOYS:
            node = await self.record(name, "nodes")
            await self.fleet.ask("POST", f"/api/v1/nodes/{node['id']}/push", version=node["version"])
        active = [name for name, state in self.devices.items() if state == ACTIVE]
        wanted = {self.fleet.device_store(name).enrolled().device_id for name in active}
        try:
            with trio.fail_after(HEALED):
                await self.fleet.wait_settled(peers=len(active))
                # The picture may be of the link before, to a node that has come back with an old disk since.
                await self.fleet.until(lambda: all(self.peers(name) == wanted for name in BUOYS))
                await self.fleet.wait_settled(peers=len(active))
        except trio.TooSlowError:
            picture = await self.fleet.ask("GET", "/api/v1/status")
            held = {name: self.peers(name) for name in BUOYS}
            pytest.fail(f"I7: {wanted} are desired, {held} there, {picture['nodes']}, {picture['relays']}")
        self.aged.clear()

    async def look_for_secrets(self) -> None:
        """Check that nothing which opens a tunnel ever came to helm's disk or log."""
        secrets = {
            f"{secret} of {name}": value
            for name in self.devices
            if self.fleet.device_store(name).bundle() is not None
            for secret, value in secrets_of(self.fleet.device_store(name)).items()
        }
        assert secrets
        assert found_in(files_below(self.fleet.helm_state), secrets) == set(), "I4"
        assert found_in(iter([self.helm.log.read_bytes()]), secrets) == set(), "I4"

    # -- helpers

    def some_act(self) -> tuple[str, str]:
        """Draw what to do to whom; nobody if there is none to whom it could be done."""
        verb = self.chance.choice(["disable", "disable", "enable", "enable", "revoke"])
        wanted = {"disable": {ACTIVE}, "enable": {DISABLED}, "revoke": {ACTIVE, DISABLED}}[verb]
        candidates = [name for name, state in self.devices.items() if state in wanted]
        # Somebody has to stay.
        if verb == "revoke" and len(candidates) < 3:
            candidates = []
        return verb, self.chance.choice(candidates) if candidates else ""

    async def record(self, name: str, noun: str = "devices") -> dict[str, Any]:
        (found,) = (await self.fleet.ask("GET", f"/api/v1/{noun}?name={name}"))["items"]
        return dict(found)

    def kept(self, name: str) -> dict[str, Any]:
        """What a node has on disk of its orders."""
        return orders_on_disk(self.fleet.folder / name)

    def peers(self, name: str) -> set[str]:
        return {peer["device_id"] for peer in self.kept(name)["peers"]}


async def killed(helm: HelmProcess) -> None:
    """Kill a helm as a power cut would."""
    assert helm.process is not None
    helm.process.kill()
    await trio.to_thread.run_sync(helm.process.wait)


BLOWS: dict[Callable[[Storm], Awaitable[None]], int] = {
    Storm.enrol: 2,
    Storm.move: 6,
    Storm.move_and_die: 2,
    Storm.reissue: 1,
    Storm.sync: 6,
    Storm.lose_power: 3,
    Storm.swap_disk: 2,
    Storm.cut: 2,
    Storm.disturb: 3,
    Storm.calm: 2,
    Storm.toggle_helm: 4,
    Storm.second_helm: 1,
}
"""What can happen, and how often of all."""


@pytest.mark.parametrize("seed", SEEDS)
async def test_invariants_hold_in_a_storm_and_after_it(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    async with running_fleet(tmp_path, buoys=(), timeout=TIMEOUT) as fleet, trio.open_nursery() as nursery:
        storm = Storm(fleet, nursery, chance)
        try:
            await storm.begin()
            for number in range(LENGTH):
                (blow,) = chance.choices(list(BLOWS), list(BLOWS.values()))
                print(f"{number}: {blow.__name__}")
                await blow(storm)
                await storm.look()
            await storm.heal()
            await storm.look()
            await storm.look_for_secrets()
        finally:
            with trio.CancelScope(shield=True):
                await storm.kill_helm()
        nursery.cancel_scope.cancel()
