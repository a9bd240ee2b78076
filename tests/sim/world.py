"""A machine of the simulation: the one interface that daemons have for what is not theirs, answered by a seed."""

from __future__ import annotations

import random
import socket
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import trio

from pharos.wire.world import World, this_world
from tests.sim.clockwork import BEGAN
from tests.sim.disk import SimDisk
from tests.sim.net import SimNet
from tests.sim.sockets import SimSocket, SimTrioSocket, new_socket

T = TypeVar("T")


class DiskWorld(World):
    """A machine whose disk is simulated, and nothing else."""

    def __init__(self, chance: random.Random) -> None:
        self.disk = SimDisk(chance)

    def open(self, path: Path, flags: int, mode: int = 0o600) -> int:
        return self.disk.open(path, flags, mode)

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        return self.disk.write(descriptor, data)

    def fsync(self, descriptor: int) -> None:
        self.disk.sync(descriptor)

    def close(self, descriptor: int) -> None:
        self.disk.close(descriptor)

    def replace(self, source: Path, target: Path) -> None:
        self.disk.replace(source, target)

    def unlink(self, path: Path, *, missing_ok: bool = False) -> None:
        self.disk.unlink(path, missing_ok=missing_ok)


class SimWorld(DiskWorld):
    """One machine."""

    def __init__(self, host: str, net: SimNet, *, seed: int, age: float = 0.0) -> None:
        self.host = host
        self.net = net
        self.skew = 0.0
        """Seconds by which its clock is ahead; it may jump."""
        self.age = age
        """Seconds since its fleet was founded, when the simulation begins."""
        self.sleep = 0.0
        """Seconds that it has slept."""
        self.chance = random.Random(f"{seed} {host}")
        super().__init__(self.chance)

    def wall_ns(self) -> int:
        return BEGAN + round((self.age + trio.current_time() + self.skew) * 1e9)

    def slept(self) -> float:
        return self.sleep

    def random_bytes(self, count: int) -> bytes:
        return self.chance.randbytes(count)

    async def in_thread(
        self,
        work: Callable[..., T],
        *arguments: object,
        limiter: trio.CapacityLimiter | None = None,
        abandon_on_cancel: bool = False,
    ) -> T:
        """Do it in no time, after others had their turn."""
        await trio.lowlevel.checkpoint()
        return work(*arguments)

    # -- network

    def tcp_socket(self, family: socket.AddressFamily) -> socket.socket:
        return new_socket(self.net, self.host)

    def socket_of(self, descriptor: int) -> socket.socket:
        return SimSocket(self.net, descriptor)

    # -- programs

    async def run_process(self, command: Sequence[str | Path], **options: Any) -> subprocess.CompletedProcess[bytes]:
        raise FileNotFoundError(f"there are no programs here: {command}")

    async def open_process(self, command: Sequence[str | Path], **options: Any) -> NoReturn:
        raise FileNotFoundError(f"there are no programs here: {command}")


class SimFactory(trio.abc.SocketFactory):
    """Makes Trio's sockets: of the network that is not there for whoever lives on a machine of it."""

    def socket(
        self,
        family: socket.AddressFamily | int = socket.AF_INET,
        type: socket.SocketKind | int = socket.SOCK_STREAM,  # noqa: A002 -- as Trio has it
        proto: int = 0,
    ) -> trio.socket.SocketType:
        world = this_world()
        if family == socket.AF_UNIX or not isinstance(world, SimWorld):
            return trio.socket.from_stdlib_socket(socket.socket(family, type, proto))
        if type != socket.SOCK_STREAM:
            raise OSError("there are no datagrams here")
        return SimTrioSocket(new_socket(world.net, world.host))
