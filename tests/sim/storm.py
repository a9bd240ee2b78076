"""A storm: what operators, people, machines and networks do to a fleet, drawn by a seed."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import trio

from pharos.caravel.errors import CaravelError, HelmRefusedError
from pharos.wire.console import CommandError, Exit
from pharos.wire.errors import StateFileError, WireError
from tests.sim.backup import Copy, restore_record, take_copy
from tests.sim.fleet import CREW, HELM, TAGS, SimFleet
from tests.sim.ledger import ACTIVE, AFTER, BEFORE, Ledger
from tests.sim.machines import Machine
from tests.sim.net import Way
from tests.sim.watch import BrokenInvariantError, Watch

HEALED: Final = 90.0
"""Seconds after which a fleet with nothing in its way is at rest. A connection that died unseen is found dead 45 s
later, and the dial that follows comes 30 s after the last at most."""
RESTORED: Final = 200.0
"""The same after a restore: nodes wait until the lease of the helm that was before is over, and that helm is gone."""
LOOK_EVERY: Final = 0.5
# No more devices than that: a seed is to cost a second.
MAX_DEVICES: Final = 10
LONGEST_SKEW: Final = 6 * 3600.0

# What may become of a request whose answer did not come.
_FAILURES: Final = (CaravelError, WireError, OSError)


class Storm:
    """One fleet, its ledger, and what can happen to it."""

    def __init__(self, fleet: SimFleet, chance: random.Random, note: Callable[[str], None]) -> None:
        self.fleet = fleet
        self.chance = chance
        self.ledger = Ledger()
        self.watch = Watch(fleet, self.ledger)
        self.note = note
        self.copies: list[Copy] = []
        for name in fleet.devices:
            self._joined(name)

    # -- operators and people

    async def enrol(self) -> None:
        """Let another device join."""
        if self.fleet.helm.up and len(self.fleet.devices) < MAX_DEVICES:
            machine = self.fleet.know_device(len(self.fleet.devices))
            self.ledger.joining += 1
            with suppress(CommandError, ValueError, *_FAILURES), trio.move_on_after(60):
                await self.fleet.enrol(machine.name)
                self.ledger.joining -= 1
                self._joined(machine.name)
                await machine.start()

    async def move(self) -> None:
        """Disable, enable or revoke a device."""
        verb, name = self._some_act()
        if name and self.fleet.helm.up:
            await self._change(
                lambda: self.fleet.move("devices", name, verb),
                done=lambda: self.ledger.move(self.ledger.known[name], AFTER[verb]),
                doubt=lambda: self.ledger.doubt_state(self.ledger.known[name], AFTER[verb]),
            )

    async def regroup(self) -> None:
        """Say anew which nodes may be used."""
        tags = tuple(tag for tag in TAGS if self.chance.random() < 0.6)

        async def change() -> None:
            (crew,) = (await self.fleet.ask("GET", f"/api/v1/groups?q={CREW}"))["items"]
            path = f"/api/v1/groups/{crew['id']}"
            await self.fleet.ask("PATCH", path, {"node_tags": list(tags)}, version=crew["version"])

        if self.fleet.helm.up:
            await self._change(
                change,
                done=lambda: setattr(self.ledger, "tags", tags),
                doubt=lambda: self.ledger.doubt_tags(tags),
            )

    async def reissue(self) -> None:
        """Give a node other parameters."""
        if self.fleet.helm.up:
            name = self._some_node().name
            await self._change(lambda: self.fleet.move("nodes", name, "reissue"))

    async def act_and_die(self) -> None:
        """Do one of these, and end helm at some checkpoint of it."""
        if not self.fleet.helm.up:
            return
        act = self.chance.choice([self.move, self.move, self.regroup, self.reissue])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(act)
            for _ in range(self.chance.randrange(120)):
                await trio.lowlevel.checkpoint()
            if self.chance.random() < 0.3:
                await trio.sleep(self.chance.uniform(0, 0.05))
            await self._end(self.fleet.helm)
        await self._start(self.fleet.helm)

    async def sync(self) -> None:
        """Let a device ask for its profile."""
        name = self.chance.choice(sorted(self.ledger.names.values()))
        with suppress(*_FAILURES), trio.move_on_after(60):
            await self.fleet.sync(name)

    async def keep_copy(self) -> None:
        """Keep a copy of the record, to restore it some day."""
        if self.fleet.helm.up:
            self.copies.append(await take_copy(self.fleet, self.ledger))

    async def restore(self) -> None:
        """Replace the record by an old one, by the rules for that."""
        if not self.copies:
            await self.keep_copy()
            return
        # What no node has heard of yet is lost with the record, and nobody promises otherwise.
        await self.heal()
        copy = self.chance.choice(self.copies)
        # Epochs are told apart by the second, and no real restore takes less.
        await trio.sleep(2)
        await self.fleet.helm.stop()
        restore_record(self.fleet, self.ledger, copy)
        await self.fleet.helm.start()
        await self.settle(RESTORED)

    # -- machines

    async def toggle_helm(self) -> None:
        """End helm, or start it."""
        await (self._end(self.fleet.helm) if self.fleet.helm.up else self._start(self.fleet.helm))

    async def restart_helm(self) -> None:
        """End helm and start it at once."""
        await self._end(self.fleet.helm)
        await self._start(self.fleet.helm)

    async def toggle_member(self) -> None:
        """End a node, beacon or device, or start it."""
        machine = self.chance.choice([*self.fleet.beacons.values(), *self.fleet.nodes.values(), *self._devices()])
        await (self._end(machine) if machine.up else self._start(machine))

    async def restart_storm(self) -> None:
        """End everything, and start it again in any order."""
        machines = [*self.fleet.machines, *self._devices()]
        self.chance.shuffle(machines)
        for machine in machines:
            await self._end(machine)
        self.chance.shuffle(machines)
        for machine in machines:
            await self._start(machine)

    async def sleep(self) -> None:
        """Let helm or a device sleep for a while, and wake."""
        machine = self.chance.choice([self.fleet.helm, *self._devices()])
        if machine.powered:
            seconds = self.chance.uniform(5, 300)
            self.fleet.net.silence(machine.host)
            await trio.sleep(seconds)
            machine.world.sleep += seconds
            self.fleet.net.wake(machine.host)

    async def skew(self) -> None:
        """Let a machine's clock jump."""
        machine = self.chance.choice([self.fleet.helm, *self.fleet.nodes.values(), *self._devices()])
        machine.world.skew = self.chance.choice([0.0, self.chance.uniform(-LONGEST_SKEW, LONGEST_SKEW)])

    async def trouble_disk(self) -> None:
        """Let a disk be full or broken, or well again."""
        kind = self.chance.choice([list(self.fleet.nodes.values()), list(self.fleet.beacons.values()), self._devices()])
        disk = self.chance.choice(kind).world.disk
        if disk.full or disk.broken:
            disk.full = disk.broken = False
        else:
            setattr(disk, self.chance.choice(["full", "broken"]), True)

    async def fill_helm(self) -> None:
        """Let helm's disk be full, or not."""
        if self.fleet.helm.up:
            self._limit_pages(0 if self.chance.random() < 0.5 else 2**30)

    # -- networks

    async def disturb(self) -> None:
        """Change what a way is like, of connections that are and that come."""
        one, other = self._some_way()
        chance = self.chance
        way = chance.choice(
            [
                Way(blocked=True),
                Way(blocked=True),
                Way(delay=chance.uniform(0.02, 1.0)),
                Way(loss=chance.uniform(0.05, 0.4)),
                Way(rate=chance.uniform(200, 20_000)),
                Way(allowance=chance.randrange(12_000)),
                Way(one_sided=chance.randrange(6_000)),
                Way(delay=chance.uniform(0.02, 0.5), loss=chance.uniform(0, 0.2), allowance=chance.randrange(40_000)),
            ]
        )
        self.note(f"{trio.current_time():.3f} {one} to {other}: {way}")
        self.fleet.net.put_way(one, other, way)
        if chance.random() < 0.5:
            self.fleet.net.cut(one, other)

    async def cut(self) -> None:
        """End what connections there are on some way."""
        self.fleet.net.cut(*self._some_way())

    async def partition(self) -> None:
        """Let helm reach only some of its fleet."""
        for machine in [*self.fleet.nodes.values(), *self.fleet.beacons.values()]:
            if self.chance.random() < 0.4:
                self.fleet.net.put_way(HELM, machine.host, Way(blocked=True))

    async def calm(self) -> None:
        """Let all networks be whole."""
        self.fleet.net.calm()

    # -- healing

    async def heal(self) -> None:
        """End all trouble, and wait until the fleet is at rest. Raises: BrokenInvariantError."""
        self.fleet.net.calm()
        for machine in [*self.fleet.machines, *self.fleet.devices.values()]:
            machine.world.skew = 0.0
            machine.world.disk.full = machine.world.disk.broken = False
        if self.fleet.helm.up:
            self._limit_pages(2**30)
        for machine in [*self.fleet.machines, *self._devices()]:
            await self._start(machine)
        await self.settle()

    async def settle(self, patience: float = HEALED) -> None:
        """Wait until what is desired is so. Raises: BrokenInvariantError."""
        await self.watch.look()
        deadline = trio.current_time() + patience
        while wrong := self.watch.unsettled():
            if trio.current_time() > deadline:
                raise BrokenInvariantError(f"I7: {patience:.0f} s after all is well: {'; '.join(wrong)}")
            await trio.sleep(LOOK_EVERY)
        # Every node has been read.
        self.ledger.unread.clear()
        await self.watch.look()

    async def end(self) -> None:
        """Heal, and look whether devices get what they shall. Raises: BrokenInvariantError."""
        await self.heal()
        for name, id_ in sorted(self.ledger.known.items()):
            state = self.ledger.states[id_]
            if state == ACTIVE:
                await self._sync_in_time(name)
            elif await self._hears(name) is None:
                raise BrokenInvariantError(f"I2: {name} is {state}, and helm talks to it")
        self.watch.look_at_orders()
        self.watch.look_for_secrets()

    async def _sync_in_time(self, name: str) -> None:
        deadline = trio.current_time() + HEALED
        while error := await self._hears(name):
            if trio.current_time() > deadline or isinstance(error, HelmRefusedError):
                raise BrokenInvariantError(f"I7: {name} cannot sync: {error!r}")
            await trio.sleep(max(getattr(error, "retry_after", 0.0), 1.0))

    async def _hears(self, name: str) -> Exception | None:
        """Let a device sync; return what went wrong."""
        try:
            with trio.fail_after(60):
                await self.fleet.sync(name)
        except (*_FAILURES, trio.TooSlowError) as error:
            return error
        return None

    # -- helpers

    async def _change(
        self,
        act: Callable[[], Awaitable[None]],
        *,
        done: Callable[[], None] = lambda: None,
        doubt: Callable[[], None] = lambda: None,
    ) -> None:
        """Ask helm for something, and note what came of it."""
        try:
            await act()
        except CommandError as error:
            if error.exit_code == Exit.UNREACHABLE:
                doubt()
        except (ValueError, StateFileError):
            # helm went away between the question and the answer, or was about to.
            doubt()
        else:
            done()

    async def _end(self, machine: Machine) -> None:
        """End a machine's daemon in one of three ways."""
        if not machine.up:
            return
        if machine.name in self.fleet.nodes:
            self.watch.goes_down(machine)
        end = self.chance.choice([machine.stop, machine.kill, machine.lose_power])
        self.note(f"{trio.current_time():.3f} {machine.name}: {end.__name__}")
        await end()

    async def _start(self, machine: Machine) -> None:
        if machine.up or (machine.name in self.fleet.devices and machine.name not in self.ledger.names.values()):
            return
        if machine is not self.fleet.helm:
            machine.world.disk.full = machine.world.disk.broken = False
        self.note(f"{trio.current_time():.3f} {machine.name}: start")
        await machine.start()
        if machine.name in self.fleet.nodes:
            self.watch.came_up(machine)

    def _joined(self, name: str) -> None:
        self.ledger.join(self.fleet.store(name).enrolled().device_id, name)

    def _devices(self) -> list[Machine]:
        return [self.fleet.devices[name] for name in self.ledger.names.values()]

    def _some_node(self) -> Machine:
        return self.chance.choice(list(self.fleet.nodes.values()))

    def _some_way(self) -> tuple[str, str]:
        members = [*self.fleet.nodes.values(), *self.fleet.beacons.values()]
        one = self.chance.choice(members)
        if one.name in self.fleet.beacons and self.chance.random() < 0.5:
            return self.chance.choice(self._devices()).host, one.host
        return HELM, one.host

    def _some_act(self) -> tuple[str, str]:
        """Draw what to do to whom; nobody if there is none to whom it could be done."""
        verb = self.chance.choice(["disable", "disable", "enable", "enable", "revoke"])
        known = self.ledger.known.items()
        candidates = [name for name, id_ in known if self.ledger.states[id_] in BEFORE[verb]]
        # Somebody has to stay.
        if verb == "revoke" and len(candidates) < 3:
            candidates = []
        return verb, self.chance.choice(candidates) if candidates else ""

    def _limit_pages(self, pages: int) -> None:
        """Let helm's record be no larger than that many pages, or than it is."""
        db = self.fleet.helm.value.store.core._writer._db
        db.execute(f"PRAGMA max_page_count = {pages or 1}")


BLOWS: Final[dict[Callable[[Storm], Awaitable[None]], int]] = {
    Storm.enrol: 3,
    Storm.move: 8,
    Storm.regroup: 3,
    Storm.reissue: 2,
    Storm.act_and_die: 4,
    Storm.sync: 4,
    Storm.keep_copy: 2,
    Storm.restore: 2,
    Storm.toggle_helm: 3,
    Storm.restart_helm: 2,
    Storm.toggle_member: 5,
    Storm.restart_storm: 1,
    Storm.sleep: 2,
    Storm.skew: 2,
    Storm.trouble_disk: 3,
    Storm.fill_helm: 2,
    Storm.disturb: 6,
    Storm.cut: 3,
    Storm.partition: 2,
    Storm.calm: 3,
}
"""What can happen, and how often of all."""


async def rage(storm: Storm, *, steps: int) -> None:
    """Let so many blows fall, and look after each; then heal. Raises: BrokenInvariantError."""
    await storm.settle()
    for number in range(steps):
        (blow,) = storm.chance.choices(list(BLOWS), list(BLOWS.values()))
        storm.note(f"{trio.current_time():.3f} {number}: {blow.__name__}")
        await blow(storm)
        await trio.sleep(storm.chance.expovariate(1 / 4))
        await storm.watch.look()
    storm.note(f"{trio.current_time():.3f} heal")
    await storm.end()
