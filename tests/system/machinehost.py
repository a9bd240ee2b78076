"""A lab's client whose whole machine is led through a fleet by `caravel up`, with a /etc and a /run of its own."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import trio

from tests.system.lab.commands import CommandError
from tests.system.lab.fleet import LabFleet
from tests.system.lab.processes import Process
from tests.system.lab.relayprocess import ROOT
from tests.system.lab.topology import HOSTS
from tests.system.splithost import wait_command

CLIENT, NEIGHBOUR = "clienta", "beacon"
NODES = ("buoya", "buoyb")
PLACES = ("/run", "/var/lib")
"""Which it has for itself as well: what it notes must not be this machine's."""
POLL = 0.05


@attrs.frozen(kw_only=True)
class MachineHost:
    """The client's machine; ``open_machine_host`` makes it."""

    fleet: LabFleet
    holder: Process
    folder: Path
    host: str = CLIENT

    @property
    def words(self) -> tuple[str, ...]:
        """What goes before a command that is run at the machine."""
        return "nsenter", f"--mount=/proc/{self.holder.pid}/ns/mnt", "--", "env", f"PYTHONPATH={ROOT}"

    @property
    def state(self) -> Path:
        return self.folder / f"caravel-{self.host}"

    async def run(self, *command: str, check: bool = True) -> str:
        """Run a command at the machine. Raises: CommandError."""
        return await self.fleet.lab.run(self.host, *self.words, *command, check=check)

    async def caravel(self, *arguments: str) -> Any:
        """Run a command of the client at the machine, and return the JSON that it prints. Raises: CommandError."""
        return json.loads(await self.run(*self.program(*arguments), "--json"))

    def program(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "pharos", "caravel", *arguments, "--state", str(self.state)]

    async def up(self, *options: str) -> Process:
        """Bring the machine up by a process of ours, and return when it is in charge."""
        command = self.program("up", "--foreground", *options)
        return await self.fleet.lab.start(self.host, *self.words, *command, name=f"{self.host}-up", ready=True)

    async def wait_phase(self, phase: str) -> dict[str, Any]:
        """Return the status once the connection is so; the test's own timeout ends the wait."""
        while True:
            status: dict[str, Any] | None = (await self.caravel("status"))["connection"]
            if status is not None and status["phase"] == phase:
                return status
            await trio.sleep(POLL)

    async def reaches(self, address: str) -> bool:
        """Whether the machine's own ping comes back from an address."""
        try:
            await self.run("ping", "-n", "-c", "1", "-W", "2", address)
        except CommandError:
            return False
        return True

    async def shape(self) -> dict[str, str]:
        """Return what `caravel up` may change, as the machine's own tools show it."""
        commands = {
            "rules": "ip rule",
            "rules6": "ip -6 rule",
            "routes": "ip route show table all",
            "routes6": "ip -6 route show table all",
            "nft": "nft list ruleset",
            "links": "ip -brief link",
            "resolv.conf": "cat /etc/resolv.conf",
        }
        return {name: await self.run(*words.split()) for name, words in commands.items()}


@asynccontextmanager
async def open_machine_host(
    fleet: LabFleet, folder: Path, *, host: str = CLIENT, peers: int = 1
) -> AsyncIterator[MachineHost]:
    """Give a client's machine a /etc and a /run of its own, and take it into the fleet, as one of so many devices."""
    etc = folder / f"etc-{host}"
    shutil.copytree("/etc", etc, symlinks=True, ignore=lambda *_: ("resolv.conf", "shadow", "ssl", "alternatives"))
    (etc / "resolv.conf").write_text(f"nameserver {HOSTS[NEIGHBOUR].address4}\n")
    made = " && ".join(f"mount -t tmpfs -o mode=0755 none {place}" for place in PLACES)
    script = f'mount --bind "$1" /etc && {made} && exec sleep 900'
    words = ["unshare", "--mount", "sh", "-c", script, "sh", str(etc)]
    holder = await fleet.lab.start(host, *words, name=f"{host}-machine")
    await wait_command(holder.pid, "sleep")
    await fleet.enrol(host)
    await fleet.wait_settled(peers=peers)
    yield MachineHost(fleet=fleet, holder=holder, folder=folder, host=host)
