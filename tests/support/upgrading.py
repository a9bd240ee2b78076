"""Machines to upgrade that are not there: what dpkg, apt and an agent do, and how each of them can fail."""

from __future__ import annotations

import hashlib
import io
import lzma
import tarfile
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio

from pharos.helm.model.nodes import NodeState
from pharos.helm.onboard.errors import ConnectionLostError, RemoteCommandError
from pharos.helm.onboard.join.parts import Part
from pharos.helm.onboard.remote import Destination, Facts, Progress
from pharos.helm.onboard.upgrade import place
from pharos.helm.onboard.upgrade.desk import Health, Member
from pharos.wire.units import MIB

OLD, NEW = "0.1.0", "0.2.0"


def write_deb(folder: Path, version: str = NEW, package: str = "pharos-buoy", arch: str = "amd64") -> Path:
    """Write a package in whose control file stands which it is, and nothing else."""
    control = f"Package: {package}\nVersion: {version}\nArchitecture: {arch}\n".encode()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        entry = tarfile.TarInfo("./control")
        entry.size = len(control)
        archive.addfile(entry, io.BytesIO(control))
    members = {"debian-binary": b"2.0\n", "control.tar.xz": lzma.compress(packed.getvalue()), "data.tar.xz": b"xx"}
    parts = [b"!<arch>\n"]
    for name, content in members.items():
        parts.append(f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode())
        parts.append(content + b"\n" * (len(content) % 2))
    path = folder / f"{package}_{version}_{arch}.deb"
    path.write_bytes(b"".join(parts))
    return path


@attrs.define
class FakeMachine:
    """A machine with a package, and what is to go wrong on it."""

    name: str
    part: Part = Part.BUOY
    version: str = OLD
    state: str = "installed"
    agent: str = OLD
    """Version of the agent that runs; empty: none does."""
    started: int = 1
    tunnels: int = 3
    free: int = 1024 * MIB
    kept: set[str] = attrs.field(factory=set)
    """Versions whose packages are in the cache."""
    note: bytes = b""
    arrived: Path | None = None
    dumb: set[str] = attrs.field(factory=set)
    """Versions whose agents do not come up."""
    falling: set[str] = attrs.field(factory=set)
    """Of those, the ones that systemd starts again and again."""
    troubled: set[str] = attrs.field(factory=set)
    """Versions whose engines have trouble."""
    loses: set[str] = attrs.field(factory=set)
    """Versions that end a tunnel."""
    unpackable: set[str] = attrs.field(factory=set)
    """Versions that apt gives up half way."""
    refused: str = ""
    """What apt says before it begins."""
    cuts: list[str] = attrs.field(factory=list)
    """Commands before which the connection breaks, once each: ``apt``, ``apt 2`` for the second of them, and so on."""
    cuts_after: list[str] = attrs.field(factory=list)
    away: bool = False
    """Nobody can connect any more."""
    dies: bool = False
    """It is away from the next cut on."""
    log: list[str] = attrs.field(factory=list)
    dials: int = 0

    @property
    def member(self) -> Member:
        return Member(
            id=f"id-{self.name}",
            name=self.name,
            part=self.part,
            state=NodeState.ACTIVE,
            destination=f"root@{self.name}",
        )

    # -- what its commands do

    def install(self, version: str) -> None:
        """dpkg unpacks, and the package starts its agent."""
        if self.refused:
            raise RemoteCommandError("apt-get", 100, self.refused)
        self.version, self.state, self.agent = version, "half-configured", ""
        if version in self.unpackable:
            raise RemoteCommandError("apt-get", 100, "the post-installation script failed")
        self.state = "installed"
        if version not in self.dumb:
            self.agent, self.started = version, self.started + 1
        # They come back with a version that is well.
        self.tunnels = 2 if version in self.loses else 3

    def health(self, since: int) -> Health | None:
        if not self.agent:
            return None
        return Health(
            version=self.agent,
            started_at=self.started,
            settled=True,
            troubles=("amneziawg: no interface",) if self.agent in self.troubled else (),
            now=1_800_000_000_000_000,
            tunnels=self.tunnels,
        )

    def cut(self, what: str, where: list[str]) -> None:
        if what in where:
            where.remove(what)
            self.away |= self.dies
            raise ConnectionLostError(f"{self.name} is away")


class FakeRemote:
    """A `Remote` to such a machine."""

    def __init__(self, machine: FakeMachine) -> None:
        self._machine = machine
        self.destination = Destination(host=machine.name)
        self.host_key = "SHA256:x"
        self.facts = Facts(
            distribution="debian",
            release="12",
            arch="amd64",
            python="3.11.2",
            root="root",
            free=dict.fromkeys(("/usr", "/var", "/tmp"), machine.free),
            taken={},
            packages={},
        )

    async def run(self, *argv: str, stdin: bytes = b"", root: bool = False, timeout: float = 60.0) -> bytes:
        await trio.lowlevel.checkpoint()
        machine, what = self._machine, _named(argv)
        machine.log.append(what)
        which = {what, f"{what} {machine.log.count(what)}"}
        for one in which:
            machine.cut(one, machine.cuts)
        answer = self._do(what, argv, stdin)
        for one in which:
            machine.cut(one, machine.cuts_after)
        return answer

    def _do(self, what: str, argv: tuple[str, ...], stdin: bytes) -> bytes:
        machine = self._machine
        match what:
            case "systemctl":
                return f"{5 if machine.version in machine.falling else 0}\n".encode()
            case "query":
                return f"{machine.version} {machine.state}".encode()
            case "compare":
                if not _numbers(argv[2]) < _numbers(argv[4]):
                    raise RemoteCommandError("dpkg", 1, "")
            case "read":
                return machine.note
            case "write":
                machine.note = stdin
            case "forget":
                machine.note = b""
            case "whole":
                if _version_in(argv[2]) not in machine.kept:
                    raise RemoteCommandError("dpkg-deb", 2, "no such file")
                return f"Package: {machine.part.agent.package}\nVersion: {_version_in(argv[2])}\n".encode()
            case "pack":
                machine.kept.add(_version_in(argv[-1]))
            case "made":
                return b"/tmp/pharos.x\n"
            case "take":
                assert machine.arrived is not None
                return f"{hashlib.sha256(machine.arrived.read_bytes()).hexdigest()}  there\n".encode()
            case "move":
                machine.kept.add(_version_in(argv[-1]))
            case "apt" | "force":
                assert _version_in(argv[-1]) in machine.kept
                machine.install(_version_in(argv[-1]))
            case "prune":
                machine.kept &= {_version_in(word) for word in argv[argv.index("!") :] if word.endswith(".deb")}
            case _:
                pass
        return b""

    async def upload(self, source: Path, target: str, progress: Progress) -> None:
        self._machine.log.append("upload")
        progress(0, 10)
        self._machine.cut("upload", self._machine.cuts)
        await trio.lowlevel.checkpoint()
        progress(10, 10)
        self._machine.arrived = source


def _named(argv: tuple[str, ...]) -> str:
    """Return a word for a command; what the program does there is tested on a machine that is one."""
    scripts = {place._READ: "read", place._WRITE: "write", place._TAKE: "take", place._PACK: "pack"}
    match argv:
        case ("dpkg-query", *_):
            return "query"
        case ("dpkg", "--compare-versions", *_):
            return "compare"
        case ("sh", "-c", script, *_):
            return scripts.get(script, "read whole")
        case ("dpkg-deb", *_):
            return "whole"
        case ("mktemp", *_):
            return "made"
        case ("mv", *_):
            return "move"
        case ("find", *_):
            return "prune"
        case ("rm", "-f", *_):
            return "forget"
        case ("env", *words):
            return "apt" if "apt-get" in words else "force"
    return argv[0]


def _version_in(path: str) -> str:
    return path.split("_")[1]


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


class FakeDesk:
    """helm, which sees those machines."""

    def __init__(self, machines: Iterable[FakeMachine]) -> None:
        self.machines = {machine.member.id: machine for machine in machines}

    async def members(self, part: Part) -> list[Member]:
        await trio.lowlevel.checkpoint()
        return [machine.member for machine in self.machines.values() if machine.part is part]

    async def health(self, member: Member, since: int) -> Health | None:
        await trio.lowlevel.checkpoint()
        return self.machines[member.id].health(since)

    @asynccontextmanager
    async def connect(self, member: Member) -> AsyncIterator[FakeRemote]:
        machine = self.machines[member.id]
        machine.dials += 1
        machine.log.append("connect")
        machine.cut("connect", machine.cuts)
        if machine.away:
            raise ConnectionLostError(f"{machine.name} is away")
        # As the true one, which has tasks of its own.
        async with trio.open_nursery():
            yield FakeRemote(machine)
