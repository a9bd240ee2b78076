"""A node under systemd gets a newer package over ssh with a tunnel held, and a broken one is taken back."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

import pharos
from pharos.helm.cli.api import ask
from tests.support.commands import program
from tests.system.lab.network import Lab, open_lab
from tests.system.machines import BOOT_TIMEOUT
from tests.system.needs import missing_for_machines
from tests.system.packagednode import (
    BROKEN,
    NEWER,
    POLL_INTERVAL,
    WHOLE,
    Holding,
    PackagedNode,
    deb_of,
    hold_tunnel,
    node_debs,
    open_packaged_node,
)
from tests.system.trees import ensure_tree

pytestmark = pytest.mark.system

RELEASE = "bookworm"


@pytest.fixture(autouse=True)
def needs_machines() -> None:
    if (missing := missing_for_machines()) is not None:
        pytest.skip(missing)


@pytest.fixture(scope="module")
def debs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return node_debs(tmp_path_factory)


@attrs.define
class Place:
    """An operator with a helm that runs, a node that serves, and a device that holds its tunnel."""

    lab: Lab
    node: PackagedNode
    state: Path
    tunnel: Holding = attrs.field(init=False)

    async def ask(self, method: str, path: str, body: Any = None, version: int | None = None) -> dict[str, Any]:
        """Ask helm that runs, as its commands do."""
        return await ask(self.state, method, f"/api/v1/{path}", body, version)

    async def upgrade(self, deb: Path) -> list[dict[str, Any]]:
        """Upgrade the node and return what was told of it."""
        command = [*program("helm"), "nodes", "upgrade", "--all", "--deb", str(deb), "--json"]
        said = await self.lab.run("helm", *command, "--state", str(self.state), check=False)
        return [json.loads(line) for line in said.splitlines() if line.startswith("{")]

    async def wait_node(self, version: str) -> None:
        while True:
            (node,) = (await self.ask("GET", "status"))["nodes"]
            settled = node["applied_revision"] == node["desired_revision"]
            if node["link"] == "up" and node["agent_version"] == version and settled and node["peers"] == 1:
                return
            await trio.sleep(POLL_INTERVAL)


@asynccontextmanager
async def served(folder: Path, deb: Path) -> AsyncIterator[Place]:
    await ensure_tree(RELEASE)
    state, device = folder / "helm", folder / "device"
    with trio.fail_after(4 * BOOT_TIMEOUT):
        async with open_lab(folder) as lab:
            await lab.run("helm", *program("helm"), "init", "--state", str(state), "--json")
            run = [*program("helm"), "run", "--state", str(state), "--beacon-address", "127.0.0.1"]
            await lab.start("helm", *run, name="run", ready=True)
            key = await lab.run("helm", *program("helm"), "ssh-key", "--state", str(state))
            async with open_packaged_node(lab, "buoya", RELEASE, deb, key=key) as node:
                place = Place(lab, node, state)
                # The first site that helm would choose is of the Internet, which is not here.
                await place.ask("PUT", "settings/reality.targets", {"value": ["127.0.0.1:9 site.example"]}, 0)
                await node.join(state, "amsterdam")
                invited = await place.ask("POST", "tickets", {"device_name": "laptop", "seconds": 900})
                await lab.run("helm", *program("caravel"), "enroll", invited["link"], "--state", str(device))
                await place.wait_node(pharos.__version__)
                place.tunnel = await hold_tunnel(lab, "helm", device)
                yield place


async def test_node_is_upgraded_and_a_broken_version_taken_back_with_a_tunnel_held(tmp_path: Path, debs: Path) -> None:
    async with served(tmp_path, deb_of(debs, pharos.__version__)) as place:
        node, tunnel = place.node, place.tunnel
        engine, identity = await node.engine(), await node.identity()

        events = await place.upgrade(deb_of(debs, NEWER))
        assert events[-1]["outcomes"] == {"amsterdam": "upgraded"}, events
        assert await node.installed() == f"{NEWER} install ok installed"
        await place.wait_node(NEWER)
        await tunnel.wait_echoes()

        events = await place.upgrade(deb_of(debs, BROKEN))
        assert events[-1]["outcomes"] == {"amsterdam": "rolled_back"}, events
        assert "its agent falls as it starts" in events[-2]["says"]
        assert await node.installed() == f"{NEWER} install ok installed"
        await place.wait_node(NEWER)
        await tunnel.wait_echoes()

        # It is the same engine all the time, and has lost no echo; and the node is who it was.
        assert await node.engine() == engine
        assert await node.identity() == identity
        assert set(tunnel.echoes()) == {WHOLE}
        kept = (await node.machine.run("ls", "/var/cache/pharos")).split()
        assert [re.sub("_[a-z0-9]+.deb", "", name) for name in kept] == [f"pharos-buoy_{NEWER}"]
