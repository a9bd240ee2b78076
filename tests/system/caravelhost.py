"""A machine in system-wide mode, as a process that can be killed: legs to nodes come and go as its owner says.

It is told where it stands by one line of JSON on its command line, and what to do by lines on a Unix socket, each of
which is answered by one. READY=1 is said when the machine is in the tunnel and the first node has answered.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import trio

from pharos.caravel.system import open_system, restore_system
from pharos.caravel.system.linux import System
from pharos.caravel.system.plan import SystemPlan
from pharos.caravel.system.restore import Places
from pharos.wire.awg.config import PeerConfig
from pharos.wire.awg.device import Device
from pharos.wire.awg.keys import generate_private_key
from pharos.wire.awg.pump import Pump
from pharos.wire.awg.tun import Tun
from pharos.wire.awg.tunnel import Tunnel
from pharos.wire.awg.udp import ANY_IPV6, UdpPort, bind_udp, local_address
from pharos.wire.daemon import Notifier
from pharos.wire.tasks import open_background
from tests.system.lab.network import Lab, open_lab
from tests.system.lab.processes import Process
from tests.system.lab.topology import HOSTS
from tests.system.leaks import Leaks, count_leaks, restless
from tests.system.nodes import BEYOND, DEVICE, EVERYWHERE, PORT, Node, running_node

CLIENT, NEIGHBOUR = "clienta", "beacon"

SWITCH_GAP = 0.02
"""Without any leg, at least: a node takes no two handshakes of a device within that."""
UP_TIMEOUT = 10.0


def places_in(folder: Path) -> Places:
    """Return where a machine of a test notes what it changes."""
    return Places(running=folder / "run", lasting=folder / "lib")


class Machine:
    """The owner's end: a process at a host that does as it is told."""

    def __init__(self, process: Process, control: Path) -> None:
        self.process = process
        self._control = control

    async def tell(self, word: str) -> Any:
        """Have it done, and return what it answers.

        Raises: AssertionError — it could not be done.
        """
        async with await trio.open_unix_socket(str(self._control)) as stream:
            await stream.send_all(f"{word}\n".encode())
            said = b"".join([part async for part in stream])
        answer = json.loads(said)
        assert "error" not in answer, answer
        return answer["ok"]

    async def wait_end(self) -> int:
        """Wait until it has ended by itself; return its exit code."""
        return await self.process.wait()


@attrs.frozen(kw_only=True)
class Stage:
    """A lab with nodes and a machine that can be put in the tunnel to them."""

    lab: Lab
    key: bytes
    nodes: list[Node]
    host: str = CLIENT

    async def start(self, *, ready: bool = True, **plan: Any) -> Machine:
        """Put the machine in the tunnel; ``plan`` is of `SystemPlan`."""
        setting = {
            "folder": str(self.lab.folder),
            "key": self.key.hex(),
            "nodes": [[node.public_key.hex(), HOSTS[node.host].address4] for node in self.nodes],
            "plan": {"addresses": DEVICE, **plan},
        }
        command = [sys.executable, "-m", "tests.system.caravelhost", json.dumps(setting)]
        process = await self.lab.start(self.host, *command, name=f"{self.host}-caravel", ready=ready)
        return Machine(process, self.lab.folder / "control")

    async def restore(self) -> list[str]:
        """Undo what a machine has left, by a process that ends."""
        said = await self.lab.run(self.host, sys.executable, "-m", "tests.system.caravelhost", str(self.lab.folder))
        return [str(kind) for kind in json.loads(said)]

    async def state(self) -> dict[str, str]:
        """Return what system-wide mode may change, as the machine's own tools show it."""
        commands = {
            "rules": "ip rule",
            "rules6": "ip -6 rule",
            "routes": "ip route show table all",
            "routes6": "ip -6 route show table all",
            "nft": "nft list ruleset",
            "links": "ip -brief link",
            "valid mark": "cat /proc/sys/net/ipv4/conf/all/src_valid_mark",
        }
        return {name: await self.lab.run(self.host, *words.split()) for name, words in commands.items()}

    def leaks(self) -> AbstractAsyncContextManager[Leaks]:
        """Count what leaves the machine beside the tunnel."""
        return count_leaks(self.lab, self.host, nodes=[(HOSTS[node.host].address4, PORT) for node in self.nodes])

    def restless(self, *more: str) -> AbstractAsyncContextManager[None]:
        """Have the machine send all the time: to its neighbours, to the internet, by both versions of IP."""
        own, near = HOSTS[self.host], HOSTS[NEIGHBOUR]
        targets = (near.address4, near.address6, BEYOND[4], BEYOND[6], *more)
        return restless(self.lab, self.host, f"{own.address4},{own.address6}", *targets)

    async def reaches(self, address: str, *words: str) -> bool:
        """Tell whether an echo from the machine to an address is answered."""
        said = await self.lab.run(self.host, "ping", "-n", "-c1", "-W2", *words, address, check=False)
        return " 1 received" in said


@asynccontextmanager
async def open_stage(folder: Path, *, timeout: float = 120.0) -> AsyncIterator[Stage]:
    """Build a lab with two nodes and a machine whose own way out is by a neighbour."""
    key, near = generate_private_key(os.urandom), HOSTS[NEIGHBOUR]
    with trio.fail_after(timeout):
        async with (
            open_lab(folder) as lab,
            running_node(lab, "buoya", key) as one,
            running_node(lab, "buoyb", key) as two,
        ):
            for address in (near.address4, near.address6):
                await lab.run(CLIENT, "ip", "route", "add", "default", "via", address)
            yield Stage(lab=lab, key=key, nodes=[one, two])


async def leaks_while_switching(folder: Path, switches: int) -> Leaks:
    """Have a restless machine go from node to node so many times, and return what its cable has seen."""
    async with open_stage(folder, timeout=60.0 + switches) as stage:
        machine = await stage.start()
        async with stage.leaks() as leaks, stage.restless():
            for _ in range(switches):
                await machine.tell("switch")
        await machine.tell("end")
        await machine.wait_end()
        return leaks


class Legs:
    """The process's end: one leg at a time carries what the TUN has."""

    def __init__(self, system: System, private_key: bytes, nodes: list[list[str]]) -> None:
        self.system = system
        self._key = private_key
        self._nodes = [(bytes.fromhex(key), address) for key, address in nodes]
        self._at = -1
        self._stack = AsyncExitStack()
        self._ending = trio.Event()

    async def drop(self) -> None:
        """Have no leg."""
        await self._stack.aclose()

    async def switch(self) -> int:
        """Go to the next node; return which."""
        await self.drop()
        await trio.sleep(SWITCH_GAP)
        self._at = (self._at + 1) % len(self._nodes)
        key, address = self._nodes[self._at]
        await self._stack.enter_async_context(self._leg(key, address))
        return self._at

    @asynccontextmanager
    async def _leg(self, key: bytes, address: str) -> AsyncIterator[None]:
        tun = self.system.inner.far
        assert isinstance(tun, Tun)
        device = Device(private_key=self._key, random=os.urandom, wall_clock=time.time_ns, mtu=tun.mtu)
        device.set_peer(PeerConfig(public_key=key, allowed_ips=EVERYWHERE, endpoint=(address, PORT)), 0.0)
        with bind_udp(ANY_IPV6, 0) as sock:
            self.system.protect(sock)
            pump = Pump(device, [UdpPort(sock)], tun)
            async with open_background(pump.run):
                with trio.fail_after(UP_TIMEOUT):
                    await Tunnel(device, pump, [local_address(sock)], ()).wait_handshake(key)
                yield

    async def obey(self, word: str) -> Any:
        """Do what a line says."""
        match word:
            case "switch":
                return await self.switch()
            case "drop":
                return await self.drop()
            case "portal" | "no portal":
                return self.system.allow_portal(word == "portal")
            case "release":
                return self.system.release()
            case "end":
                return self._ending.set()
        raise ValueError(word)

    async def serve(self, control: Path, *, started: Callable[[], None]) -> None:
        """Answer until told to end."""
        await trio.Path(control).unlink(missing_ok=True)
        with trio.socket.socket(trio.socket.AF_UNIX) as sock:
            await sock.bind(str(control))
            sock.listen()
            started()
            while not self._ending.is_set():
                peer, _ = await sock.accept()
                async with trio.SocketStream(peer) as stream:
                    word = (await stream.receive_some()).decode().strip()
                    if word == "fail":
                        raise RuntimeError("it was told to")
                    try:
                        answer = {"ok": await self.obey(word)}
                    except Exception as error:
                        answer = {"error": repr(error)}
                    await stream.send_all(json.dumps(answer).encode())


async def main(setting: dict[str, Any]) -> None:
    folder = Path(setting["folder"])
    notifier = Notifier.from_environment()
    async with open_system(SystemPlan(**setting["plan"]), places=places_in(folder)) as system:
        legs = Legs(system, bytes.fromhex(setting["key"]), setting["nodes"])
        try:
            if setting["nodes"]:
                await legs.switch()
            await legs.serve(folder / "control", started=lambda: notifier.send("READY=1"))
        finally:
            await legs.drop()


def run(word: str, be: Callable[[dict[str, Any]], Awaitable[None]] = main) -> None:
    """Be the machine of a setting, or put back what one in this folder has left."""
    if word.startswith("{"):
        trio.run(be, json.loads(word))
    else:
        print(json.dumps(trio.run(restore_system, places_in(Path(word)))))


if __name__ == "__main__":
    run(sys.argv[1])
