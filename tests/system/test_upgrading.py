"""A node under systemd gets a newer package over ssh with a tunnel held, and a broken one is taken back."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

import pharos
from pharos.helm.cli.api import ask
from tests.packaging.built import built
from tests.support.commands import program
from tests.system.bare import hosts
from tests.system.lab.network import Lab, open_lab
from tests.system.lab.processes import Process
from tests.system.machines import BOOT_TIMEOUT, Machine, open_machine
from tests.system.needs import missing_for_machines
from tests.system.trees import ensure_tree

pytestmark = pytest.mark.system

RELEASE = "bookworm"
NEWER, BROKEN = "0.7.0", "0.8.0"
POLL_INTERVAL = 0.05
# A device that holds its tunnel, and says of each five echoes how many came back.
HOLD = """
import sys
from pathlib import Path
import trio
from pharos.caravel.client import open_client

async def main():
    async with open_client(Path(sys.argv[1])) as client, client.connect() as tunnel:
        await tunnel.wait_up(30)
        while True:
            print(f"{(await tunnel.ping(5)).received} of 5", flush=True)

trio.run(main)
"""


@pytest.fixture(autouse=True)
def needs_machines() -> None:
    if (missing := missing_for_machines()) is not None:
        pytest.skip(missing)


@pytest.fixture(scope="module")
def debs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The node's package of today, a newer one, and one whose agent falls as it starts."""
    out = built(tmp_path_factory, "buoy")
    old = deb_of(out, pharos.__version__)
    rebuild(old, out, NEWER)
    rebuild(old, out, BROKEN, '\nraise SystemExit("nobody has tried this")\n')
    return out


def rebuild(old: Path, out: Path, version: str, more: str = "") -> None:
    """Build the package of a version that differs in little: a whole build of each would take a minute."""
    with tempfile.TemporaryDirectory(dir=out) as scratch:
        tree = Path(scratch) / "tree"
        subprocess.run(["dpkg-deb", "--raw-extract", str(old), str(tree)], check=True)
        control, code = tree / "DEBIAN/control", tree / "usr/lib/pharos-buoy/app/pharos"
        control.write_text(re.sub("^Version: .*$", f"Version: {version}", control.read_text(), flags=re.M))
        about, agent = code / "__init__.py", code / "buoy/app.py"
        about.write_text(about.read_text().replace(f'"{pharos.__version__}"', f'"{version}"'))
        agent.write_text(agent.read_text() + more)
        target = out / old.name.replace(f"_{pharos.__version__}_", f"_{version}_")
        words = ["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", str(tree), str(target)]
        subprocess.run(words, check=True, capture_output=True)


def deb_of(debs: Path, version: str) -> Path:
    (path,) = debs.glob(f"pharos-buoy_{version}_*.deb")
    return path


@attrs.define
class Place:
    """An operator with a helm that runs, a node that serves, and a device that holds its tunnel."""

    lab: Lab
    machine: Machine
    state: Path
    tunnel: Process = attrs.field(init=False)

    async def ask(self, method: str, path: str, body: Any = None, version: int | None = None) -> dict[str, Any]:
        """Ask helm that runs, as its commands do."""
        return await ask(self.state, method, f"/api/v1/{path}", body, version)

    async def upgrade(self, deb: Path) -> list[dict[str, Any]]:
        """Upgrade the node and return what was told of it."""
        command = [*program("helm"), "nodes", "upgrade", "--all", "--deb", str(deb), "--json"]
        said = await self.lab.run("helm", *command, "--state", str(self.state), check=False)
        return [json.loads(line) for line in said.splitlines() if line.startswith("{")]

    async def node(self) -> dict[str, Any]:
        node: dict[str, Any]
        (node,) = (await self.ask("GET", "status"))["nodes"]
        return node

    async def wait_node(self, version: str) -> None:
        while True:
            node = await self.node()
            settled = node["applied_revision"] == node["desired_revision"]
            if node["link"] == "up" and node["agent_version"] == version and settled and node["peers"] == 1:
                return
            await trio.sleep(POLL_INTERVAL)

    async def engine(self) -> str:
        return await self.machine.run("systemctl", "show", "--value", "--property=MainPID", "pharos-awg@awg0")

    async def installed(self) -> str:
        return await self.machine.run("dpkg-query", "--show", "--showformat=${Version} ${Status}", "pharos-buoy")

    async def wait_echoes(self) -> None:
        """Wait for echoes that were sent from now on."""
        seen = len(self.echoes())
        while len(self.echoes()) < seen + 2:
            self.tunnel.check()
            await trio.sleep(POLL_INTERVAL)

    def echoes(self) -> list[str]:
        return self.tunnel.log.read_text().splitlines()


@asynccontextmanager
async def served(folder: Path, deb: Path) -> AsyncIterator[Place]:
    await ensure_tree(RELEASE)
    state, device = folder / "helm", folder / "device"
    with trio.fail_after(4 * BOOT_TIMEOUT):
        async with open_lab(folder) as lab, open_machine(lab, "buoya", RELEASE, binds=[f"{deb}:/old.deb"]) as machine:
            await machine.run("mount", "-o", "remount,bind,rw", "/proc/sys")
            await machine.run("chmod", "0666", "/dev/net/tun")
            await machine.put("/etc/hosts", hosts(lab, "buoya"))
            await lab.run("helm", *program("helm"), "init", "--state", str(state), "--json")
            run = [*program("helm"), "run", "--state", str(state), "--beacon-address", "127.0.0.1"]
            await lab.start("helm", *run, name="run", ready=True)
            place = Place(lab, machine, state)
            # The first site that helm would choose is of the Internet, which is not here.
            await place.ask("PUT", "settings/reality.targets", {"value": ["127.0.0.1:9 site.example"]}, 0)
            key = await lab.run("helm", *program("helm"), "ssh-key", "--state", str(state))
            await machine.put("/root/.ssh/authorized_keys", key, mode=0o600)
            await machine.run("dpkg", "--install", "/old.deb")
            await join(place)
            invited = await place.ask("POST", "tickets", {"device_name": "laptop", "seconds": 900})
            await lab.run("helm", *program("caravel"), "enroll", invited["link"], "--state", str(device))
            await place.wait_node(pharos.__version__)
            place.tunnel = await lab.start("helm", sys.executable, "-c", HOLD, str(device), name="tunnel")
            await place.wait_echoes()
            yield place


async def join(place: Place) -> None:
    """Make the machine a node of which helm knows how ssh reaches it."""
    said = await place.machine.run("ssh-keygen", "-lf", "/etc/ssh/ssh_host_ed25519_key.pub")
    address = place.lab.host("buoya").address4
    body = {"request": await place.machine.run("buoy", "csr"), "name": "amsterdam", "address": address}
    ports = {"control_port": 7443, "awg_port": 443}
    ssh = {"ssh_destination": f"root@{address}", "ssh_host_key": said.split()[1]}
    made = await place.ask("POST", "nodes", body | ports | ssh)
    await place.machine.run("buoy", "csr", "--install", "-", stdin=made["grant"])
    await place.machine.run("systemctl", "start", "pharos-buoy")


async def test_node_is_upgraded_and_a_broken_version_taken_back_with_a_tunnel_held(tmp_path: Path, debs: Path) -> None:
    old = pharos.__version__
    async with served(tmp_path, deb_of(debs, old)) as place:
        engine = await place.engine()
        identity = await place.machine.run("sha256sum", "/var/lib/pharos-buoy/identity.json")

        events = await place.upgrade(deb_of(debs, NEWER))
        assert events[-1]["outcomes"] == {"amsterdam": "upgraded"}, events
        assert await place.installed() == f"{NEWER} install ok installed"
        await place.wait_node(NEWER)
        await place.wait_echoes()

        events = await place.upgrade(deb_of(debs, BROKEN))
        assert events[-1]["outcomes"] == {"amsterdam": "rolled_back"}, events
        assert "its agent falls as it starts" in events[-2]["says"]
        assert await place.installed() == f"{NEWER} install ok installed"
        await place.wait_node(NEWER)
        await place.wait_echoes()

        # It is the same engine all the time, and has lost no echo; and the node is who it was.
        assert await place.engine() == engine
        assert await place.machine.run("sha256sum", "/var/lib/pharos-buoy/identity.json") == identity
        assert set(place.echoes()) == {"5 of 5"}
        kept = (await place.machine.run("ls", "/var/cache/pharos")).split()
        assert [re.sub("_[a-z0-9]+.deb", "", name) for name in kept] == [f"pharos-buoy_{NEWER}"]
