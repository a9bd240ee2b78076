"""A fleet in a lab: every daemon a process of its own at its host, asked and told from the test."""

from __future__ import annotations

import datetime
import json
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from pharos.helm.ca.authority import create_fleet
from pharos.helm.ca.vault import create_vault
from pharos.helm.cli.api import ask
from pharos.helm.model.fleet import Posture
from pharos.helm.store.database import open_store
from pharos.wire.agent import AgentGrant, AgentKeys
from pharos.wire.files import open_state_directory
from pharos.wire.pki.roles import Role
from tests.system.lab.network import Lab, open_lab
from tests.system.lab.processes import Process

POLL_INTERVAL = 0.05
_ANY = {4: "0.0.0.0", 6: "::"}


class LabFleet:
    """helm behind its NAT, and the agents it was told of; all speak one version of IP. The ports are the defaults."""

    def __init__(self, lab: Lab, family: int) -> None:
        self.lab = lab
        self.family = family
        self.processes: dict[str, Process] = {}
        self._folder = lab.folder

    async def start_helm(self) -> None:
        """Make a fleet, and run its helm."""
        state = open_state_directory(self._folder / "helm")
        vault, data_key = create_vault(state)
        with open_store(state, create=True) as store:
            await store.run(create_fleet, vault, data_key, Posture.PERSONAL, now=_now())
        await self._start("helm", "helm", "run", "--state", str(state), "--beacon", "off")

    async def add_buoy(self, host: str) -> None:
        """Take a node into the fleet under its host's name, and run it."""
        await self._add("buoy", Role.NODE, host, "/api/v1/nodes", {"tags": [], "control_port": 7443, "awg_port": 443})

    async def add_beacon(self, host: str) -> None:
        """Take a relay into the fleet under its host's name, and run it."""
        await self._add("beacon", Role.RELAY, host, "/api/v1/relays", {"ingress_port": 443, "tunnel_port": 7444})

    async def ask(
        self, method: str, path: str, body: dict[str, Any] | None = None, *, version: int | None = None
    ) -> dict[str, Any]:
        """Ask helm over its Unix socket, which all namespaces share."""
        return await ask(self._folder / "helm", method, path, body, version)

    async def revoke(self, name: str) -> None:
        """Revoke the device of that name."""
        (device,) = (await self.ask("GET", f"/api/v1/devices?name={name}"))["items"]
        path = f"/api/v1/devices/{device['id']}/revoke"
        await ask(self._folder / "helm", "POST", path, version=device["version"])

    async def wait_status(self, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Return helm's picture once it is as wanted; the test's own timeout ends the wait.

        Raises: ProcessEndedError — a daemon has ended meanwhile.
        """
        while True:
            self.lab.check()
            picture = await self.ask("GET", "/api/v1/status")
            if holds(picture):
                return picture
            await trio.sleep(POLL_INTERVAL)

    async def wait_reality(self, name: str) -> None:
        """Wait until helm believes by which key a node serves REALITY."""
        (node,) = (await self.ask("GET", f"/api/v1/nodes?name={name}"))["items"]
        while not (await self.ask("GET", f"/api/v1/nodes/{node['id']}"))["reality_key"]:
            self.lab.check()
            await trio.sleep(POLL_INTERVAL)

    async def wait_settled(self, peers: int) -> None:
        """Wait until every link is up and every node has applied the newest revision, with so many peers."""
        await self.wait_status(lambda picture: set(links(picture).values()) == {"up"} and _applied(picture, peers))

    async def invite(self, name: str) -> str:
        """Return the link of a new ticket."""
        ticket = await self.ask("POST", "/api/v1/tickets", {"device_name": name, "seconds": 900})
        link: str = ticket["link"]
        return link

    async def caravel(self, host: str, *arguments: str, stdin: str = "") -> Any:
        """Run a command of the client at a host, and return the JSON it prints.

        Raises: CommandError — it failed.
        """
        state = str(self._folder / f"caravel-{host}")
        words = ["caravel", *arguments, "--state", state, "--json"]
        return json.loads(await self.lab.run(host, *_program(words), stdin=stdin))

    async def enrol(self, host: str) -> Any:
        """Let the client at a host join, under its host's name."""
        return await self.caravel(host, "enroll", "-", stdin=await self.invite(host))

    async def _add(self, program: str, role: Role, host: str, path: str, ports: dict[str, Any]) -> None:
        state = open_state_directory(self._folder / host)
        keys = AgentKeys(state, role)
        request = keys.make_request().render()
        where = {"name": host, "address": self.lab.host(host).address(self.family)}
        answer = await self.ask("POST", path, {"request": request, **where, **ports})
        keys.install(AgentGrant.parse(answer["grant"]), now=_now())
        await self._start(host, program, "run", "--state", str(state), "--host", _ANY[self.family])

    async def _start(self, host: str, *words: str) -> None:
        self.processes[host] = await self.lab.start(host, *_program(words), ready=True)


def links(picture: dict[str, Any]) -> dict[str, str]:
    """Return the state of each link, by the member's name."""
    return {member["name"]: member["link"] for member in (*picture["nodes"], *picture["relays"])}


def _applied(picture: dict[str, Any], peers: int) -> bool:
    return all(
        node["applied_revision"] == node["desired_revision"] and node["peers"] == peers for node in picture["nodes"]
    )


def _program(words: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "pharos", *words]


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


async def start_fleet(lab: Lab, *, family: int = 4, buoys: Sequence[str] = ("buoya",)) -> LabFleet:
    """Start a fleet in a lab, and return when all links are up; the caller owns the timeout."""
    fleet = LabFleet(lab, family)
    await fleet.start_helm()
    await fleet.add_beacon("beacon")
    for host in buoys:
        await fleet.add_buoy(host)
    await fleet.wait_settled(peers=0)
    return fleet


@asynccontextmanager
async def running_fleet(
    folder: Path, *, family: int = 4, buoys: Sequence[str] = ("buoya",), timeout: float = 120
) -> AsyncIterator[LabFleet]:
    """Run a fleet in a lab of its own while the block lasts; the whole test has ``timeout`` seconds."""
    with trio.fail_after(timeout):
        async with open_lab(folder) as lab:
            yield await start_fleet(lab, family=family, buoys=buoys)
