"""A machine to be brought in, in a folder: its commands run for real, the real `buoy` and `beacon` among them.

What would change this system is played: apt, dpkg and systemd, of which the last opens the ports that an agent would.
"""

from __future__ import annotations

import io
import lzma
import socket
import tarfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import click
import trio

from pharos.beacon.cli import main as beacon
from pharos.buoy.cli import main as buoy
from pharos.helm.onboard.debs import read_deb
from pharos.helm.onboard.errors import ConnectionLostError, RemoteCommandError
from pharos.helm.onboard.remote import Destination, Facts, Progress
from tests.support.commands import invoke

ROOTED = ("/etc/", "/var/lib/")
PROGRAMS: dict[str, click.Command] = {"buoy": buoy, "beacon": beacon}
HOST_KEY = "SHA256:" + "k" * 43
SETTINGS = "# Settings.\n\n# TCP.\n#control_port = 7443\n#ingress_port = 443\n#tunnel_port = 7444\n"
FACTS = Facts(
    distribution="debian",
    release="12",
    arch="amd64",
    python="3.11.2",
    root="root",
    free={"/usr": 10**10, "/var": 10**10, "/tmp": 10**10},
    taken={},
    packages={},
)


@attrs.define
class Sandbox:
    """What outlives a connection."""

    root: Path
    facts: Facts = FACTS
    ports: dict[str, tuple[int, ...]] = attrs.field(factory=dict)
    """On loopback, by package, of its service while that runs."""
    running: dict[str, list[socket.socket]] = attrs.field(factory=dict)
    ran: list[tuple[str, ...]] = attrs.field(factory=list)
    fails: Callable[[tuple[str, ...]], str | None] = lambda _argv: None
    """Returns what a command says when it fails, None for one that does not."""
    cut_after: int | None = None
    """So many commands from now the connection is cut: the last one was carried out, and nobody heard."""

    @property
    def home(self) -> Path:
        """Where a shell begins."""
        return self.root / "home"

    @property
    def left(self) -> list[str]:
        """Return what is there of ours, in files."""
        paths = [path for path in self.root.rglob("*") if path.is_file()]
        return sorted(str(path.relative_to(self.root)) for path in paths)

    def close(self) -> None:
        """Stop all services."""
        for sockets in self.running.values():
            for each in sockets:
                each.close()
        self.running.clear()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[SandboxRemote]:
        """Connect."""
        self.home.mkdir(parents=True, exist_ok=True)
        yield SandboxRemote(self, Destination.parse("root@127.0.0.1"))


@attrs.frozen
class SandboxRemote:
    """A connection to it."""

    box: Sandbox
    destination: Destination
    host_key: str = HOST_KEY

    @property
    def facts(self) -> Facts:
        return self.box.facts

    async def run(self, *argv: str, stdin: bytes = b"", root: bool = False, timeout: float = 60) -> bytes:
        box = self.box
        box.ran.append(argv)
        said = box.fails(argv)
        if said is not None:
            raise RemoteCommandError(argv[0], 100, said)
        printed = await self._run(argv, stdin)
        if box.cut_after is not None:
            box.cut_after -= 1
            if not box.cut_after:
                raise ConnectionLostError("the connection broke")
        return printed

    async def upload(self, source: Path, target: str, progress: Progress) -> None:
        size = (await trio.Path(source).stat()).st_size
        progress(size // 2, size)
        await self.run("cp", str(source), target)
        progress(size, size)

    async def _run(self, argv: tuple[str, ...], stdin: bytes) -> bytes:
        words = [str(self.box.root) + word if word.startswith(ROOTED) else word for word in argv]
        while words[0] == "env" or "=" in words[0]:
            words = words[1:]
        match words:
            case ["buoy" | "beacon" as program, *more]:
                return self._agent(program, more, stdin)
            case ["apt-get", *more]:
                return self._apt([word for word in more if not word.startswith("-") and "::" not in word])
            case ["systemctl", *more]:
                return self._systemctl([word for word in more if not word.startswith("-")])
            case ["dpkg", "--compare-versions", have, "ge", wanted]:
                return self._ended("dpkg", 0 if have >= wanted else 1)
            case ["dpkg" | "journalctl", *_]:
                return b""
        done = await trio.run_process(
            words,
            stdin=stdin,
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            env={"HOME": str(self.box.home), "PATH": "/usr/bin:/bin"},
        )
        return self._ended(words[0], done.returncode, done.stdout, done.stderr.decode())

    def _agent(self, program: str, words: list[str], stdin: bytes) -> bytes:
        if f"pharos-{program}" not in self.box.facts.packages:
            raise RemoteCommandError(program, 127, f"{program}: not found")
        state = self.box.root / f"var/lib/pharos-{program}"
        result = invoke(PROGRAMS[program], *words, "--state", state, stdin=stdin.decode())
        return self._ended(program, result.exit_code, result.stdout.encode(), result.stderr)

    def _apt(self, words: list[str]) -> bytes:
        packages: dict[str, Any] = dict(self.box.facts.packages)
        for word in words[1:]:
            if words[0] == "install":
                deb = read_deb(Path(word))
                state = self.box.root / f"var/lib/{deb.package}"
                state.mkdir(parents=True, mode=0o700, exist_ok=True)
                settings = self.box.root / f"etc/pharos/{deb.package.removeprefix('pharos-')}.toml"
                settings.parent.mkdir(parents=True, exist_ok=True)
                if not settings.exists():
                    settings.write_text(SETTINGS)
                packages[deb.package] = (deb.version, "installed")
            else:
                packages.pop(word, None)
                for path in (f"var/lib/{word}/identity.json", f"etc/pharos/{word.removeprefix('pharos-')}.toml"):
                    (self.box.root / path).unlink(missing_ok=True)
        self.box.facts = attrs.evolve(self.box.facts, packages=packages)
        return b""

    def _systemctl(self, words: list[str]) -> bytes:
        verb, unit = words
        package = unit.removesuffix(".service")
        if package not in self.box.facts.packages:
            return self._ended("systemctl", 5, stderr=f"Unit {unit} not loaded.")
        if verb == "is-active":
            return self._ended("systemctl", 0 if package in self.box.running else 3)
        for each in self.box.running.pop(package, []) if verb in ("restart", "stop") else ():
            each.close()
        if verb == "restart":
            opened = [socket.create_server(("127.0.0.1", port)) for port in self.box.ports.get(package, ())]
            self.box.running[package] = opened
        return b""

    def _ended(self, command: str, code: int, stdout: bytes = b"", stderr: str = "") -> bytes:
        if code:
            raise RemoteCommandError(command, code, stderr)
        return stdout


def make_deb(folder: Path, package: str, version: str = "0.1.0", arch: str = "amd64") -> Path:
    """Write the frame of a package: what `read_deb` looks at, and nothing to install."""
    inner = io.BytesIO()
    control = f"Package: {package}\nVersion: {version}\nArchitecture: {arch}\n".encode()
    with tarfile.open(fileobj=inner, mode="w") as tar:
        entry = tarfile.TarInfo("./control")
        entry.size = len(control)
        tar.addfile(entry, io.BytesIO(control))
    members = {"debian-binary": b"2.0\n", "control.tar.xz": lzma.compress(inner.getvalue()), "data.tar.xz": b""}
    text = b"!<arch>\n"
    for name, data in members.items():
        text += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n".encode() + data + b"\n" * (len(data) % 2)
    path = folder / f"{package}_{version}_{arch}.deb"
    path.write_bytes(text)
    return path
