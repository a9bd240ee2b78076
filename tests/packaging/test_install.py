"""The buoy's package on a machine: it comes with all its processes, is updated under them, and leaves nothing."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from pharos.buoy.roothelper.acts import Act, ApplyNetwork
from pharos.buoy.roothelper.codec import to_json
from pharos.wire.netpolicy import NetworkPlan
from pharos.wire.netrules import FAMILY, TABLE
from tests.packaging.built import built
from tests.system.lab.network import open_lab
from tests.system.machines import BOOT_TIMEOUT, Machine, open_machine
from tests.system.needs import missing_for_machines
from tests.system.test_root_helper_unit import ASK, show
from tests.system.trees import RELEASES, ensure_tree

pytestmark = pytest.mark.system

ENGINES = ("pharos-awg@awg0", "pharos-reality")
HELPER = "pharos-buoy-helper"
PLAN = NetworkPlan(interfaces=("awg0",), networks=("10.7.0.0/16",), addresses=("10.7.0.1",))
INSTALL = ["sh", "-c", "dpkg --install /debs/*.deb"]


@pytest.fixture(autouse=True)
def needs_machines() -> None:
    if (missing := missing_for_machines()) is not None:
        pytest.skip(missing)


@asynccontextmanager
async def machine_with(folder: Path, debs: Path, release: str) -> AsyncIterator[Machine]:
    await ensure_tree(release)
    with trio.fail_after(4 * BOOT_TIMEOUT):
        async with open_lab(folder) as lab, open_machine(lab, "buoya", release, binds=[f"{debs}:/debs"]) as machine:
            await machine.run("mount", "-o", "remount,bind,rw", "/proc/sys")
            await machine.run("chmod", "0666", "/dev/net/tun")
            yield machine


@pytest.mark.parametrize("release", RELEASES)
async def test_package_brings_its_processes_keeps_them_over_an_update_and_takes_all_away(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, release: str
) -> None:
    debs = await trio.to_thread.run_sync(built, tmp_path_factory, "buoy")
    async with machine_with(tmp_path, debs, release) as machine:
        await machine.run(*INSTALL)
        for unit in (*ENGINES, f"{HELPER}.socket"):
            assert await show(machine, unit, "ActiveState") == "active", unit
        # With keys and no grant it is no service that fails.
        await machine.run("buoy", "csr")
        await machine.run("systemctl", "start", "pharos-buoy")
        assert await show(machine, "pharos-buoy", "ActiveState") == "inactive"
        await machine.put("/usr/local/lib/ask.py", ASK)
        ask = ["setpriv", "--reuid=pharos-buoy", "--regid=pharos-buoy", "--clear-groups", "python3"]
        said = await machine.run(*ask, "/usr/local/lib/ask.py", json.dumps(to_json(ApplyNetwork(PLAN), Act)))
        assert json.loads(said)["outcome"] == "ok", said
        table = await machine.run("nft", "list", "table", FAMILY, TABLE)

        # The engines carry traffic, and go on with the code they have; the helper takes the new one, and its plan.
        engines = [await show(machine, unit, "MainPID") for unit in ENGINES]
        helper = await show(machine, HELPER, "MainPID")
        await machine.run(*INSTALL)
        assert [await show(machine, unit, "MainPID") for unit in ENGINES] == engines
        assert await show(machine, HELPER, "ActiveState") == "active"
        assert await show(machine, HELPER, "MainPID") != helper
        assert await machine.run("nft", "list", "table", FAMILY, TABLE) == table

        assert await show(machine, "pharos-buoy", "NRestarts") == "0"
        await machine.run("dpkg", "--remove", "pharos-buoy")
        assert await machine.run("nft", "list", "ruleset") == ""
        assert "active" not in await machine.run("systemctl", "list-units", "--plain", "--no-legend", "pharos*")
        await machine.run("dpkg", "--purge", "pharos-buoy")
        assert "pharos" not in await machine.run("ls", "/run", "/var/lib", "/usr/bin", "/usr/lib/systemd/system")
        assert await machine.state() == "running"
