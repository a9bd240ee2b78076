"""Two devices, a node with a network policy, and an Internet behind it: a web server and a resolver."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import trio

from pharos.wire.awg.keys import generate_private_key, public_key
from pharos.wire.desired import Policy
from pharos.wire.netpolicy import NetworkPlan
from pharos.wire.tasks import open_background
from tests.system.lab.network import Lab, open_lab
from tests.system.lab.processes import Process
from tests.system.tunnels import COMMAND, POLL_INTERVAL, PORT, SOCKETS, START_TIMEOUT, encode, skip_without_tools

ROOT = Path(__file__).resolve().parents[2]
NODE, WEB, RESOLVER = "buoya", "buoyb", "beacon"
DEVICES = ("clienta", "clientb")
INTERFACE = "awg0"
INNER = {
    NODE: {4: "10.7.0.1", 6: "fd07::1"},
    "clienta": {4: "10.7.0.2", 6: "fd07::2"},
    "clientb": {4: "10.7.0.3", 6: "fd07::3"},
}
NETWORKS = ("10.7.0.0/24", "fd07::/64")
HTTP, DNS, DOT, SSH, RELAY = 80, 53, 853, 22, 443
PATIENCE = 8.0
"""Seconds for a connection that comes about; one that does not is refused, and takes none."""


def plan(policy: Policy | None = None, **fields: Any) -> NetworkPlan:
    """Return a plan for the node of this network."""
    made: dict[str, Any] = {
        "interfaces": (INTERFACE,),
        "networks": NETWORKS,
        "addresses": tuple(INNER[NODE].values()),
        "policy": policy or Policy(),
    }
    return NetworkPlan(**made | fields)


@attrs.define
class PolicyNet:
    """All of it, running; ``open_policy_net`` makes it."""

    lab: Lab
    nursery: trio.Nursery
    keeper: Process

    # -- the policy

    async def order(self, **order: Any) -> Any:
        """Tell the process that keeps the policy, and return its answer; an error of its own is a text."""
        async with await trio.open_unix_socket(self.lab.folder / "policy.sock") as stream:
            await stream.send_all(json.dumps(order).encode())
            await stream.send_eof()
            said = json.loads(b"".join([part async for part in stream]))
        return said["error"] if "error" in said else said["done"]

    async def apply(self, policy: Policy | None = None, **fields: Any) -> list[str]:
        """Put a plan into force, and return what it is said to lack."""
        found = await self.order(apply=plan(policy, **fields).as_json())
        assert isinstance(found, list), found
        return found

    async def start_keeper(self) -> None:
        """Start the process that keeps the policy, in the place of one that has ended."""
        self.keeper = await start_keeper(self.lab)

    async def ruleset(self) -> str:
        """Return all rules that the node has."""
        return await self.lab.run(NODE, "nft", "list", "ruleset")

    async def switches(self) -> dict[str, str]:
        """Return all of the node's switches that forwarding could move, by sysctl(8)."""
        pattern = r"forwarding$|ip_forward$|accept_ra$|accept_redirects$|rp_filter$|send_redirects$"
        lines = (await self.lab.run(NODE, "sysctl", "--all", "--pattern", pattern)).splitlines()
        return dict(line.split(" = ") for line in lines)

    # -- traffic

    async def serve(self, host: str, address: str, port: int) -> None:
        """Tell whoever comes, by TCP or UDP, who answers and how the caller looks from there."""
        namespace = self.lab.namespace(host)
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        datagrams = await namespace.socket(family, socket.SOCK_DGRAM)
        if family == socket.AF_INET6:
            datagrams.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        await datagrams.bind((address, port))
        listener = await namespace.listen(address, port)

        async def answer(stream: trio.SocketStream) -> None:
            async with stream:
                await stream.send_all(f"{host} {stream.socket.getpeername()[0]}".encode())

        async def answer_datagrams() -> None:
            with datagrams:
                while True:
                    _, source = await datagrams.recvfrom(512)
                    await datagrams.sendto(f"{host} {source[0]}".encode(), source)

        self.nursery.start_soon(trio.serve_listeners, answer, [listener])
        self.nursery.start_soon(answer_datagrams)

    async def ask(self, host: str, address: str, port: int = HTTP, *, kind: int = socket.SOCK_STREAM) -> list[str]:
        """Return who answers at an address, and as whom the caller came.

        Raises: OSError — it was refused; trio.TooSlowError — nobody said anything.
        """
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with trio.fail_after(PATIENCE), await self.lab.namespace(host).socket(family, kind) as sock:
            await sock.connect((address, port))
            if kind == socket.SOCK_DGRAM:
                await sock.send(b"?")
            return (await sock.recv(512)).decode().split()

    def outer(self, host: str, family: int) -> str:
        """Return a host's address on the Internet."""
        return self.lab.host(host).address(family)


async def start_keeper(lab: Lab) -> Process:
    path = lab.folder / "policy.sock"
    path.unlink(missing_ok=True)
    words = [str(path), str(lab.folder / "network"), str(lab.folder / "resolv.conf")]
    environment = f"PYTHONPATH={ROOT}"
    return await lab.start(
        NODE, "env", environment, sys.executable, "-m", "tests.system.policyhost", *words, name="policy", ready=True
    )


async def _start_node(lab: Lab, keys: dict[str, bytes]) -> None:
    folder = lab.folder / "uapi"
    folder.mkdir()
    await lab.start(NODE, *COMMAND, "--foreground", "--sockets", str(folder), INTERFACE, name="engine", ready=True)
    lines = ["set=1", f"private_key={keys[NODE].hex()}", f"listen_port={PORT}"]
    for device in DEVICES:
        lines.append(f"public_key={public_key(keys[device]).hex()}")
        lines += [f"allowed_ip={address}/{32 if family == 4 else 128}" for family, address in INNER[device].items()]
    async with await trio.open_unix_socket(folder / f"{INTERFACE}.sock") as stream:
        await stream.send_all("\n".join([*lines, "", ""]).encode())
        assert await stream.receive_some() == b"errno=0\n\n"
    await _link(lab, NODE, INTERFACE)


async def _start_device(lab: Lab, device: str, keys: dict[str, bytes]) -> Process:
    interface = f"w{os.getpid()}{device[-1]}"
    path = SOCKETS / f"{interface}.sock"
    path.unlink(missing_ok=True)
    process = await lab.start(device, "wireguard-go", "--foreground", interface)
    with trio.fail_after(START_TIMEOUT):
        while not path.exists():
            process.check()
            await trio.sleep(POLL_INTERVAL)
    peer = ["peer", encode(public_key(keys[NODE])), "allowed-ips", "0.0.0.0/0,::/0"]
    endpoint = ["endpoint", f"{lab.host(NODE).address4}:{PORT}"]
    own = ["private-key", "/dev/stdin"]
    await lab.run(device, "wg", "set", interface, *own, *peer, *endpoint, stdin=encode(keys[device]))
    await _link(lab, device, interface)
    # Everybody of the lab is a neighbour; through the tunnel is the more exact way.
    for host in (WEB, RESOLVER, NODE):
        await lab.run(device, "ip", "-6", "route", "add", lab.host(host).address6, "dev", interface)
        if host != NODE:
            await lab.run(device, "ip", "route", "add", lab.host(host).address4, "dev", interface)
    return process


async def _link(lab: Lab, host: str, interface: str) -> None:
    for family, length in ((4, 24), (6, 64)):
        at_once = ["nodad"] if family == 6 else []
        await lab.run(host, "ip", "addr", "add", f"{INNER[host][family]}/{length}", "dev", interface, *at_once)
    await lab.run(host, "ip", "link", "set", interface, "up")


async def _hold_servers(*, task_status: trio.TaskStatus[trio.Nursery]) -> None:
    async with trio.open_nursery() as nursery:
        task_status.started(nursery)
        await trio.sleep_forever()


@asynccontextmanager
async def open_policy_net(folder: Path, *, timeout: float = 120) -> AsyncIterator[PolicyNet]:
    """Build it, without a policy in force; the whole test has ``timeout`` seconds."""
    skip_without_tools()
    with trio.fail_after(timeout):
        async with open_lab(folder) as lab, open_background(_hold_servers) as nursery:
            keys = {host: generate_private_key(os.urandom) for host in (NODE, *DEVICES)}
            (folder / "resolv.conf").write_text("nameserver 127.0.0.53\n")
            await _start_node(lab, keys)
            devices = [await _start_device(lab, device, keys) for device in DEVICES]
            net = PolicyNet(lab=lab, nursery=nursery, keeper=await start_keeper(lab))
            try:
                for family in (4, 6):
                    for host in (WEB, RESOLVER):
                        for port in (HTTP, DNS, DOT):
                            await net.serve(host, lab.host(host).address(family), port)
                    for device in DEVICES:
                        await net.serve(device, INNER[device][family], HTTP)
                    for port in (SSH, RELAY):
                        await net.serve(NODE, {4: "0.0.0.0", 6: "::"}[family], port)
                yield net
                lab.check()
            finally:
                with trio.CancelScope(shield=True):
                    # Killed, wireguard-go would leave its socket behind.
                    for process in devices:
                        await process.stop()
