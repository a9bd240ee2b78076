"""The lab: a small internet of network namespaces that lasts as long as its block, whatever ends it."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio

from tests.system.lab import janitor
from tests.system.lab.build import NAMES, OPEN, build, wait_carrier
from tests.system.lab.commands import CommandError, inside, run_command, run_ip, run_nft
from tests.system.lab.impair import Counts, Impairment
from tests.system.lab.namespace import Namespace
from tests.system.lab.processes import Process
from tests.system.lab.relayprocess import open_relay, relay_command
from tests.system.lab.topology import HOSTS, INTERNET, Host, cable, uplink

BUILD_TIMEOUT = 30.0
REMOVE_TIMEOUT = 30.0

_labs = itertools.count()


@attrs.define
class BadLine:
    """What a relay did to the frames of each direction; known when it has ended."""

    up: Counts = attrs.field(factory=Counts)
    """From the host."""
    down: Counts = attrs.field(factory=Counts)
    """To the host."""


@attrs.frozen(kw_only=True)
class Socket:
    """One socket, as ss(8) shows it."""

    kind: str
    """``tcp`` or ``udp``."""
    state: str
    """``LISTEN``, ``ESTAB``, …; a UDP socket that takes datagrams from everybody is ``UNCONN``."""
    address: str
    port: int
    remote: str
    """Address of the other end, ``*`` or a wildcard where there is none."""


class Lab:
    """A network that is there; ``open_lab`` makes it."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        """Logs, by process."""
        self._processes: list[Process] = []
        self._cuts = itertools.count()

    # -- being somewhere

    def host(self, name: str) -> Host:
        """Return a host's addresses."""
        return HOSTS[name]

    def namespace(self, host: str) -> Namespace:
        """Return the namespace of a host, or of the internet between them."""
        assert host in NAMES, f"there is no {host} in the lab"
        return Namespace(f"{self.name}-{host}")

    def words(self, host: str, command: Sequence[str]) -> list[str]:
        """Return the words that run a command at a host."""
        return inside(self.namespace(host).name, command)

    async def run(self, host: str, *command: str, stdin: str = "", check: bool = True) -> str:
        """Run a command at a host to its end and return what it printed.

        Raises: CommandError — it failed and ``check`` is set.
        """
        return await run_command(*self.words(host, command), stdin=stdin, check=check)

    async def start(self, host: str, *command: str, name: str | None = None, ready: bool = False) -> Process:
        """Start a process at a host; with ``ready``, wait for its READY=1. The lab kills it at the end if need be.

        Raises: ProcessEndedError — it ended before it was ready.
        """
        process = Process(self.words(host, command), self.folder / f"{name or host}.log")
        self._processes.append(process)
        await process.start(ready=ready)
        return process

    async def sockets(self, host: str) -> list[Socket]:
        """Return the TCP and UDP sockets of a host."""
        lines = (await self.run(host, "ss", "--no-header", "--numeric", "--all", "--tcp", "--udp")).splitlines()
        found = []
        for kind, state, _, _, local, remote, *_ in map(str.split, lines):
            address, _, port = local.rpartition(":")
            found.append(
                Socket(
                    kind=kind,
                    state=state,
                    # What ss writes for sockets of both families, and for an interface's own address.
                    address=address.strip("[]").replace("*", "::").partition("%")[0],
                    port=int(port),
                    remote=remote.rpartition(":")[0].strip("[]"),
                )
            )
        return found

    def check(self) -> None:
        """Raises: ProcessEndedError — a process of the lab has ended unasked."""
        for process in self._processes:
            process.check()

    # -- being cut off; helm's cable is the one from its NAT to the internet

    @asynccontextmanager
    async def cut(self, host: str) -> AsyncIterator[None]:
        """Pull a host's cable while the block lasts: no carrier, nothing passes."""
        await run_ip([f"link set {cable(host)} down"], self._internet)
        try:
            yield
        finally:
            with trio.CancelScope(shield=True):
                await run_ip([f"link set {cable(host)} up"], self._internet)
                await wait_carrier(self.namespace(INTERNET), [cable(host)])
                await wait_carrier(self.namespace(uplink(host).name), ["eth0"])

    @asynccontextmanager
    async def drop(self, source: str, target: str) -> AsyncIterator[None]:
        """Drop what one host sends to another while the block lasts; the other direction stays."""
        way = f"ether saddr {uplink(source).mac} ether daddr {uplink(target).mac}"
        async with self._rules([f"{way} counter drop"]):
            yield

    @asynccontextmanager
    async def lose(self, host: str, share: float) -> AsyncIterator[None]:
        """Lose a random share of the packets of each direction of a host while the block lasts."""
        mac = uplink(host).mac
        die = f"numgen random mod 1000 < {round(share * 1000)} counter drop"
        async with self._rules([f"ether saddr {mac} {die}", f"ether daddr {mac} {die}"]):
            yield

    @asynccontextmanager
    async def forbid(self, host: str, *what: str) -> AsyncIterator[None]:
        """Drop what a host sends that is of one of these kinds while the block lasts; what comes to it passes.

        Each kind is an expression of nft(8): ``meta l4proto udp``.
        """
        async with self._rules([f"ether saddr {uplink(host).mac} {kind} counter drop" for kind in what]):
            yield

    @asynccontextmanager
    async def impair(
        self, host: str, up: Impairment, down: Impairment | None = None, *, seed: int = 1
    ) -> AsyncIterator[BadLine]:
        """Make a host's line bad while the block lasts: ``up`` from it, ``down`` (the same if None) to it.

        Connections survive both changes, but for the frames on the line. The counts are there after the block.
        """
        outer, inner, bridge = (f"{letter}-{uplink(host).name}" for letter in "oid")
        setting = {"up": attrs.asdict(up), "down": attrs.asdict(down or up), "seed": seed}
        result = BadLine()
        async with open_relay(self.words(INTERNET, relay_command(inner, outer)), setting) as relay:
            await run_ip(
                [
                    f"link add {bridge} type bridge mcast_snooping 0",
                    *[f"link set {device} up" for device in (bridge, inner, outer)],
                    f"link set {inner} master {bridge}",
                    f"link set {outer} master br0",
                    f"link set {cable(host)} master {bridge}",
                ],
                self._internet,
            )
            try:
                yield result
            finally:
                with trio.CancelScope(shield=True):
                    await run_ip([f"link set {cable(host)} master br0", f"link del {bridge}"], self._internet)
            result.up, result.down = await relay.finish()

    async def open_firewall(self) -> None:
        """Let everybody through helm's NAT, for good: what the firewall keeps out has to be seen to come in."""
        await run_nft(self.namespace("nat").name, OPEN)

    @property
    def _internet(self) -> str:
        return self.namespace(INTERNET).name

    @asynccontextmanager
    async def _rules(self, rules: Sequence[str]) -> AsyncIterator[None]:
        table = f"cut{next(self._cuts)}"
        lines = [
            # A real line between two routers has no ARP on it to lose.
            "ether type arp accept",
            "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept",
            # Frames of an impaired host cross two bridges, and are judged on one.
            'iifname "i-*" accept',
            'oifname "i-*" accept',
            *rules,
        ]
        chain = "type filter hook forward priority 0;\n    " + "\n    ".join(lines)
        await run_nft(self._internet, f"table bridge {table} {{\n  chain passing {{\n    {chain}\n  }}\n}}\n")
        try:
            yield
        finally:
            with trio.CancelScope(shield=True):
                await run_nft(self._internet, f"delete table bridge {table}")

    async def end_processes(self) -> None:
        """Kill what runs; for the lab's end."""
        async with trio.open_nursery() as nursery:
            for process in self._processes:
                nursery.start_soon(process.kill)


@asynccontextmanager
async def open_lab(folder: Path) -> AsyncIterator[Lab]:
    """Build a lab, with logs in ``folder``, and remove it and all that runs in it when the block ends.

    A lab whose process is killed is removed as well, by a janitor that notices; what a killed janitor left is swept
    here. Labs do not see each other, so any number of them may stand side by side.
    """
    await trio.to_thread.run_sync(janitor.sweep)
    lab = Lab(janitor.lab_name(next(_labs)), folder)
    process = await trio.lowlevel.open_process(
        [sys.executable, "-I", "-S", janitor.__file__, lab.name],
        stdin=subprocess.PIPE,
        # Ctrl-C at a terminal reaches every process of the group; this one has work to do then.
        start_new_session=True,
    )
    assert process.stdin is not None
    try:
        with trio.fail_after(BUILD_TIMEOUT):
            await build(lab.name)
        yield lab
    finally:
        with trio.CancelScope(shield=True), trio.fail_after(REMOVE_TIMEOUT):
            await lab.end_processes()
            await process.stdin.aclose()
            if await process.wait() != 0:
                raise CommandError(f"the lab {lab.name} was not removed")
