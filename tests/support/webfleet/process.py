"""The process of a `Stage`, which does what its driver asks for: JSON, one object a line.

    python -m tests.support.webfleet.process FOLDER

An answer is ``{"done": value}``, or ``{"refused": text}`` where helm said no.
"""

from __future__ import annotations

import inspect
import itertools
import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

import trio

from pharos.helm.accounts.signin import FRESH, SignIn
from pharos.helm.live.board import now_us
from pharos.helm.model.fleet import Posture
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.nodes import NODES
from pharos.helm.store.records import change_record, get_record
from pharos.helm.web.session import COOKIE
from pharos.wire.console import CommandError
from pharos.wire.daemon import tune_collector
from pharos.wire.reports import EngineReport
from tests.support.rawfields import plant
from tests.support.webfleet.churn import keep_changing
from tests.support.webfleet.plan import Plan, crowd
from tests.support.webfleet.skerry import skerry_works
from tests.support.webfleet.stage import Stage
from tests.support.webfleet.story import live_through
from tests.support.webfleet.weak import weaken


class Tasks:
    """What a driver may ask for; a method each."""

    def __init__(self, stage: Stage, nursery: trio.Nursery) -> None:
        self._stage = stage
        self._nursery = nursery
        self._plan = Plan()
        self._told = [0.0]
        self._changed = [0.0]

    async def weaken(self, *, page: str = "", without: str = "") -> None:
        """Take something away from the helm that is made next."""
        weaken(page=page, without=without)

    async def make(self, *, story: str = "", patient: bool = False, posture: str = "personal", **size: int) -> str:
        """Make a fleet of a story or a size, and start it; return the page's address."""
        stage = self._stage
        self._plan = skerry_works() if story else crowd(**size)
        if not story:
            self._plan = self._plan.with_posture(Posture(posture))
        await stage.make(self._plan)
        await self.start()
        await stage.settle()
        stage.connect(self._plan)
        self._nursery.start_soon(stage.keep_shaking)
        self._nursery.start_soon(stage.keep_telling, self._told)
        self._nursery.start_soon(keep_changing, stage, self._changed)
        if story:
            await live_through(stage, patient=patient)
        return stage.address

    async def start(self) -> None:
        await self._stage.helm.start()

    async def stop(self) -> None:
        await self._stage.helm.stop()

    async def cookie(self, *, name: str, role: str) -> dict[str, str]:
        """Sign an admin in, a new one or one who is there; return what the browser shall have."""
        context = self._stage.context
        secret = (await self._stage.link_for(name, role)).partition("=")[2]
        signed = await SignIn(context.store, context.vault).by_link(secret, browser="Chromium")
        return {"name": COOKIE, "value": signed.cookie, "url": self._stage.address}

    async def link(self, *, name: str, role: str) -> str:
        return await self._stage.link_for(name, role)

    async def kit(self) -> str:
        """Return the recovery kit as printed."""
        return self._stage.kit.printed()

    async def age_proofs(self) -> None:
        """Make the last proof of every session too old for what takes a fresh one."""

        def age(db: Database) -> None:
            db.execute("UPDATE admin_sessions SET proven_at = proven_at - ?", (2 * FRESH,))

        await self._stage.context.store.run(age)

    async def ask(self, *, method: str, path: str, body: Any = None, version: int | None = None) -> Any:
        """Ask helm for something by the operator's own socket."""
        return await self._stage.ask(method, path, body, version=version)

    async def tell(self, *, per_second: float) -> None:
        """Have the nodes tell so many handshakes a second from now on."""
        self._told[0] = per_second

    async def change(self, *, per_second: float) -> None:
        """Have so many records changed a second from now on."""
        self._changed[0] = per_second

    async def rename(self, *, node: str, name: str) -> float:
        """Give a node another name; return when that was committed, in milliseconds since 1970."""

        def change(db: Database) -> None:
            found = get_record(db, NODES, node)
            change_record(db, NODES, node, found.version, {"name": name}, Act(actor="operator", at=now_us()))

        await self._stage.context.store.run(change)
        return time.time() * 1000

    async def cut(self, *, node: str) -> None:
        await self._stage.simulated[node].stop()

    async def mend(self, *, node: str) -> None:
        await self._stage.simulated[node].start()

    async def connect(self, *, device: str, node: str, down: int = 0, up: int = 0) -> None:
        stage = self._stage
        stage.simulated[node].node.connect(stage.devices[device], down=down, up=up)

    async def shake(self, *, device: str, node: str) -> None:
        stage = self._stage
        stage.simulated[node].node.shake(stage.devices[device])

    async def disconnect(self, *, device: str, node: str) -> None:
        stage = self._stage
        stage.simulated[node].node.disconnect(stage.devices[device], "left")

    async def add_beacon(self) -> None:
        await self._stage.add_beacon()

    async def add_buoy(self, *, name: str) -> None:
        """Add a real node with an engine of its own; return when helm has told it everything."""
        await self._stage.add_buoy(name)
        await self._stage.wait_status(
            lambda picture: any(
                node["name"] == name and node["link"] == "up" and node["applied_revision"] == node["desired_revision"]
                for node in picture["nodes"]
            )
        )

    async def enrol(self, *, link: str, name: str) -> None:
        await self._stage.enrol_by(link, name)

    async def open_tunnel(self, *, name: str, node: str) -> None:
        await self._stage.open_tunnel(name, node)

    async def close_tunnel(self, *, name: str) -> None:
        await self._stage.close_tunnel(name)

    async def plant(self, *, payloads: list[str]) -> int:
        """Put payloads into every text that a page shows: of records, of nodes' own words, of events."""
        context = self._stage.context
        fields = int(await context.store.run(plant, context.authorities.current, payloads))
        told = itertools.cycle(filter(str.isprintable, payloads))
        for daemon in self._stage.simulated.values():
            node = daemon.node
            node.version, node.endpoint, trouble = next(told), next(told), next(told)
            node.engines = (EngineReport(protocol="amneziawg", driver="kernel", trouble=trouble),)
            for device in node.peers[:1]:
                node.connect(device, down=1_000, up=1_000)
        return fields


async def serve(tasks: Tasks) -> None:
    """Do what is asked for until standard input ends."""
    while line := await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
        request = json.loads(line)
        task = getattr(tasks, request.pop("task"))
        assert inspect.iscoroutinefunction(task)
        try:
            answer = {"done": await task(**request)}
        except CommandError as error:
            answer = {"refused": str(error)}
        print(json.dumps(answer), flush=True)


async def main() -> None:
    tune_collector()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")
    async with trio.open_nursery() as nursery:
        print(json.dumps({"done": None}), flush=True)
        await serve(Tasks(Stage(Path(sys.argv[1]), nursery), nursery))
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
