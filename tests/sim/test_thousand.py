"""A restart storm of 1,000 nodes under a whole helm: everybody is back within a minute of the last one's return.

The nodes do as they are told and remember it in memory, so that TLS and HTTP/2 are what is left of them. A minute of
one core, or ten seconds where nobody collects figures and 200 do; the time that is measured is virtual.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from pharos.helm.ca.authority import load_authority
from pharos.helm.ca.vault import open_vault
from pharos.helm.onboard.agents import NewNode
from pharos.helm.store.database import Database, open_store
from pharos.wire.agent import AgentGrant
from pharos.wire.link import LinkState
from pharos.wire.world import inhabiting, utc_now
from tests.sim.clockwork import BEGAN, run_seeded
from tests.sim.daemons import AWG_PORT, CONTROL_PORT
from tests.sim.fleet import SimFleet, open_fleet
from tests.support.figures import VARIABLE, Fault, record
from tests.support.helm import sample_act
from tests.support.simnode import SimulatedNode, adopt_simulated, trust_of

pytestmark = pytest.mark.sim

NODES = 1_000 if os.environ.get(VARIABLE) else 200
WEB_PORT = 18_442


def host_of(number: int) -> str:
    return f"10.1.{number // 250}.{number % 250 + 1}"


@asynccontextmanager
async def thousand_nodes(folder: Path) -> AsyncIterator[tuple[SimFleet, list[SimulatedNode]]]:
    """Have helm's record of so many nodes, and the nodes; nobody runs."""
    async with open_fleet(folder, seed=1, web_port=WEB_PORT) as fleet:
        # The nodes judge certificates by the real clock.
        fleet.helm.world.skew = time.time() - BEGAN / 1e9
        fleet.init_helm()
        with inhabiting(fleet.helm.world), open_store(fleet.helm.folder) as store:
            db: Database = store.core._writer._db
            authority = load_authority(db, open_vault(fleet.helm.folder), now=utc_now())
            db.execute("BEGIN")
            facts: list[dict[str, Any]] = []
            for number in range(NODES):
                said = NewNode(
                    name=f"node-{number}", address=host_of(number), control_port=CONTROL_PORT, awg_port=AWG_PORT
                )
                facts.append(adopt_simulated(db, sample_act(), authority, said))
            db.execute("COMMIT")
        trust = trust_of(AgentGrant.parse(facts[0]["grant"]))
        yield fleet, [SimulatedNode(fact, trust) for fact in facts]


def test_thousand_nodes_are_back_within_a_minute(tmp_path: Path) -> None:
    times: dict[str, float] = {}

    async def main() -> None:
        async with thousand_nodes(tmp_path) as (fleet, nodes), trio.open_nursery() as nursery:

            async def serve(number: int, *, task_status: trio.TaskStatus[Any]) -> None:
                with inhabiting(fleet.world(host_of(number))):
                    await nodes[number].serve(port=CONTROL_PORT, host=host_of(number), task_status=task_status)

            for number in range(NODES):
                await nursery.start(partial(serve, number))
            await fleet.helm.start()
            times["cold"] = await all_up(fleet)
            # The power goes everywhere, helm's machine comes back first, and the nodes one by one within a minute.
            for number in range(NODES):
                fleet.net.silence(host_of(number))
            await fleet.helm.kill()
            await trio.sleep(60)
            await fleet.helm.start()
            chance = random.Random(1)
            for number, pause in enumerate(sorted(chance.uniform(0, 60) for _ in range(NODES))):
                await trio.sleep(pause - (trio.current_time() - times.setdefault("began", trio.current_time())))
                fleet.net.wake(host_of(number))
            times["storm"] = await all_up(fleet)
            nursery.cancel_scope.cancel()

    run_seeded(1, main)
    record(Fault.RESTART_STORM, f"{NODES:,} nodes are led after a cold start of helm", times["cold"], "s")
    record(Fault.RESTART_STORM, f"{NODES:,} nodes are led after the last has its power back", times["storm"], "s")
    assert times["cold"] <= 60
    assert times["storm"] <= 60


async def all_up(fleet: SimFleet) -> float:
    """Return after how many seconds every node is led."""
    began = trio.current_time()
    while True:
        seen = fleet.helm.value.board.seen().values()
        if sum(sighting.state is LinkState.UP for sighting in seen) == NODES:
            return trio.current_time() - began
        await trio.sleep(0.1)
