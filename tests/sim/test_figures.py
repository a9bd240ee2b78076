"""What the simulation measures of the promises of security.md §3: on virtual time, so that no machine is too slow.

Seven fleets, some two minutes of one core together.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

import pytest
import trio

from pharos.beacon.ingress import _RETRY_AFTER
from pharos.beacon.limiter import PassageLimiter
from pharos.caravel.errors import NoAnswerError
from pharos.caravel.follow import _Following
from pharos.caravel.profiles.store import ProfileStore
from pharos.caravel.reach import Reach
from pharos.wire.link import LinkState
from pharos.wire.passage.beaconpace import OPENING_BURST, OPENING_RATE, BeaconPace
from pharos.wire.world import inhabiting
from tests.sim.clockwork import run_seeded
from tests.sim.fleet import HELM, SimFleet, Size, found_fleet, open_fleet
from tests.sim.net import Way
from tests.sim.storm import Storm
from tests.support.figures import Fault, record

pytestmark = pytest.mark.sim

WEB_PORT = 18_440


def in_fleet(folder: Path, size: Size, story: Callable[[SimFleet, Storm], Awaitable[None]], *, seed: int = 1) -> None:
    """Found a fleet, and tell a story of it."""

    async def main() -> None:
        async with open_fleet(folder, seed=seed, web_port=WEB_PORT) as fleet:
            await found_fleet(fleet, size)
            with inhabiting(fleet.helm.world):
                await story(fleet, Storm(fleet, random.Random(seed), lambda _text: None))

    run_seeded(seed, main)


def percentile(values: list[float], share: float) -> float:
    """Return the value that this share of all is not above."""
    return sorted(values)[min(len(values) - 1, math.ceil(share * len(values)) - 1)]


# A link that outlives the partition goes on at once. One that was found dead meanwhile waits for its next dial.
@pytest.mark.parametrize("longest", [20.0, 300.0])
def test_partitioned_nodes_converge(tmp_path: Path, longest: float) -> None:
    times: list[float] = []

    async def story(fleet: SimFleet, storm: Storm) -> None:
        for number in range(40):
            cut = storm.chance.sample(list(fleet.nodes.values()), 3)
            for machine in cut:
                fleet.net.put_way(HELM, machine.host, Way(blocked=True))
            verb = ("disable", "enable")[number % 2]
            await fleet.move("devices", "device-0", verb)
            storm.ledger.move(storm.ledger.known["device-0"], {"disable": "disabled", "enable": "active"}[verb])
            await trio.sleep(storm.chance.uniform(1, longest))
            fleet.net.calm()
            healed = trio.current_time()
            while storm.watch.unsettled():
                assert trio.current_time() - healed < 60, storm.watch.unsettled()
                await trio.sleep(0.05)
            times.append(trio.current_time() - healed)

    in_fleet(tmp_path, Size(nodes=6, devices=2), story)
    record(Fault.PARTITION, f"convergence after partitions of up to {longest:.0f} s, p99", percentile(times, 0.99), "s")
    record(
        Fault.PARTITION, f"convergence after partitions of up to {longest:.0f} s, median", percentile(times, 0.5), "s"
    )
    assert percentile(times, 0.99) <= 10


def test_half_open_links_are_found_dead(tmp_path: Path) -> None:
    times: list[float] = []

    async def story(fleet: SimFleet, storm: Storm) -> None:
        board = fleet.helm.value.board
        for _ in range(24):
            machine = storm.chance.choice(list(fleet.nodes.values()))
            member = machine.value.node.keeping.standing.membership.identity.id
            await trio.sleep(storm.chance.uniform(0, 60))
            await machine.lose_power()
            lost = trio.current_time()
            while board.of(member).state is LinkState.UP:  # noqa: ASYNC110 -- a board tells nobody
                await trio.sleep(0.1)
            times.append(trio.current_time() - lost)
            await machine.start()
            while board.of(member).state is not LinkState.UP:  # noqa: ASYNC110
                await trio.sleep(0.1)

    in_fleet(tmp_path, Size(nodes=4, devices=1), story)
    record(Fault.BAD_NETWORK, "a peer that lost its power is found dead, longest of 24", max(times), "s")
    assert max(times) <= 45 + 1


def test_a_clock_that_jumps_ends_no_link(tmp_path: Path) -> None:
    lost = 0

    async def story(fleet: SimFleet, storm: Storm) -> None:
        nonlocal lost
        hour = 3600.0
        for machine in (fleet.helm, *fleet.nodes.values(), *fleet.beacons.values()):
            for jump in (-300 * 24 * hour, -hour, hour, 20 * hour):
                links = [one for one in fleet.net.connections if one.ends[0].host == HELM]
                machine.world.skew = jump
                await trio.sleep(100)
                lost += len([one for one in links if one not in fleet.net.connections])
            machine.world.skew = 0.0
            await trio.sleep(100)
        await storm.heal()

    in_fleet(tmp_path, Size(nodes=3, devices=1), story)
    record(Fault.CLOCK_JUMP, "links lost to 24 jumps of clocks, of -300 days to 20 hours", lost)
    assert lost == 0


def test_restored_record_loses_no_revocation_and_no_later_device(tmp_path: Path) -> None:
    async def story(fleet: SimFleet, storm: Storm) -> None:
        await storm.keep_copy()
        for _ in range(10):
            await storm.enrol()
            await storm.move()
            await storm.regroup()
            await storm.sync()
            # Looks for versions that went down, for whom is served though revoked, and that later devices are held.
            await storm.restore()
        await storm.end()

    in_fleet(tmp_path, Size(nodes=4, devices=4), story)
    record(Fault.OLD_BACKUP, "rollbacks accepted in 10 restores", 0)
    record(Fault.OLD_BACKUP, "revocations and later devices lost in 10 restores", 0)


# -- 10,000 devices, of which only the waiting is real


class Relay:
    """One that is away for a while, and then lets through what a beacon does."""

    def __init__(self, away: float, chance: random.Random) -> None:
        self.back_at = away
        self.asked: Counter[int] = Counter()
        self.let_in: Counter[int] = Counter()
        self.last = 0.0
        self._limiter = PassageLimiter()
        self._pace = BeaconPace()
        self._chance = chance

    async def ask(self) -> None:
        """Get through to helm, which opens passages at its own pace. Raises: NoAnswerError"""
        now = trio.current_time()
        if now < self.back_at:
            raise NoAnswerError("nobody is there")
        self.asked[int(now)] += 1
        if (refusal := self._limiter.admit(now, stranger=None)) is not None:
            failure = NoAnswerError("busy")
            failure.retry_after = self._chance.uniform(*_RETRY_AFTER[refusal])
            raise failure
        await self._pace.wait_for_call("gate")
        await self._pace.wait_for_handshake("gate")
        self.last = trio.current_time()
        self.let_in[int(self.last)] += 1


def come_back(away: float, *, jitter: bool = True) -> Relay:
    """Have 10,000 devices lose a relay at once, and come back to it."""
    chance = random.Random(1)
    relay = Relay(away, chance)

    async def device() -> None:
        draw = chance.random if jitter else lambda: 1.0
        reach = Reach(random=draw)
        following = _Following(store=cast("ProfileStore", None), random=draw, told=lambda _outcome: None, reach=reach)
        retry_after = 0.0
        while True:
            await following.wait(retry_after)
            try:
                await relay.ask()
            except NoAnswerError as error:
                retry_after = error.retry_after
            else:
                return

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(10_000):
                nursery.start_soon(device)

    run_seeded(1, main)
    return relay


@pytest.mark.parametrize("away", [0.0, 5.0, 60.0])
def test_10000_devices_come_back(away: float) -> None:
    relay = come_back(away)
    record(
        Fault.RESTART_STORM, f"10,000 devices are back after a relay was away for {away:.0f} s", relay.last - away, "s"
    )
    busiest = max(relay.let_in.values())
    record(Fault.RESTART_STORM, f"passages that helm opens in the busiest second, after {away:.0f} s", busiest, "/s")
    assert relay.last - away <= 90
    assert busiest <= OPENING_RATE + OPENING_BURST


def test_without_jitter_all_would_come_at_once_turns_red() -> None:
    relay = come_back(60.0, jitter=False)
    assert max(relay.asked.values()) > 9_000
