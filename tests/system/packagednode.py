"""A node as its operator has it, the agent's package on a machine under systemd; and newer packages for it."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import attrs
import pytest
import trio

import pharos
from pharos.helm.cli.api import ask
from tests.packaging.built import built
from tests.system.bare import hosts
from tests.system.lab.network import Lab
from tests.system.lab.processes import Process
from tests.system.machines import Machine, open_machine

NEWER, BROKEN = "0.7.0", "0.8.0"
POLL_INTERVAL: Final = 0.05
WHOLE: Final = "5 of 5"
"""What a device says that holds its tunnel."""


def node_debs(factory: pytest.TempPathFactory) -> Path:
    """Return where the node's package of today is, a newer one, and one whose agent falls as it starts."""
    out = built(factory, "buoy")
    old = deb_of(out, pharos.__version__)
    _rebuild(old, out, NEWER)
    _rebuild(old, out, BROKEN, '\nraise SystemExit("nobody has tried this")\n')
    return out


def deb_of(debs: Path, version: str) -> Path:
    (path,) = debs.glob(f"pharos-buoy_{version}_*.deb")
    return path


def _rebuild(old: Path, out: Path, version: str, more: str = "") -> None:
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


@attrs.frozen
class PackagedNode:
    """A machine with the node's package; ``open_packaged_node`` makes it."""

    lab: Lab
    machine: Machine

    async def join(self, helm: Path, name: str) -> None:
        """Become a node of a helm that runs, which knows how ssh reaches it. Raises: CommandError."""
        said = await self.machine.run("ssh-keygen", "-lf", "/etc/ssh/ssh_host_ed25519_key.pub")
        address = self.lab.host(self.machine.host).address4
        body = {"request": await self.machine.run("buoy", "csr"), "name": name, "address": address}
        ports = {"control_port": 7443, "awg_port": 443}
        ssh = {"ssh_destination": f"root@{address}", "ssh_host_key": said.split()[1]}
        made = await ask(helm, "POST", "/api/v1/nodes", body | ports | ssh)
        await self.machine.run("buoy", "csr", "--install", "-", stdin=made["grant"])
        await self.machine.run("systemctl", "start", "pharos-buoy")

    async def engine(self) -> str:
        """Return the process that has the tunnels."""
        return await self.machine.run("systemctl", "show", "--value", "--property=MainPID", "pharos-awg@awg0")

    async def identity(self) -> str:
        """Return a digest of who it is."""
        return await self.machine.run("sha256sum", "/var/lib/pharos-buoy/identity.json")

    async def installed(self) -> str:
        """Return the version of the package, and in which state dpkg has it."""
        return await self.machine.run("dpkg-query", "--show", "--showformat=${Version} ${Status}", "pharos-buoy")


@asynccontextmanager
async def open_packaged_node(lab: Lab, host: str, release: str, deb: Path, *, key: str) -> AsyncIterator[PackagedNode]:
    """Boot a machine with a package installed, and with an sshd that lets in whoever has the key."""
    async with open_machine(lab, host, release, binds=[f"{deb}:/old.deb"]) as machine:
        await machine.run("mount", "-o", "remount,bind,rw", "/proc/sys")
        await machine.run("chmod", "0666", "/dev/net/tun")
        await machine.put("/etc/hosts", hosts(lab, host))
        await machine.put("/root/.ssh/authorized_keys", key, mode=0o600)
        await machine.run("dpkg", "--install", "/old.deb")
        yield PackagedNode(lab, machine)


@attrs.frozen
class Holding:
    """A device that holds its tunnel; ``hold_tunnel`` starts it."""

    process: Process

    def echoes(self) -> list[str]:
        """Return what it has said: of five echoes each how many came back."""
        return self.process.log.read_text().splitlines()

    async def wait_echoes(self) -> None:
        """Wait for echoes that were sent from now on. Raises: ProcessEndedError — its stream is broken."""
        seen = len(self.echoes())
        while len(self.echoes()) < seen + 2:
            self.process.check()
            await trio.sleep(POLL_INTERVAL)


async def hold_tunnel(
    lab: Lab, host: str, state: Path, *, node: str = "", to: tuple[str, int] | None = None
) -> Holding:
    """Have a device at a host hold a tunnel, to one node or to any, and a stream through it to a place."""
    place = [] if to is None else [to[0], str(to[1])]
    words = [sys.executable, "-m", "tests.system.tunnelholder", str(state), node, *place]
    holding = Holding(await lab.start(host, *words, name=f"{state.name}-tunnel"))
    await holding.wait_echoes()
    return holding
