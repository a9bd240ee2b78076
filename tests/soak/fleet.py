"""The fleet of a soak: that of the lab, whose daemons can be killed and started again, with devices that work."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import attrs
import trio

from pharos.wire.profile import AMNEZIAWG, VLESS_REALITY
from tests.soak import echo
from tests.support.sites import SITE_NAME, site_context
from tests.system.lab.fleet import LabFleet
from tests.system.lab.network import Lab
from tests.system.lab.processes import Process
from tests.system.lab.topology import HOSTS, NET4
from tests.wire.reality.nodes import Site

BUOYS: Final = ("buoya", "buoyb")
BEACON: Final = "beacon"
DAEMONS: Final = ("helm", *BUOYS, BEACON)
BEYOND: Final = "clientb"
"""Where what devices talk to is."""
SMALL: Final = {"helm": 96, "buoyb": 4}
"""Megabytes of a disk of its own, that can be filled."""
WAYS: Final = (("clienta", AMNEZIAWG), ("clientb", AMNEZIAWG), ("clienta", VLESS_REALITY))
"""Where the first devices are, and by which protocol they go."""
_CONFIG: Final = f'reality_allowed = ["{NET4}"]\nnetwork_allowed = ["{NET4}"]\n'


@attrs.define
class Working:
    """A device, which may be stopped and started."""

    name: str
    host: str
    protocol: str
    state: Path
    process: Process
    revoked: bool = False
    runs: bool = True

    def told(self) -> list[dict[str, Any]]:
        """Return what its present process has said, oldest first."""
        lines = self.process.log.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def last(self) -> dict[str, Any] | None:
        """Return the newest of it."""
        told = self.told()
        return told[-1] if told else None


class SoakFleet(LabFleet):
    """A fleet with the settings that a soak takes."""

    def __init__(self, lab: Lab) -> None:
        super().__init__(lab, 4)
        self.devices: dict[str, Working] = {}
        self.paused: set[str] = set()
        """Daemons that are down because somebody took them down."""
        (lab.folder / "buoy.toml").write_text(_CONFIG)

    @property
    def helm_socket(self) -> str:
        return str(self._folder / "helm/helm.sock")

    def state_of(self, name: str) -> Path:
        """Return a daemon's state directory."""
        return self._folder / name

    async def _start(self, host: str, *words: str) -> None:
        more = ("--config", str(self._folder / "buoy.toml")) if host in BUOYS else ()
        await super()._start(host, *words, *more)

    async def up(self, nursery: trio.Nursery) -> None:
        """Start everything; what is beyond the nodes lasts as long as the nursery."""
        await nursery.start(echo.serve, self.lab, BEYOND)
        site = HOSTS[BEYOND].address4
        listener = await self.lab.namespace(BEYOND).listen(site, 443)
        nursery.start_soon(trio.serve_listeners, Site(site_context(SITE_NAME)).serve, [listener])
        await self.start_helm()
        targets = {"value": [f"{site}:443 {SITE_NAME}"]}
        await self.ask("PUT", "/api/v1/settings/reality.targets", targets, version=0)
        await self.add_beacon(BEACON)
        for host in BUOYS:
            await self.add_buoy(host)
        await self.wait_settled(peers=0)
        for host in BUOYS:
            await self.wait_reality(host)

    # -- devices

    async def add_device(self, name: str, host: str, protocol: str) -> Working:
        """Let a device join and work."""
        state = self._folder / f"device-{name}"
        words = ["caravel", "enroll", "-", "--state", str(state), "--json"]
        await self.lab.run(host, sys.executable, "-m", "pharos", *words, stdin=await self.invite(name))
        device = Working(name, host, protocol, state, await self._work(name, host, protocol, state))
        self.devices[name] = device
        return device

    async def _work(self, name: str, host: str, protocol: str, state: Path) -> Process:
        words = [sys.executable, "-m", "tests.soak.device", str(state), protocol]
        words += [HOSTS[BEYOND].address4, str(echo.PORT)]
        process = Process(self.lab.words(host, words), self._folder / f"{name}.log")
        await process.start()
        return process

    async def restart_device(self, device: Working) -> None:
        """Kill its program and start it again; its counts begin anew."""
        device.runs = False
        await device.process.kill()
        await trio.Path(device.process.log).rename(
            device.process.log.with_name(f"{device.name}-{trio.current_time():.0f}.log")
        )
        device.process = await self._work(device.name, device.host, device.protocol, device.state)
        device.runs = True

    @property
    def live(self) -> list[Working]:
        return [device for device in self.devices.values() if not device.revoked]

    # -- all that runs

    def pids(self) -> dict[str, int]:
        """Return what runs, by name."""
        running = {name: self.processes[name].pid for name in DAEMONS if name not in self.paused}
        return running | {device.name: device.process.pid for device in self.live if device.runs}

    async def stop_devices(self) -> None:
        """End every device's program."""
        async with trio.open_nursery() as nursery:
            for device in self.devices.values():
                nursery.start_soon(device.process.stop)


@contextmanager
def small_disks(folder: Path) -> Iterator[None]:
    """Give the daemons that are to run full a disk of their own while the block lasts."""
    mounted = []
    try:
        for name, size in SMALL.items():
            (folder / name).mkdir(mode=0o700)
            command = ["mount", "-t", "tmpfs", "-o", f"size={size}m,mode=0700", "tmpfs", str(folder / name)]
            subprocess.run(command, check=True)
            mounted.append(folder / name)
        yield
    finally:
        for place in mounted:
            subprocess.run(["umount", "--lazy", str(place)], check=True)
