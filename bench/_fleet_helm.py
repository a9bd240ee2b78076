"""helm itself, whole, as bench.fleet drives it: ``run_helm`` on a prepared state directory.

python -m bench._fleet_helm FOLDER WEB_PORT
"""

import gc
import logging
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import trio

from bench._fleet_record import device_of, rename_nodes
from bench._rpc_ours import say
from bench._wire_fleet import answer_requests, cpu
from bench.support import percentile, raise_file_limit
from pharos.helm.app import run_helm
from pharos.helm.config import HelmConfig
from pharos.helm.context import HelmContext
from pharos.helm.fleet.stir import read_revision
from pharos.helm.live.board import now_us
from pharos.helm.model.admins import Role
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.settings import all_settings, put_setting
from pharos.wire.daemon import tune_collector
from pharos.wire.link import LinkState
from tests.support.signin import sign_in


class Bench:
    """What the driver asks for."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._context: HelmContext | None = None
        self._process = psutil.Process()
        self._count = 0

    @property
    def context(self) -> HelmContext:
        assert self._context is not None, "helm was not started"
        return self._context

    async def start(self, *, nodes: int, down: bool = False) -> dict[str, Any]:
        """Start helm; return the seconds until every node is up and in force, or ``down``, and helm's memory then."""
        self._count = nodes
        began = trio.current_time()
        config = HelmConfig(state=Path(sys.argv[1]) / "helm", web_port=int(sys.argv[2]), beacon="off")
        self._context = await self._nursery.start(partial(run_helm, config))
        if down:
            await _until(self._all_lost, every=0.05)
        else:
            await self._settled()
        seconds = trio.current_time() - began
        gc.collect()
        return {"seconds": seconds, "mb": self._process.memory_info().rss / 1024**2}

    def _all_lost(self) -> bool:
        seen = self.context.board.seen().values()
        return len(seen) == self._count and all(sighting.state is LinkState.LOST for sighting in seen)

    async def _settled(self) -> None:
        revision = await self.context.store.read(read_revision)

        def settled() -> bool:
            seen = self.context.board.seen().values()
            return len(seen) == self._count and all(
                sighting.state is LinkState.UP and sighting.applied.revision >= revision for sighting in seen
            )

        await _until(settled, every=0.005)

    async def acks(self, *, samples: int, nodes: list[str]) -> dict[str, Any]:
        """Enrol a device for each of some nodes; return how long after its commit the node acknowledged it."""
        times = []
        for number in range(samples):
            node_id = nodes[number % len(nodes)]
            revision = await self.context.store.run(device_of, node_id, 1_000_000 + number)
            times.append(await self._time_of_ack(node_id, revision))
            # The others hear of the revision later, at leisure.
            await trio.sleep(0.05)
        return {"p95": percentile(times, 95), "p50": percentile(times, 50)}

    async def _time_of_ack(self, node_id: str, revision: int) -> float:
        began = time.perf_counter()
        sighting = self.context.board.of(node_id)
        await _until(lambda: sighting.applied.revision >= revision, every=0.001)
        return (time.perf_counter() - began) * 1000

    async def change(self, *, closed: str) -> dict[str, Any]:
        """Change the policy of the whole fleet; return the seconds until every node has acknowledged it."""

        def change(db: Database) -> None:
            known = next(entry for entry in all_settings(db) if entry["id"] == "policy.closed")
            put_setting(db, Act(actor="bench", at=now_us()), "policy.closed", known["version"], [closed])

        began = trio.current_time()
        await self.context.store.run(change)
        await self._settled()
        return {"seconds": trio.current_time() - began}

    async def reseal(self) -> dict[str, Any]:
        """Change what every profile says; return the seconds until every bundle is sealed anew."""
        began = trio.current_time()
        await self.context.store.run(rename_nodes)
        while True:
            if not await self.context.store.read(is_any_stale):
                break
            await trio.sleep(0.02)
        return {"seconds": trio.current_time() - began}

    async def idle(self, *, seconds: float) -> dict[str, Any]:
        """Return the share of a core that helm takes while nothing happens, in percent."""
        before = time.process_time()
        await trio.sleep(seconds)
        return {"pct": (time.process_time() - before) / seconds * 100}

    async def written(self) -> dict[str, Any]:
        """Return how many events are in the store, and how many were shed because they came too fast for it."""
        ingest = self.context.ingest
        return {"events": ingest.written.events, "shed": sum(ingest.backlog.dropped.values())}

    async def sign_in(self, *, name: str, role: str) -> dict[str, Any]:
        """Return what the browser of a new admin sends."""
        return {"headers": await sign_in(self.context, name=name, role=Role(role))}


async def _until(holds: Callable[[], bool], *, every: float) -> None:
    while True:
        if holds():
            return
        await trio.sleep(every)


def is_any_stale(db: Database) -> bool:
    """Return whether a device's bundle was not looked at since the last change of profiles.

    They are sealed in the order of the devices' ids, so the last one is asked about first: to count them all would take
    as much of helm as to seal some hundreds.
    """
    last = db.execute(
        "SELECT checked_revision < profiles_revision FROM bundles CROSS JOIN fleet ORDER BY device_id DESC LIMIT 1"
    ).fetchone()[0]
    return bool(last) or bool(
        db.execute(
            "SELECT EXISTS (SELECT 1 FROM bundles CROSS JOIN fleet WHERE checked_revision < profiles_revision)"
        ).fetchone()[0]
    )


async def main() -> None:
    raise_file_limit()
    # As `pharos.wire.daemon` does before it runs helm.
    tune_collector()
    logging.basicConfig(level=logging.ERROR)
    async with trio.open_nursery() as nursery:
        bench = Bench(nursery)
        say(ready=True)
        tasks = ("start", "acks", "change", "reseal", "idle", "written", "sign_in")
        await answer_requests({name: getattr(bench, name) for name in tasks} | {"cpu": cpu})
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
