"""One soak from its start to its verdict."""

from __future__ import annotations

import functools
import json
import random
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Final

import attrs
import trio

from tests.soak.faults import Storm
from tests.soak.fleet import DAEMONS, WAYS, SoakFleet, Working, small_disks
from tests.soak.judge import MB, Growth, Life, judge
from tests.soak.logs import errors_in
from tests.soak.operator import Desk, Operator, every_user, open_desk, seen_by_page
from tests.soak.sampling import Sampler, disk
from tests.system.lab.network import open_lab
from tests.system.lab.processes import Process

PAGES: Final = 2
CALM: Final = 0.4
"""Of the time, at its end, that load goes on without faults: what grows is seen best while nothing dies."""
SPARED: Final = 0.2
"""Of the time, before the calm, in which faults end no daemon."""
EVERY: Final = 10.0
"""Seconds between two lines of news."""
SETTLE: Final = 90.0
"""Seconds in which everything has to be well again."""
POLL: Final = 0.2
SILENCE: Final = 5.0
"""Seconds in which a device that was revoked must hear nothing."""
MOST_WAL: Final = 64 * MB
"""SQLite gives a WAL back to its size of 4 MB whenever nobody reads an old one."""


@attrs.define(kw_only=True)
class Outcome:
    """What a soak has found."""

    minutes: float
    seed: int
    faults: int
    acts: int
    echoes: int
    lost: list[str]
    """What was promised and is not there, each in a line."""
    growths: list[Growth]
    grows: list[str]
    errors: list[str]
    unjudged: int
    """Incarnations that lived too short."""
    disk: dict[str, int]

    @property
    def ok(self) -> bool:
        return not (self.lost or self.grows or self.errors)

    def as_json(self) -> str:
        """Return it in one line."""
        grown = {
            name: {
                "memory_mb_per_10_min": round(max(one.rise for one in self.of(name)) / MB, 2),
                "descriptors": max(one.descriptors for one in self.of(name)),
                "threads": max(one.threads for one in self.of(name)),
            }
            for name in sorted({growth.name for growth in self.growths})
        }
        facts = {"minutes": self.minutes, "seed": self.seed, "faults": self.faults, "acts": self.acts}
        facts |= {"echoes": self.echoes, "lost": len(self.lost), "errors": len(self.errors)}
        return json.dumps({"soak": {**facts, "growth": grown, "ok": self.ok}})

    def of(self, name: str) -> list[Growth]:
        return [growth for growth in self.growths if growth.name == name]

    def table(self) -> Iterable[str]:
        """Give the lines of the table, and of what is wrong."""
        titles = f"{'memory':>9} {'per 10 min':>11} {'descriptors':>12} {'more':>5} {'threads':>8}"
        yield f"{'process':<10} {'for':>6} {titles}"
        for one in sorted(self.growths, key=lambda growth: (growth.name, -growth.seconds)):
            memory, rise = f"{one.memory / MB:.1f} MB", f"{one.rise / MB:+.2f} MB"
            counts = f"{one.most_descriptors:>12} {one.descriptors:>+5} {one.threads:>+8}"
            yield f"{one.name:<10} {one.seconds:>4.0f} s {memory:>9} {rise:>11} {counts}"
        yield f"{self.unjudged} incarnations lived too short to be judged"
        yield "databases: " + ", ".join(f"{name} {size / MB:.1f} MB" for name, size in self.disk.items())
        for what, lines in (("lost", self.lost), ("grows", self.grows), ("error", self.errors)):
            yield from (f"{what}: {line}" for line in lines)


@attrs.define
class Course:
    """A soak that runs."""

    fleet: SoakFleet
    desk: Desk
    operator: Operator
    storm: Storm
    sampler: Sampler
    pages: list[Process]
    say: Callable[[str], None]
    lost: list[str] = attrs.field(factory=list)
    echoes: int = 0
    calm_since: float = 0.0
    """When the last fault was over, by Trio's clock."""

    async def run(self, minutes: float) -> None:
        """Load and faults, load alone, and a look at what is left."""
        self.storm.spares_after = trio.current_time() + minutes * 60 * (1 - CALM - SPARED)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.sampler.run)
            nursery.start_soon(self._tell)
            async with trio.open_nursery() as acting:
                acting.start_soon(self.operator.run)
                with trio.move_on_after(minutes * 60 * (1 - CALM)):
                    await self.storm.run()
                self.calm_since = trio.current_time()
                await trio.sleep(minutes * 60 * CALM)
                acting.cancel_scope.cancel()
            await self._look()
            nursery.cancel_scope.cancel()

    async def _tell(self) -> None:
        begun = trio.current_time()
        while True:
            await trio.sleep(EVERY)
            seconds = int(trio.current_time() - begun)
            sizes = [
                f"{name} {sample.memory / MB:.0f} MB {sample.descriptors} fd"
                for name, sample in self.sampler.latest().items()
                if name in DAEMONS
            ]
            tally = (
                f"{len(self.storm.done)} faults, now {self.storm.now}; {self.desk.acked} acts; {self._count()} echoes"
            )
            self.say(f"soak {seconds // 60:02}:{seconds % 60:02}  {tally}; {', '.join(sizes)}")

    def _count(self) -> int:
        last = [device.last() for device in self.fleet.devices.values()]
        return sum(told["tcp"] + told["udp"] for told in last if told is not None)

    # -- at the end

    async def _look(self) -> None:
        """Everything has to be well again, and nothing may have been lost on the way."""
        await self._within("the fleet settles", self._settled)
        revoked = {device.name: device.last() for device in self.fleet.devices.values() if device.revoked}
        since = {device.name: _answered(device) for device in self.fleet.live}
        for device in self.fleet.live:
            await self._within(f"{device.name} connects", functools.partial(_has_more, device, since[device.name]))
        await trio.sleep(SILENCE)
        for name, before in revoked.items():
            # It was told to be gone before the fleet settled.
            if before is not None and self.fleet.devices[name].last() is not None:
                heard = _answered(self.fleet.devices[name]) - (before["tcp"] + before["udp"])
                if heard > 0:
                    self.lost.append(f"{name} was revoked, and was served {heard} more times")
        self._look_at_messages()
        await self._look_at_the_record()

    async def _settled(self) -> bool:
        picture = await self.desk.ask("GET", "/api/v1/status")
        members = [*picture["nodes"], *picture["relays"]]
        applied = all(node["applied_revision"] == node["desired_revision"] for node in picture["nodes"])
        peers = {node["peers"] for node in picture["nodes"]}
        return applied and {member["link"] for member in members} == {"up"} and peers == {len(self.fleet.live)}

    async def _within(self, what: str, holds: Callable[[], Awaitable[bool]]) -> None:
        with trio.move_on_after(SETTLE) as waiting:
            while not await holds():  # noqa: ASYNC110 -- other processes say nothing of their own accord
                await trio.sleep(POLL)
        if waiting.cancelled_caught:
            self.lost.append(f"within {SETTLE:g} s not: {what}")

    def _look_at_messages(self) -> None:
        for device in self.fleet.devices.values():
            told = device.last()
            if told is not None and told["wrong"]:
                self.lost.append(f"{device.name} was answered wrongly {told['wrong']} times")
        self.echoes = self._count()

    async def _look_at_the_record(self) -> None:
        self.lost += self.operator.ledger.missing(await every_user(self.desk))
        verified = await self.desk.ask("GET", "/api/v1/audit/verify")
        if not verified["ok"]:
            self.lost.append(f"the audit does not verify: {verified}")
        wanted = set(self.operator.ledger.names)
        for page in self.pages:
            await self._within(f"{page.log.stem} is told of every change", functools.partial(_was_told, page, wanted))


def _answered(device: Working) -> int:
    told = device.last()
    return 0 if told is None else int(told["tcp"] + told["udp"])


async def _has_more(device: Working, since: int) -> bool:
    told = device.last()
    return told is not None and told["tcp"] > 0 and _answered(device) > since


async def _was_told(page: Process, wanted: set[str]) -> bool:
    return wanted <= await trio.to_thread.run_sync(seen_by_page, page.log)


async def soak(folder: Path, minutes: float, seed: int, say: Callable[[str], None] = print) -> Outcome:
    """Soak a fleet for some minutes, and say what came of it."""
    chance = random.Random(seed)
    with small_disks(folder):
        async with open_lab(folder) as lab, trio.open_nursery() as nursery:
            fleet = SoakFleet(lab)
            begun = time.monotonic()
            await fleet.up(nursery)
            for number, (host, protocol) in enumerate(WAYS):
                await fleet.add_device(f"device{number}", host, protocol)
            say(f"soak: a fleet of {len(DAEMONS)} daemons is up in {time.monotonic() - begun:.0f} s; seed {seed}")
            pages = [await _open_page(fleet, number) for number in range(PAGES)]
            async with open_desk(fleet.helm_socket) as desk:
                operator = Operator(desk, random.Random(chance.random()))
                storm = Storm(fleet, desk, random.Random(chance.random()))
                course = Course(fleet, desk, operator, storm, Sampler(fleet.pids), pages, say)
                await course.run(minutes)
            sizes = disk({name: fleet.state_of(name) for name in DAEMONS})
            await fleet.stop_devices()
            nursery.cancel_scope.cancel()
        keep(folder / "samples.jsonl", course.sampler.lives)
        growths, grows = judge(course.sampler.lives, course.calm_since)
        grows += [f"{name}: its databases take {size / MB:.0f} MB" for name, size in sizes.items() if size > MOST_WAL]
        return Outcome(
            minutes=minutes,
            seed=seed,
            faults=len(storm.done),
            acts=desk.acked,
            echoes=course.echoes,
            lost=course.lost,
            growths=growths,
            grows=grows,
            errors=[line for name in DAEMONS for line in errors_in(folder / f"{name}.log", storm.done)],
            unjudged=len(course.sampler.lives) - len(growths),
            disk=sizes,
        )


def keep(path: Path, lives: Iterable[Life]) -> None:
    """Write what was sampled, a line for each incarnation."""
    with path.open("w") as file:
        for life in lives:
            file.write(json.dumps(attrs.asdict(life)) + "\n")


async def _open_page(fleet: SoakFleet, number: int) -> Process:
    words = [sys.executable, "-m", "pharos", "helm", "watch", "--json", "--since", "0"]
    return await fleet.lab.start("helm", *words, "--state", str(fleet.state_of("helm")), name=f"page{number}")
