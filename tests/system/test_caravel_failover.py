"""A device in the lab stays connected: its node is killed, its cable pulled, its address another one."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.system.lab.fleet import LabFleet, running_fleet
from tests.system.lab.processes import Process

pytestmark = pytest.mark.system

HOST = "clienta"
SLACK = 3
"""For a machine that does much else at the same time."""
POLL = 0.05


class Device:
    """What the device's process has said."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def said(self) -> list[dict[str, Any]]:
        lines = self._process.log.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    async def until(self, holds: Callable[[dict[str, Any]], bool], *, after: float = 0.0) -> dict[str, Any]:
        """Return the first line after a moment that is as wanted."""
        while True:
            self._process.check()
            for line in self.said():
                if line["at"] > after and holds(line):
                    return line
            await trio.sleep(POLL)

    async def echoed(self, *, after: float = 0.0, node: str | None = None) -> dict[str, Any]:
        return await self.until(lambda line: line.get("echoed") == 1 and node in (None, line["node"]), after=after)


@asynccontextmanager
async def connected(tmp_path: Path, *, buoys: tuple[str, ...]) -> AsyncIterator[tuple[LabFleet, Device]]:
    async with running_fleet(tmp_path, buoys=buoys, timeout=90) as fleet:
        await fleet.enrol(HOST)
        await fleet.wait_settled(peers=1)
        state = str(tmp_path / f"caravel-{HOST}")
        words = [sys.executable, "-m", "tests.system.connectedclient", state]
        process = await fleet.lab.start(HOST, *words, name="device")
        yield fleet, Device(process)
        await process.stop()


async def test_node_that_is_killed_is_replaced_within_five_seconds(tmp_path: Path) -> None:
    async with connected(tmp_path, buoys=("buoya", "buoyb")) as (fleet, device):
        first = await device.echoed()
        other = {"buoya": "buoyb", "buoyb": "buoya"}[first["node"]]
        last = device.said()[-1]["at"]
        await fleet.processes[first["node"]].stop()
        found = await device.echoed(after=last, node=other)
        assert found["at"] - last <= 5 * SLACK


async def test_cable_that_is_pulled_and_put_back_is_no_end(tmp_path: Path) -> None:
    async with connected(tmp_path, buoys=("buoya",)) as (fleet, device):
        await device.echoed()
        async with fleet.lab.cut(HOST):
            cut = device.said()[-1]["at"]
            await device.until(lambda line: line.get("echoed") == 0, after=cut)
            await device.until(lambda line: line.get("event", {}).get("kind") == "lost", after=cut)
            back = device.said()[-1]["at"]
        found = await device.echoed(after=back)
        assert found["at"] - back <= 3 * SLACK


async def test_another_address_is_gone_on_from_within_three_seconds(tmp_path: Path) -> None:
    async with connected(tmp_path, buoys=("buoya",)) as (fleet, device):
        await device.echoed()
        own = fleet.lab.host(HOST).address4
        moved = own.rpartition(".")[0] + ".77"
        before = device.said()[-1]["at"]
        await fleet.lab.run(HOST, "ip", "addr", "del", f"{own}/24", "dev", "eth0")
        await fleet.lab.run(HOST, "ip", "addr", "add", f"{moved}/24", "dev", "eth0")
        rebound = await device.until(lambda line: line.get("event", {}).get("kind") == "rebound", after=before)
        found = await device.echoed(after=rebound["at"])
        assert found["at"] - before <= 3 * SLACK
        # The session went on: nobody was lost.
        assert not [line for line in device.said() if line.get("event", {}).get("kind") == "lost"]
