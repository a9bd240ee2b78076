"""The controller's and the client's packages on a machine: nothing is missing, nothing is lost, nothing is left."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

import pharos
from pharos.wire.agent import AgentRequest
from tests.packaging.built import Package
from tests.support.agents import grant_for
from tests.system.lab.commands import CommandError
from tests.system.lab.network import open_lab
from tests.system.machines import BOOT_TIMEOUT, POLL_INTERVAL, Machine, open_machine
from tests.system.needs import missing_for_machines
from tests.system.test_root_helper_unit import show
from tests.system.trees import ensure_tree

pytestmark = pytest.mark.system

RELEASE = "trixie"
STATE = "/var/lib/pharos-helm"
CARRIED = "usr/lib/pharos-helm/app/pharos/helm/onboard/_debs"
GET_PAGE = "import urllib.request as u; print(u.urlopen('http://localhost:8440/').read().decode())"
LEFT_OVER = "find / /run -xdev -name '*pharos*' -not -path '/debs*' -not -path '/proc/*'"
EVERY_SECOND = "[Service]\nWatchdogSec=1\n"


@pytest.fixture(autouse=True)
def needs_machines() -> None:
    if (missing := missing_for_machines()) is not None:
        pytest.skip(missing)


@pytest.fixture
def debs(packages: Mapping[str, Package], helm_package: Package, tmp_path: Path) -> Path:
    """Return a folder with helm's and caravel's packages, and those that helm carries."""
    folder = tmp_path / "debs"
    shutil.copytree(helm_package.tree / CARRIED, folder)
    for package in (packages["caravel"], helm_package):
        shutil.copy(package.deb, folder / f"{package.command}.deb")
    return folder


@asynccontextmanager
async def machine_with(folder: Path, debs: Path) -> AsyncIterator[Machine]:
    await ensure_tree(RELEASE)
    with trio.fail_after(4 * BOOT_TIMEOUT):
        async with open_lab(folder) as lab, open_machine(lab, "helm", RELEASE, binds=[f"{debs}:/debs"]) as machine:
            yield machine


async def dpkg_state(machine: Machine, package: str) -> str:
    return (await machine.run("dpkg-query", "--show", "--showformat=${Status}", package, check=False)).strip()


async def pings(machine: Machine) -> str:
    """When systemd last heard that the loop turns."""
    return await show(machine, "pharos-helm", "WatchdogTimestampMonotonic")


async def test_helm_serves_keeps_its_fleet_and_leaves_nothing(debs: Path, tmp_path: Path) -> None:
    async with machine_with(tmp_path, debs) as machine:
        await machine.run("dpkg", "--install", "/debs/helm.deb")
        assert await show(machine, "pharos-helm", "ActiveState") == "inactive"
        assert await machine.state() == "running"
        fleet = json.loads(await machine.run("helm", "init", "--personal", "--yes", "--json"))
        assert fleet["state"] == STATE
        await machine.run("systemctl", "start", "pharos-helm")
        assert await show(machine, "pharos-helm", "ActiveState") == "active"
        # What root made is the service's own; what root asks from now on it asks the service.
        await machine.run("helm", "users", "add", "maria")
        assert set((await machine.run("sh", "-c", f"stat -c %U {STATE} {STATE}/*")).split()) == {"pharos-helm"}
        assert "<title>" in await machine.run("python3", "-c", GET_PAGE)

        await machine.put("/etc/systemd/system/pharos-helm.service.d/watch.conf", EVERY_SECOND)
        await machine.run("systemctl", "daemon-reload")
        await machine.run("systemctl", "restart", "pharos-helm")
        for _ in range(2):
            before = await pings(machine)
            while await pings(machine) == before:  # noqa: ASYNC110 -- nobody tells
                await trio.sleep(POLL_INTERVAL)
        assert await show(machine, "pharos-helm", "NRestarts") == "0"
        await machine.run("rm", "-r", "/etc/systemd/system/pharos-helm.service.d")

        # An update takes the new code, and fleet and settings stay; so they do when it is removed.
        running = await show(machine, "pharos-helm", "MainPID")
        await machine.run("sh", "-c", "echo 'web_port = 8450' >> /etc/pharos/helm.toml")
        await machine.run("dpkg", "--install", "/debs/helm.deb")
        assert await show(machine, "pharos-helm", "ActiveState") == "active"
        assert await show(machine, "pharos-helm", "MainPID") != running
        assert "maria" in await machine.run("helm", "users", "list", "--json")
        await machine.run("dpkg", "--remove", "pharos-helm")
        assert await show(machine, "pharos-helm", "ActiveState") == "inactive"
        assert "web_port = 8450" in await machine.run("cat", "/etc/pharos/helm.toml")
        await machine.run("test", "-s", f"{STATE}/core.db")

        await machine.run("dpkg", "--purge", "pharos-helm")
        assert await machine.run("sh", "-c", LEFT_OVER) == ""
        assert await machine.state() == "running"


async def test_what_helm_carries_can_be_installed_and_what_is_amiss_can_be_mended(debs: Path, tmp_path: Path) -> None:
    async with machine_with(tmp_path, debs) as machine:
        here = (await machine.run("dpkg", "--print-architecture")).strip()
        other = {"amd64": "arm64", "arm64": "amd64"}[here]
        wrong = rf"package architecture \({other}\) does not match system \({here}\)"
        with pytest.raises(CommandError, match=wrong):
            await machine.run("sh", "-c", f"dpkg --install /debs/pharos-beacon_*_{other}.deb")
        assert await dpkg_state(machine, "pharos-beacon") == ""

        # Power that fails between the two halves of an installation; and a disk that is full in the first.
        await machine.run("sh", "-c", f"dpkg --unpack /debs/pharos-beacon_*_{here}.deb")
        assert await dpkg_state(machine, "pharos-beacon") == "install ok unpacked"
        await machine.run("dpkg", "--configure", "-a")
        assert await dpkg_state(machine, "pharos-beacon") == "install ok installed"
        assert await show(machine, "pharos-beacon", "UnitFileState") == "enabled"
        await machine.run("mkdir", "/usr/lib/pharos-caravel")
        await machine.run("mount", "-t", "tmpfs", "-o", "size=2m", "none", "/usr/lib/pharos-caravel")
        with pytest.raises(CommandError, match="No space left on device"):
            await machine.run("dpkg", "--install", "/debs/caravel.deb")
        await machine.run("umount", "/usr/lib/pharos-caravel")
        await machine.run("dpkg", "--install", "/debs/caravel.deb")
        assert await machine.run("caravel", "--version") == f"caravel, version {pharos.__version__}\n"

        # A beacon with keys and no grant is no service that fails.
        request = await machine.run("beacon", "csr")
        await machine.run("systemctl", "start", "pharos-beacon")
        assert await show(machine, "pharos-beacon", "ActiveState") == "inactive"
        grant = grant_for(AgentRequest.parse(request)).render()
        await machine.run("beacon", "csr", "--install", "-", stdin=grant)
        await machine.run("systemctl", "start", "pharos-beacon")
        assert await show(machine, "pharos-beacon", "ActiveState") == "active"
        assert await show(machine, "pharos-beacon", "NRestarts") == "0"

        await machine.run("dpkg", "--purge", "pharos-caravel", "pharos-beacon")
        assert await machine.run("sh", "-c", LEFT_OVER) == ""
        assert await machine.state() == "running"
