"""The network of bench.awg: three namespaces in a row, tunnels between the first two, streams through each."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, Final

import attrs

from bench.support import cpu_seconds
from pharos.wire.awg.keys import generate_private_key, public_key
from pharos.wire.awg.params import PLAIN, Generation, ObfuscationParameters
from pharos.wire.awg.ranges import Range
from pharos.wire.awg.uapi import DeviceChange, PeerChange, parameter_changes
from pharos.wire.awg.uapiwrite import render_change

OURS: Final = "ours"
GO: Final = "wireguard-go"
AMNEZIA_GO: Final = "amneziawg-go"
TOOLS: Final = ("ip", "iperf3", GO)
_SOCKETS: Final = (Path("/var/run/wireguard"), Path("/var/run/amneziawg"))
_MTU: Final = 1420
_START_TIMEOUT: Final = 20.0


def missing() -> list[str]:
    """Return what keeps tunnels from being measured here, in words."""
    if os.geteuid() != 0:
        return ["namespaces need root"]
    return [f"{tool} is not on the PATH" for tool in TOOLS if shutil.which(tool) is None]


def run(*words: str) -> None:
    """Raises: RuntimeError — it failed; the message is what it said."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")


@attrs.define(eq=False)
class Engine:
    """An engine that runs."""

    process: subprocess.Popen[bytes]
    path: Path
    """Of its UAPI's socket."""

    def tell(self, change: DeviceChange) -> None:
        """Have it become something else. Raises: RuntimeError — it refused."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(self.path))
            sock.sendall(render_change(change, Generation.V3_1).encode())
            reply = b""
            while not reply.endswith(b"\n\n"):
                reply += sock.recv(4096)
        if reply != b"errno=0\n\n":
            raise RuntimeError(f"{self.path}: {reply.decode().strip()}")

    def cpu(self) -> float:
        """Return the seconds of CPU it has used."""
        return cpu_seconds(self.process.pid)


@attrs.frozen
class Result:
    """One stream's."""

    rate: float
    """Mbit/s of payload, received."""
    cpu: float
    """Seconds of CPU of both engines per gigabyte of payload."""


@attrs.frozen
class Tunnel:
    """A tunnel that is up; streams may end in it or be forwarded out of it."""

    lab: Lab
    number: int
    near: Engine
    far: Engine

    def stream(self, seconds: float, *, forwarded: bool = False) -> Result:
        """Send one TCP stream for so long."""
        net = 97 if forwarded else 98
        before = self.near.cpu() + self.far.cpu()
        sums = self.lab.iperf(f"10.{net}.{self.number}.2", seconds)
        used = self.near.cpu() + self.far.cpu() - before
        return Result(rate=sums["bits_per_second"] / 1e6, cpu=used / (sums["bytes"] / 1e9))


class Lab:
    """Namespaces a, b and c; c is behind b. ``open_lab`` makes it."""

    def __init__(self) -> None:
        self._name = f"awgbench{os.getpid()}"
        self._running: list[subprocess.Popen[bytes]] = []
        self._tunnels = 0

    def space(self, letter: str) -> str:
        return f"{self._name}{letter}"

    def inside(self, letter: str, *words: str) -> list[str]:
        """Return the words that run a command in a namespace."""
        return ["ip", "netns", "exec", self.space(letter), *words]

    def ip(self, letter: str, *words: str) -> None:
        run("ip", "-n", self.space(letter), *words)

    def build(self) -> None:
        for letter in "abc":
            run("ip", "netns", "add", self.space(letter))
            self.ip(letter, "link", "set", "lo", "up")
        for one, other, net in (("a", "b", 99), ("b", "c", 96)):
            self.ip(
                one,
                "link",
                "add",
                f"to-{other}",
                "type",
                "veth",
                "peer",
                "name",
                f"to-{one}",
                "netns",
                self.space(other),
            )
            for number, (letter, peer) in enumerate(((one, other), (other, one)), start=1):
                self.ip(letter, "addr", "add", f"10.{net}.0.{number}/24", "dev", f"to-{peer}")
                self.ip(letter, "link", "set", f"to-{peer}", "up")
        run(*self.inside("b", "sysctl", "-qw", "net.ipv4.ip_forward=1"))
        self.ip("c", "route", "add", "default", "via", "10.96.0.1")
        for letter in "bc":
            self._start(letter, "iperf3", "--server")

    def remove(self) -> None:
        for process in reversed(self._running):
            process.terminate()
        for process in self._running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=5)
            process.kill()
            process.wait()
        for letter in "abc":
            subprocess.run(["ip", "netns", "del", self.space(letter)], capture_output=True, check=False)

    def iperf(self, address: str, seconds: float) -> dict[str, Any]:
        """Send one TCP stream, and return what the receiver counted."""
        words = self.inside("a", "iperf3", "--client", address, "--time", str(max(1, round(seconds))), "--json")
        done = subprocess.run(words, capture_output=True, text=True, timeout=seconds + 60, check=False)
        answer: dict[str, Any] = json.loads(done.stdout)
        if "error" in answer:
            raise RuntimeError(f"iperf3 to {address}: {answer['error']}")
        sums: dict[str, Any] = answer["end"]["sum_received"]
        return sums

    def tunnel(self, near: str, far: str, parameters: ObfuscationParameters = PLAIN) -> Tunnel:
        """Make a tunnel from a to b, an engine of a kind at each end."""
        self._tunnels += 1
        number = self._tunnels
        keys = {letter: generate_private_key(os.urandom) for letter in "ab"}
        engines = {letter: self._engine(letter, kind, number) for letter, kind in (("a", near), ("b", far))}
        for letter, other, place in (("a", "b", 1), ("b", "a", 2)):
            peer = PeerChange(
                public_key=public_key(keys[other]),
                allowed_ips=(IPv4Network("10.0.0.0/8"),),
                endpoint=(f"10.99.0.{3 - place}", 51820 + number),
                persistent_keepalive=Range(25, 25) if letter == "a" else None,
            )
            engines[letter].tell(
                DeviceChange(
                    private_key=keys[letter],
                    listen_port=51820 + number,
                    parameters=parameter_changes(PLAIN, parameters),
                    peers=(peer,),
                )
            )
            device = self._device(letter, number)
            self.ip(letter, "addr", "add", f"10.98.{number}.{place}/24", "dev", device)
            self.ip(letter, "link", "set", device, "up")
        # A stream that is forwarded goes to an address of c's own for this tunnel.
        self.ip("c", "addr", "add", f"10.97.{number}.2/32", "dev", "to-b")
        self.ip("b", "route", "add", f"10.97.{number}.2/32", "via", "10.96.0.2")
        self.ip("a", "route", "add", f"10.97.{number}.2/32", "dev", self._device("a", number))
        return Tunnel(self, number, engines["a"], engines["b"])

    def _engine(self, letter: str, kind: str, number: int) -> Engine:
        device = self._device(letter, number)
        words = [sys.executable, "-m", "pharos.wire.awg.process", f"--mtu={_MTU}"] if kind == OURS else [kind]
        process = self._start(letter, *words, "-f", device)
        begin = time.monotonic()
        paths = [directory / f"{device}.sock" for directory in _SOCKETS]
        while time.monotonic() - begin < _START_TIMEOUT:
            for path in filter(Path.exists, paths):
                return Engine(process, path)
            if process.poll() is not None:
                break
            time.sleep(0.02)
        raise RuntimeError(f"{kind} did not start in {self.space(letter)}")

    def _start(self, letter: str, *words: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            self.inside(letter, *words), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._running.append(process)
        return process

    @staticmethod
    def _device(letter: str, number: int) -> str:
        # UAPI sockets are in all namespaces.
        return f"t{os.getpid()}{letter}{number}"


@contextmanager
def open_lab() -> Iterator[Lab]:
    """Build the network, and remove it with the block. Raises: RuntimeError."""
    lab = Lab()
    try:
        lab.build()
        yield lab
    finally:
        lab.remove()


@functools.cache
def obfuscated(**changes: Any) -> ObfuscationParameters:
    """Return the parameters of the measured tunnel: paddings, header ranges and header protection.

    The paddings let a full packet of 1,420 bytes keep to a path of 1,500: 16 + 32 + 28 more make 1,496.
    """
    return ObfuscationParameters(
        s1=40,
        s2=62,
        s3=30,
        s4=16,
        h1="100000000-199999999",
        h2="200000000-299999999",
        h3="300000000-399999999",
        h4="400000000-499999999",
        header_protection_key=bytes(range(32)),
        **changes,
    )
