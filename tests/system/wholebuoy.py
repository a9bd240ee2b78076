"""A buoy's whole agent in a lab, told over its control port as helm tells it, with devices, a web server and a site."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import attrs
import trio

from pharos.wire.agent import AgentKeys
from pharos.wire.awg.keys import generate_private_key, public_key
from pharos.wire.awg.params import PLAIN, Generation, ObfuscationParameters
from pharos.wire.awg.uapi import DeviceChange, PeerChange, parameter_changes
from pharos.wire.awg.uapiwrite import parse_reply, render_change
from pharos.wire.convert import NodeReport, push_to, report_from
from pharos.wire.desired import Fence, Peer, Policy, Push
from pharos.wire.gen.pharos.buoy.v1 import control_grpc
from pharos.wire.gen.pharos.buoy.v1 import control_pb2 as pb
from pharos.wire.ids import DeviceId, NodeId
from pharos.wire.noise.keys import KeyPair
from pharos.wire.pki.roles import Role
from pharos.wire.pki.tls import client_context
from pharos.wire.reality.addresses import Address
from pharos.wire.reality.client import ClientSettings
from pharos.wire.reality.dial import start_reality
from pharos.wire.reality.params import RealityParameters
from pharos.wire.reality.vless import Command, Flow, Request
from pharos.wire.reality.vlessstream import VlessStream, request_over
from pharos.wire.rpc.client import Channel, open_channel
from pharos.wire.rpc.flow import CONTROL
from pharos.wire.rpc.peer import Peer as RpcPeer
from pharos.wire.rpc.transport import TlsStream
from pharos.wire.seal.blind import Pairing, derive_psk, derive_uuid
from pharos.wire.seal.realitykey import derive_reality_key
from pharos.wire.tasks import open_background
from tests.support.agents import joined
from tests.support.pki import home_fleet, utc_now
from tests.support.sites import SITE_NAME, site_context
from tests.system.lab.network import Lab, open_lab
from tests.system.lab.processes import Process
from tests.system.lab.traffic import round_trips
from tests.system.policynet import HTTP, INNER, NODE, WEB, PolicyNet
from tests.system.tunnels import COMMAND, GO, OURS, POLL_INTERVAL, SOCKETS, START_TIMEOUT, encode, skip_without_tools
from tests.wire.reality.nodes import Site

HOME = home_fleet()
SITE = "beacon"
NAME = "node-1"
CONTROL_PORT, AWG_PORT, REALITY_PORT, SITE_PORT = 7443, 443, 443, 443
LOOK = RealityParameters(
    target="203.0.113.20:443", server_names=(SITE_NAME,), short_ids=("0123456789abcdef",), generation=1
)
OUTSIDE = ("203.0.113.0/24", "2001:db8:0:1::/64")
"""The lab's Internet, which is none to a REALITY server: these networks are for documentation."""
# An agent that is root remembers in one place of the machine what the network was; here it is one place a node.
AGENT = """
import sys
from pathlib import Path
from pharos.buoy.dataplane import drivers
drivers.LOCAL_MEMORY = Path(sys.argv.pop(1))
from pharos.buoy.cli import main
main()
"""


@attrs.define
class Device:
    """A device in the lab: its keys, and, once it has one, an engine."""

    host: str
    awg: bytes = attrs.field(factory=lambda: generate_private_key(os.urandom), repr=False)
    derive: KeyPair = attrs.field(factory=KeyPair.generate)
    process: Process | None = None

    @property
    def interface(self) -> str:
        return f"w{os.getpid()}{self.host[-1]}"

    @property
    def id(self) -> DeviceId:
        return DeviceId(self.host)

    def peer(self, **changes: Any) -> Peer:
        """Return it as helm orders it."""
        usual = Peer(
            device_id=self.id,
            awg_key=public_key(self.awg),
            derive_key=self.derive.public,
            generation=1,
            addresses=(f"{INNER[self.host][4]}/32", f"{INNER[self.host][6]}/128"),
        )
        return attrs.evolve(usual, **changes)


@attrs.define
class WholeBuoy:
    """A node, and those around it; ``open_whole_buoy`` makes it."""

    lab: Lab
    net: PolicyNet
    keys: AgentKeys
    state: Path
    settings: dict[str, Any]
    engine: Process | None = None
    agent: Process | None = None
    revision: int = 0
    devices: dict[str, Device] = attrs.field(factory=dict)

    # -- the agent

    async def start(self) -> float:
        """Start the agent, or start it again; return how many seconds it took to serve."""
        begun = trio.current_time()
        path = self.lab.folder / "buoy.toml"
        path.write_text("".join(f"{key} = {_toml(value)}\n" for key, value in self.settings.items()))
        if self.agent is None:
            command = [sys.executable, "-c", AGENT, str(self.lab.folder / "network")]
            self.agent = await self.lab.start(NODE, *command, "run", "--config", str(path), name="agent", ready=True)
        else:
            await self.agent.start(ready=True)
        return trio.current_time() - begun

    @property
    def log(self) -> str:
        return (self.lab.folder / "agent.log").read_text()

    # -- helm

    @asynccontextmanager
    async def helm(self) -> AsyncIterator[Channel]:
        """Dial the control port from helm's place, as a controller of the fleet."""
        context = client_context(trust=HOME.trust, credentials=HOME.member(Role.CONTROLLER, "helm-1"))
        tcp = await self.lab.namespace("helm").connect(self.lab.host(NODE).address4, CONTROL_PORT)
        plain = socket.socket(fileno=tcp.socket.detach())
        plain.settimeout(0)
        hostname = HOME.identity(Role.NODE, NAME).dns_name or ""
        stream = await TlsStream.handshake(plain, context, server_hostname=hostname)
        peer = RpcPeer(address=stream.peer_address, certificate=stream.peer_certificate)
        async with open_channel(stream, windows=CONTROL, authority=NAME, peer=peer) as channel:
            yield channel

    async def push(self, *peers: Peer, **changes: Any) -> None:
        """Push a snapshot over a link that ends then. Raises: GRPCError — it is refused."""
        self.revision += 1
        usual = Push(
            fence=Fence(1, 1, self.revision),
            snapshot=True,
            upsert=peers or tuple(device.peer() for device in self.devices.values()),
            awg=PLAIN,
            addresses=tuple(INNER[NODE].values()),
            policy=Policy(),
        )
        async with self.helm() as channel:
            await control_grpc.ControlStub(channel).Push(push_to(attrs.evolve(usual, **changes)))

    async def report(self) -> NodeReport:
        """Return what the node says of itself."""
        async with self.helm() as channel:
            return report_from(await control_grpc.ControlStub(channel).Status(pb.StatusRequest()))

    # -- devices

    def pairing(self, device: Device) -> Pairing:
        membership = self.keys.membership(now=utc_now())
        return Pairing(
            fleet=membership.trust.fleet,
            device=device.id,
            node=NodeId(membership.identity.id),
            generation=1,
            device_derive=device.derive.public,
            node_derive=self.keys.derive_key.public,
            device_awg=public_key(device.awg),
            node_awg=public_key(self.keys.awg_key),
        )

    async def add_device(self, host: str, kind: str = GO, parameters: ObfuscationParameters = PLAIN) -> Device:
        """Start an engine at a host, whose traffic to the web goes through the node."""
        device = self.devices.setdefault(host, Device(host))
        path = SOCKETS / f"{device.interface}.sock"
        path.unlink(missing_ok=True)
        words = [*COMMAND, "--foreground"] if kind == OURS else ["wireguard-go", "--foreground"]
        process = await self.lab.start(host, *words, device.interface, name=f"{host}-{kind}", ready=kind == OURS)
        device.process = process
        with trio.fail_after(START_TIMEOUT):
            while not path.exists():
                process.check()
                await trio.sleep(POLL_INTERVAL)
        await self._tell(device, parameters)
        for family, length in ((4, 24), (6, 64)):
            at_once = ["nodad"] if family == 6 else []
            own = f"{INNER[host][family]}/{length}"
            await self.lab.run(host, "ip", "addr", "add", own, "dev", device.interface, *at_once)
        await self.lab.run(host, "ip", "link", "set", device.interface, "up")
        # Everybody of the lab is a neighbour; through the tunnel is the more exact way.
        for family in (4, 6):
            web = self.net.outer(WEB, family)
            await self.lab.run(host, "ip", f"-{family}", "route", "add", web, "dev", device.interface)
        return device

    async def shake_anew(self, device: Device) -> None:
        """Have a device of WireGuard begin a new handshake, as its user does who switches it off and on."""
        await self.lab.run(
            device.host, "wg", "set", device.interface, "peer", encode(public_key(self.keys.awg_key)), "remove"
        )
        await self._tell(device, None)

    async def _tell(self, device: Device, parameters: ObfuscationParameters | None) -> None:
        peer = PeerChange(
            public_key=public_key(self.keys.awg_key),
            preshared_key=derive_psk(self.pairing(device), device.derive),
            endpoint=(self.lab.host(NODE).address4, AWG_PORT),
            allowed_ips=(ip_network("0.0.0.0/0"), ip_network("::/0")),
        )
        changes = parameter_changes(PLAIN, parameters or PLAIN)
        change = DeviceChange(private_key=device.awg, parameters=changes, peers=(peer,))
        async with await trio.open_unix_socket(SOCKETS / f"{device.interface}.sock") as stream:
            await stream.send_all(render_change(change, Generation.V3_1).encode())
            reply = b""
            while not reply.endswith(b"\n\n"):
                reply += await stream.receive_some()
        assert parse_reply(reply.decode())[1] == 0

    async def reach(self, device: Device, *, count: int = 3, interval: float = 0.05) -> int:
        """Return how many echoes to the node's address in the tunnel were answered."""
        return len(await round_trips(self.lab, device.host, INNER[NODE][4], count=count, interval=interval))

    async def wait_reach(self, device: Device) -> None:
        """Wait until an echo is answered."""
        while not await self.reach(device, count=1):
            pass

    @asynccontextmanager
    async def asks(self, device: Device, address: str, port: int = HTTP) -> AsyncIterator[VlessStream]:
        """Ask for a connection to somewhere, over REALITY."""
        pair = derive_reality_key(self.keys.derive_key, fleet=HOME.id, node=NodeId(NAME), generation=LOOK.generation)
        known = ClientSettings(server_name=SITE_NAME, public_key=pair.public, short_id=bytes.fromhex(LOOK.short_ids[0]))
        user = derive_uuid(self.pairing(device), device.derive).bytes
        transport = await self.lab.namespace(device.host).connect(self.lab.host(NODE).address4, REALITY_PORT)
        async with await start_reality(transport, known, now=time.time()) as outer:
            request = Request(user_id=user, command=Command.TCP, target=Address(address, port), flow=Flow.VISION)
            yield request_over(outer, request)


def _toml(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_toml, value))}]"
    return str(value) if isinstance(value, int) else f'"{value}"'


async def _serve_site(lab: Lab, nursery: trio.Nursery) -> None:
    site = Site(site_context(SITE_NAME))
    listener = await lab.namespace(SITE).listen(lab.host(SITE).address4, SITE_PORT)
    nursery.start_soon(trio.serve_listeners, site.serve, [listener])


async def _hold_servers(*, task_status: trio.TaskStatus[trio.Nursery]) -> None:
    async with trio.open_nursery() as nursery:
        task_status.started(nursery)
        await trio.sleep_forever()


@asynccontextmanager
async def open_whole_buoy(
    folder: Path, *, state: Path | None = None, timeout: float = 150, **settings: Any
) -> AsyncIterator[WholeBuoy]:
    """Have a node that joined the fleet, and web servers around it; its agent and its devices are the test's to start.

    ``settings`` are more keys of its `buoy.toml`; the whole test has ``timeout`` seconds.
    """
    skip_without_tools()
    state = state or folder / "state"
    state.mkdir(mode=0o700, exist_ok=True)
    with trio.fail_after(timeout):
        async with open_lab(folder) as lab, open_background(_hold_servers) as nursery:
            net = PolicyNet(lab=lab, nursery=nursery, keeper=Process([], folder / "nobody.log"))
            usual = {
                "state": state,
                "awg_driver": "embedded",
                "embedded_interface": "awg0",
                "reality_driver": "embedded",
                "reality_allowed": OUTSIDE,
            }
            keys = joined(state, name=NAME)
            buoy = WholeBuoy(lab=lab, net=net, keys=keys, state=state, settings=usual | settings)
            for family in (4, 6):
                await net.serve(WEB, net.outer(WEB, family), HTTP)
            await _serve_site(lab, nursery)
            try:
                yield buoy
                lab.check()
            finally:
                with trio.CancelScope(shield=True):
                    # Killed, engines would leave their sockets behind.
                    for process in [*(one.process for one in buoy.devices.values()), buoy.engine]:
                        if process is not None:
                            await process.stop()
