"""A machine whose tunnel is split, or whose names are asked in it: as `caravelhost`, with a /etc of its own.

What it is told stands in one line of JSON: that of `caravelhost`, with ``split`` for `SplitPlan.from_table`.
"""

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

from pharos.caravel.system import open_system
from pharos.caravel.system.dns import open_dns
from pharos.caravel.system.plan import SystemPlan
from pharos.caravel.system.split import SplitPlan
from pharos.caravel.system.splitting import open_split
from pharos.wire.daemon import Notifier
from tests.system.caravelhost import CLIENT, NEIGHBOUR, Legs, Machine, Stage, open_stage, places_in, run
from tests.system.lab.names import Zone, serve_names
from tests.system.lab.processes import Process
from tests.system.lab.relayprocess import ROOT
from tests.system.lab.topology import HOSTS
from tests.system.nodes import DEVICE, OWN

HTTP = 80
PLACES = {4: "192.0.2.80", 6: "2001:db8:80::80"}
"""One address at either side; who answers there says which it is."""
FETCH = """
import encodings.idna, os, socket, sys
host, port, uid = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
os.setgid(uid), os.setuid(uid)
with socket.create_connection((host, port), 3) as stream:
    print(stream.recv(100).decode())
"""
ASK = """
import os, sys, dns.message, dns.query
server, name, kind, tcp, port, source, uid = sys.argv[1:]
os.setuid(int(uid))
ask = dns.query.tcp if tcp else dns.query.udp
said = ask(dns.message.make_query(name, kind), server, timeout=1, port=int(port), source=source or None)
print(*(record for records in said.answer for record in records))
"""
LOOK_UP = "import socket, sys; print(sorted({one[4][0] for one in socket.getaddrinfo(sys.argv[1], 80)}))"


@attrs.frozen(kw_only=True)
class SplitStage:
    """A lab with a machine that has its own /etc, servers of names at either side, and a place at both."""

    stage: Stage
    holder: Process
    inside: list[str]
    """Names that the tunnel's resolver was asked for."""
    outside: list[str]
    """Those that the machine's own was."""

    @property
    def words(self) -> tuple[str, ...]:
        return "nsenter", f"--mount=/proc/{self.holder.pid}/ns/mnt", "--", "env", f"PYTHONPATH={ROOT}"

    async def run(self, *command: str, check: bool = True) -> str:
        """Run a command at the machine, which sees its own /etc."""
        return await self.stage.lab.run(CLIENT, *self.words, *command, check=check)

    async def start(self, split: dict[str, Any] | None = None, **plan: Any) -> Machine:
        """Put the machine in the tunnel."""
        setting = {
            "folder": str(self.stage.lab.folder),
            "key": self.stage.key.hex(),
            "nodes": [[node.public_key.hex(), HOSTS[node.host].address4] for node in self.stage.nodes[:1]],
            "plan": {"addresses": DEVICE, "resolvers": [OWN[4]], **plan},
            "split": split or {},
        }
        command = (*self.words, sys.executable, "-m", "tests.system.splithost", json.dumps(setting))
        process = await self.stage.lab.start(CLIENT, *command, name=f"{CLIENT}-split", ready=True)
        return Machine(process, self.stage.lab.folder / "control")

    async def restore(self) -> list[str]:
        """Undo what a machine has left."""
        return list(
            json.loads(await self.run(sys.executable, "-m", "tests.system.splithost", str(self.stage.lab.folder)))
        )

    async def side(self, host: str, *, uid: int = 0, words: tuple[str, ...] = ()) -> str:
        """Return who answers a program of the machine at a host: ``inside``, ``outside``, or nobody."""
        said = await self.run(*words, sys.executable, "-c", FETCH, host, str(HTTP), str(uid), check=False)
        return said.strip()

    async def look_up(self, name: str) -> str:
        """Return the addresses that a program of the machine finds by the C library, empty if none."""
        return (await self.run(sys.executable, "-c", LOOK_UP, name, check=False)).strip()

    async def ask(
        self,
        server: str,
        name: str,
        kind: str = "A",
        *,
        tcp: bool = False,
        port: int = 53,
        source: str = "",
        uid: int = 0,
    ) -> str:
        """Return what a program of the machine is told by a server that it asks itself, empty if nothing."""
        words = (server, name, kind, "tcp" if tcp else "", str(port), source, str(uid))
        return (await self.run(sys.executable, "-c", ASK, *words, check=False)).strip()

    async def cat(self, path: str) -> str:
        return await self.run("cat", path)


@asynccontextmanager
async def open_split_stage(
    folder: Path, *, inside: Zone | None = None, outside: Zone | None = None, resolv_conf: str | None = None
) -> AsyncIterator[SplitStage]:
    """Build it. ``resolv_conf`` is the machine's; None: its neighbour is asked."""
    near = HOSTS[NEIGHBOUR]
    async with open_stage(folder) as stage:
        etc = folder / "etc"
        shutil.copytree("/etc", etc, symlinks=True, ignore=lambda *_: ("resolv.conf", "shadow", "ssl", "alternatives"))
        (etc / "resolv.conf").write_text(resolv_conf or f"nameserver {near.address4}\n")
        script = 'mount --bind "$1" /etc && mount -t cgroup2 none /sys/fs/cgroup && exec sleep 600'
        words = ("unshare", "--mount", "sh", "-c", script, "sh", str(etc))
        holder = await stage.lab.start(CLIENT, *words, name="etc")
        asked: tuple[list[str], list[str]] = ([], [])
        split = SplitStage(stage=stage, holder=holder, inside=asked[0], outside=asked[1])
        await wait_command(holder.pid, "sleep")
        for host in ("buoya", NEIGHBOUR):
            for place in (f"{PLACES[4]}/32", f"{PLACES[6]}/128 nodad"):
                await stage.lab.run(host, "ip", "addr", "add", "dev", "lo", *place.split())
        async with trio.open_nursery() as nursery:
            lab = stage.lab
            for host, word in (("buoya", b"inside"), (NEIGHBOUR, b"outside")):
                for address in PLACES.values():
                    nursery.start_soon(greet, await lab.namespace(host).listen(address, HTTP), word)
            for host, address, zone, list_ in (
                ("buoya", OWN[4], inside or {}, asked[0]),
                (NEIGHBOUR, near.address4, outside or {}, asked[1]),
            ):
                await nursery.start(serve_names, lab.namespace(host), address, zone, list_)
            yield split
            nursery.cancel_scope.cancel()


async def wait_command(pid: int, word: str) -> None:
    """Return once a process has become the program of that name."""
    while True:
        if word in await trio.Path(f"/proc/{pid}/cmdline").read_text():
            return
        await trio.sleep(0.01)


async def greet(listener: trio.SocketListener, word: bytes) -> None:
    """Say a word to each who comes."""
    async with listener:
        while True:
            async with await listener.accept() as stream:
                await stream.send_all(word)


async def main(setting: dict[str, Any]) -> None:
    folder, notifier = Path(setting["folder"]), Notifier.from_environment()
    plan = SplitPlan.from_table(setting["split"])
    async with open_system(plan.fit(SystemPlan(**setting["plan"])), places=places_in(folder)) as system:
        legs = Legs(system, bytes.fromhex(setting["key"]), setting["nodes"])
        async with open_split(plan, system) as split, open_dns(split, system):
            try:
                await legs.switch()
                await legs.serve(folder / "control", started=lambda: notifier.send("READY=1"))
            finally:
                await legs.drop()


if __name__ == "__main__":
    run(sys.argv[1], main)
