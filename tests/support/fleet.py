"""A whole fleet in one process on loopback: the daemons' own task trees, their own state directories, real sockets."""

from __future__ import annotations

import datetime
import functools
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import trio

from pharos.beacon.app import run_beacon
from pharos.beacon.config import BeaconConfig
from pharos.buoy.app import run_buoy
from pharos.buoy.config import BuoyConfig
from pharos.caravel.client import Client, open_client
from pharos.caravel.enrolment import enroll
from pharos.caravel.profiles.store import Enrolled, ProfileStore
from pharos.demo.processes import free_port
from pharos.helm.app import run_helm
from pharos.helm.ca.authority import create_fleet
from pharos.helm.ca.vault import RecoveryKit, create_vault
from pharos.helm.cli.api import ask
from pharos.helm.config import HelmConfig
from pharos.helm.model.fleet import Posture
from pharos.helm.store.database import open_store
from pharos.helm.store.settings import put_setting
from pharos.wire.agent import AgentGrant, AgentKeys
from pharos.wire.files import open_state_directory
from pharos.wire.pki.roles import Role
from pharos.wire.seal.ticket import TicketLink
from tests.support.helm import sample_act

HOST = "127.0.0.1"


class Daemon:
    """One daemon's task tree, which can be ended and started again."""

    def __init__(self, nursery: trio.Nursery, run: Callable[..., Any]) -> None:
        self._nursery = nursery
        self._run = run
        self._scope = trio.CancelScope()
        self._ended = trio.Event()

    async def start(self) -> None:
        self._scope, self._ended = trio.CancelScope(), trio.Event()

        async def main(*, task_status: trio.TaskStatus[Any]) -> None:
            with self._scope:
                await self._run(task_status=task_status)
            self._ended.set()

        await self._nursery.start(main)

    async def stop(self) -> None:
        self._scope.cancel()
        await self._ended.wait()

    async def run_once(self) -> None:
        """Run in the caller's own task, so that it gets what the start raises."""
        await self._run()


# A site of this machine at which nobody is: what a node learns of its target must not come from the Internet.
TARGET: Final = "127.0.0.1:9 site.example"


class Fleet:
    """A running fleet; ``running_fleet`` makes it."""

    def __init__(self, folder: Path, nursery: trio.Nursery) -> None:
        self.folder = folder
        self.web_port = free_port(socket.SOCK_STREAM)
        self._nursery = nursery
        self.beacon_port = free_port(socket.SOCK_STREAM)
        self.helm = Daemon(nursery, functools.partial(run_helm, self.config(beacon="off")))
        self.buoys: dict[str, Daemon] = {}
        self.ports: dict[str, dict[str, int]] = {}
        self.beacon: Daemon | None = None
        self.beacons: dict[str, Daemon] = {}
        self.kit: RecoveryKit

    @property
    def helm_state(self) -> Path:
        return self.folder / "h"

    def config(self, **values: Any) -> HelmConfig:
        """Return helm's own, with ``values`` besides."""
        return HelmConfig(state=self.helm_state, web_port=self.web_port, beacon_port=self.beacon_port, **values)

    async def restart_helm(self, **values: Any) -> None:
        """Start helm anew with another configuration."""
        await self.helm.stop()
        self.helm = Daemon(self._nursery, functools.partial(run_helm, self.config(**values)))
        await self.helm.start()

    async def init(self) -> None:
        state = open_state_directory(self.helm_state)
        vault, data_key = create_vault(state)
        with open_store(state, create=True) as store:
            now = datetime.datetime.now(datetime.UTC)
            self.kit = await store.run(create_fleet, vault, data_key, Posture.PERSONAL, now=now)
            await store.run(put_setting, sample_act(), "reality.targets", 0, [TARGET])
        await self.helm.start()

    async def ask(
        self, method: str, path: str, body: dict[str, Any] | None = None, *, version: int | None = None
    ) -> dict[str, Any]:
        return await ask(self.helm_state, method, path, body, version)

    async def move_device(self, name: str, verb: str) -> None:
        """Disable, enable or revoke the device of that name."""
        (device,) = (await self.ask("GET", f"/api/v1/devices?name={name}"))["items"]
        await self.ask("POST", f"/api/v1/devices/{device['id']}/{verb}", version=device["version"])

    async def wait_status(self, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Return helm's picture once it is as wanted; the test's own timeout ends the wait."""
        while True:
            picture = await self.ask("GET", "/api/v1/status")
            if holds(picture):
                return picture
            await trio.sleep(0.02)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Return once something holds; the test's own timeout ends the wait."""
        while True:
            if holds():
                return
            await trio.sleep(0.02)

    async def wait_reality(self) -> None:
        """Wait until helm believes where each node serves REALITY."""
        while True:
            listed = (await self.ask("GET", "/api/v1/nodes"))["items"]
            nodes = [await self.ask("GET", f"/api/v1/nodes/{node['id']}") for node in listed]
            if all(node["reality_port"] and node["reality_key"] for node in nodes):
                return
            await trio.sleep(0.02)

    async def wait_settled(self, peers: int) -> None:
        await self.wait_status(
            lambda picture: (
                all(
                    node["link"] == "up"
                    and node["peers"] == peers
                    and node["applied_revision"] == node["desired_revision"]
                    for node in picture["nodes"]
                )
                and all(relay["link"] == "up" for relay in picture["relays"])
            )
        )

    @property
    def next_address(self) -> str:
        """Where the next buoy will be: each has an address of its own, for helm gives all the same spare port."""
        return f"127.0.0.{len(self.buoys) + 1}"

    async def add_buoy(self, name: str, *, seen_at: int = 0, **settings: Any) -> None:
        """Let a node join and start it, with ``settings`` besides. helm dials it at ``seen_at``, if that is given."""
        state = open_state_directory(self.folder / name)
        ports = {"control_port": free_port(socket.SOCK_STREAM), "awg_port": free_port(socket.SOCK_DGRAM)}
        self.ports[name] = ports
        address = self.next_address
        keys = AgentKeys(state, Role.NODE)
        answer = await self.ask(
            "POST",
            "/api/v1/nodes",
            {"name": name, "address": address, "tags": [], "request": keys.make_request().render()}
            | ports
            | ({"control_port": seen_at} if seen_at else {}),
        )
        keys.install(AgentGrant.parse(answer["grant"]), now=datetime.datetime.now(datetime.UTC))
        config = BuoyConfig(state=state, host=address, **ports, reality_port=free_port(socket.SOCK_STREAM), **settings)
        self.buoys[name] = Daemon(self._nursery, functools.partial(run_buoy, config))
        await self.buoys[name].start()

    async def add_beacon(self, name: str = "gate") -> None:
        state = open_state_directory(self.folder / name)
        ports = {"ingress_port": free_port(socket.SOCK_STREAM), "tunnel_port": free_port(socket.SOCK_STREAM)}
        self.ports[name] = ports
        keys = AgentKeys(state, Role.RELAY)
        answer = await self.ask(
            "POST",
            "/api/v1/relays",
            {"name": name, "address": HOST, "request": keys.make_request().render(), **ports},
        )
        keys.install(AgentGrant.parse(answer["grant"]), now=datetime.datetime.now(datetime.UTC))
        self.beacon = Daemon(
            self._nursery, functools.partial(run_beacon, BeaconConfig(state=state, host=HOST, **ports))
        )
        self.beacons[name] = self.beacon
        await self.beacon.start()

    async def invite(self, name: str = "laptop", seconds: int = 900) -> TicketLink:
        answer = await self.ask("POST", "/api/v1/tickets", {"device_name": name, "seconds": seconds})
        return TicketLink.parse(answer["link"])

    def device_store(self, name: str) -> ProfileStore:
        return ProfileStore(self.folder / f"device-{name}")

    async def enrol(self, name: str = "laptop") -> Enrolled:
        return await enroll(self.device_store(name), await self.invite(name))

    @asynccontextmanager
    async def client(self, name: str = "laptop") -> AsyncIterator[Client]:
        async with open_client(self.folder / f"device-{name}") as client:
            yield client


@asynccontextmanager
async def running_fleet(
    folder: Path, *, buoys: tuple[str, ...] = ("a",), timeout: float = 60, reality: bool = True
) -> AsyncIterator[Fleet]:
    """Run helm, a beacon and the named buoys while the block lasts, all links up; the whole test has ``timeout`` s.

    With ``reality`` it has been believed of each buoy that it serves that, so that profiles are what they shall be.
    """
    with trio.fail_after(timeout):
        async with trio.open_nursery() as nursery:
            fleet = Fleet(folder, nursery)
            await fleet.init()
            await fleet.add_beacon()
            for name in buoys:
                await fleet.add_buoy(name)
            await fleet.wait_settled(peers=0)
            if reality:
                await fleet.wait_reality()
            yield fleet
            nursery.cancel_scope.cancel()
