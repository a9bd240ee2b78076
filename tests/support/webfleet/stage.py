"""The fleet that a browser looks at: helm whole, simulated buoys, and real daemons beside them where wanted."""

from __future__ import annotations

import functools
import ipaddress
import socket
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import trio

from pharos.caravel.client import open_client
from pharos.caravel.enrolment import enroll
from pharos.helm.accounts.admins import add_admin, make_link
from pharos.helm.app import run_helm
from pharos.helm.context import HelmContext
from pharos.helm.live.board import now_us
from pharos.helm.model.admins import Role
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.wire.agent import AgentGrant
from pharos.wire.ids import DeviceId
from pharos.wire.reports import EngineReport, MachineReport
from pharos.wire.seal.ticket import TicketLink
from tests.support.fleet import Daemon, Fleet
from tests.support.rpc import HOST
from tests.support.simnode import SimulatedNode, tell_evenly, trust_of
from tests.support.webfleet.plan import Plan
from tests.support.webfleet.record import Laid, host_of, lay_down

GIB: Final = 2**30
CORES: Final = 4
"""Of a simulated machine."""
# WireGuard's Rekey-After-Time.
REKEY: Final = 120.0


class Names(trio.abc.HostnameResolver):
    """Leads the names of simulated machines to this one, and no other name anywhere."""

    def __init__(self, hosts: dict[str, str]) -> None:
        self._hosts = hosts

    async def getaddrinfo(self, host: bytes | None, port: Any, *_hints: int) -> list[Any]:
        name = (host or b"").decode()
        try:
            found = str(ipaddress.ip_address(name))
        except ValueError:
            found = self._hosts.get(name, HOST if name == "localhost" else "")
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, f"{name} is no machine of this fleet")
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (found, int(port)))]

    async def getnameinfo(self, sockaddr: Any, flags: int) -> tuple[str, str]:
        return str(sockaddr[0]), str(sockaddr[1])


class SimulatedDaemon(Daemon):
    """One simulated buoy, which can be ended and started again with what it knows."""

    def __init__(self, nursery: trio.Nursery, node: SimulatedNode, facts: dict[str, Any]) -> None:
        super().__init__(nursery, functools.partial(node.serve, port=facts["port"], host=facts["host"]))
        self.node = node


class Stage(Fleet):
    """A fleet with a plan; what `tests.support.fleet.Fleet` can do, this can too."""

    def __init__(self, folder: Path, nursery: trio.Nursery) -> None:
        super().__init__(folder, nursery)
        self.helm = Daemon(nursery, self._run_helm)
        self.simulated: dict[str, SimulatedDaemon] = {}
        self.devices: dict[str, DeviceId] = {}
        self._context: HelmContext | None = None
        self._tunnels: dict[str, AsyncExitStack] = {}

    @property
    def context(self) -> HelmContext:
        """What the running helm has open."""
        assert self._context is not None, "helm does not run"
        return self._context

    @property
    def address(self) -> str:
        """Of the page."""
        return f"http://localhost:{self.web_port}"

    async def _run_helm(self, *, task_status: trio.TaskStatus[HelmContext]) -> None:
        async with trio.open_nursery() as nursery:
            self._context = await nursery.start(run_helm, self.config(beacon="off"))
            task_status.started(self._context)

    async def make(self, plan: Plan) -> None:
        """Lay the record down, and start the simulated nodes."""
        names = {node.address: host_of(number) for number, node in enumerate(plan.nodes) if node.address}
        if names:
            trio.socket.set_custom_hostname_resolver(Names(names))
        laid: Laid = await lay_down(self.helm_state, plan)
        self.kit, self.devices = laid.kit, laid.devices
        for planned, facts in zip(plan.nodes, laid.nodes, strict=True):
            node = SimulatedNode(facts, trust_of(AgentGrant.parse(facts["grant"])))
            node.engines = tuple(EngineReport(protocol=protocol, driver=driver) for protocol, driver in planned.engines)
            node.machine = MachineReport(
                load=planned.load * CORES,
                load5=planned.load * CORES,
                processors=CORES,
                memory=4 * GIB,
                memory_available=2 * GIB,
                disk=40 * GIB,
                disk_free=31 * GIB,
            )
            self.simulated[planned.name] = SimulatedDaemon(self._nursery, node, facts)
            await self.simulated[planned.name].start()

    async def settle(self) -> None:
        """Return once every simulated node is linked and has what it shall have."""
        await self.wait_status(
            lambda picture: all(
                node["link"] == "up" and node["applied_revision"] == node["desired_revision"]
                for node in picture["nodes"]
                if node["name"] in self.simulated
            )
        )

    def connect(self, plan: Plan) -> None:
        """Connect the devices that the plan says are connected."""
        for user in plan.users:
            for device in user.devices:
                if device.node and device.last_seen_hours is None:
                    node = self.simulated[device.node].node
                    node.connect(self.devices[device.name], down=device.down, up=device.up, protocol=device.protocol)

    async def keep_shaking(self) -> None:
        """Have every connected device of the simulated nodes shake hands as real ones do, each at its own moment."""
        while True:
            shaking = [(daemon.node, device) for daemon in self.simulated.values() for device in daemon.node.connected]
            for node, device in shaking:
                if device in node.connected:
                    node.shake(device)
                await trio.sleep(REKEY / len(shaking))
            if not shaking:
                await trio.sleep(1)

    async def keep_telling(self, rate: list[float]) -> None:
        """Have the simulated nodes tell ``rate[0]`` handshakes a second until cancelled."""
        nodes = [daemon.node for daemon in self.simulated.values()]
        await tell_evenly(nodes, per_second=lambda: rate[0], seconds=float("inf"))

    async def link_for(self, name: str, role: str) -> str:
        """Return the address by which an admin of this name comes in once; who is not there is made."""

        def write(db: Database) -> str:
            act = Act(actor="operator", at=now_us())
            row = db.execute("SELECT id FROM admins WHERE name = ?", (name,)).fetchone()
            return make_link(db, act, row["id"] if row else add_admin(db, act, name, Role(role)).id)

        return f"{self.address}/#link={await self.context.store.run(write)}"

    async def enrol_by(self, link: str, name: str) -> None:
        """Have a real device join by a link that a page has shown."""
        await enroll(self.device_store(name), TicketLink.parse(link))

    async def open_tunnel(self, name: str, node: str) -> None:
        """Have an enrolled device shake hands with a real node, and hold its tunnel."""
        stack = AsyncExitStack()
        client = await stack.enter_async_context(open_client(self.folder / f"device-{name}"))
        # Its newest profile may still be on its way from a change of a moment ago.
        while True:
            await client.sync()
            if any(known.name == node for known in client.profile().nodes):
                break
            await trio.sleep(0.1)
        tunnel = await stack.enter_async_context(client.connect(node, inner="netstack"))
        await tunnel.wait_up(10)
        assert (await tunnel.ping(1)).received == 1
        self._tunnels[name] = stack

    async def close_tunnel(self, name: str) -> None:
        await self._tunnels.pop(name).aclose()
