"""What a daemon has of its machine besides the network: clocks, chance, threads, disk and programs.

There is one interface for all of it, so that a whole fleet can live in one process, on virtual time and with disks that
lose what was not synced: whoever simulates a machine derives from `World` and lets a daemon run `inhabiting` it. The
network needs few words of its own here: Trio has hooks for sockets and names, and only what speaks TLS on the bare
socket reaches past them.
"""

from __future__ import annotations

import contextvars
import datetime
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    # A command that only writes a file, or says what it can do, starts without them.
    import subprocess

    import trio

T = TypeVar("T")


class World:
    """The machine that this process really runs on, and the base of those that are simulated."""

    # -- clocks (what is measured goes by Trio's)

    def wall_ns(self) -> int:
        """Nanoseconds since 1970 as this machine's clock has them, right or wrong."""
        return time.time_ns()

    def slept(self) -> float:
        """Seconds that this machine has slept since it was started: its boot-time clock goes on then, Trio's does not.

        Where no clock tells, the wall clock stands in: only differences are of use then, and a clock that was set looks
        like a sleep.
        """
        # They are read one after the other.
        if hasattr(time, "CLOCK_BOOTTIME"):
            return max(time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC), 0.0)
        return time.time() - time.monotonic()

    # -- chance

    def random_bytes(self, count: int) -> bytes:
        """So many octets fit for keys."""
        return os.urandom(count)

    # -- threads

    async def in_thread(
        self,
        work: Callable[..., T],
        *arguments: object,
        limiter: trio.CapacityLimiter | None = None,
        abandon_on_cancel: bool = False,
    ) -> T:
        """Do what blocks beside the loop, as ``trio.to_thread.run_sync`` does."""
        import trio

        return await trio.to_thread.run_sync(work, *arguments, limiter=limiter, abandon_on_cancel=abandon_on_cancel)

    # -- disk: what changes it. Reading needs no hook, for what was written is there to be read.

    def open(self, path: Path, flags: int, mode: int = 0o600) -> int:
        """Open a file for writing, or a directory to sync it; a descriptor, as of ``os.open``."""
        return os.open(path, flags, mode)

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        """Write what fits; return how much did."""
        return os.write(descriptor, data)

    def fsync(self, descriptor: int) -> None:
        """Return when what was written will survive a loss of power."""
        os.fsync(descriptor)

    def fdatasync(self, descriptor: int) -> None:
        """Do the same for a file's octets alone, its times apart; a disk that is simulated needs no other word."""
        self.fsync(descriptor)

    def truncate(self, descriptor: int, size: int) -> None:
        """Cut a file to so many octets."""
        os.ftruncate(descriptor, size)

    def close(self, descriptor: int) -> None:
        """Close what `open` opened."""
        os.close(descriptor)

    def replace(self, source: Path, target: Path) -> None:
        """Give a file another name, in the place of what has it."""
        source.replace(target)

    def unlink(self, path: Path, *, missing_ok: bool = False) -> None:
        """Take a name away."""
        path.unlink(missing_ok=missing_ok)

    def remove_tree(self, path: Path) -> None:
        """Take a directory away, with all that is below it."""
        import shutil

        shutil.rmtree(path)

    # -- network: bare sockets; the others go by Trio's hooks

    def tcp_socket(self, family: socket.AddressFamily) -> socket.socket:
        """Return a fresh socket for TCP, which the caller owns. Raises: OSError."""
        return socket.socket(family, socket.SOCK_STREAM)

    def udp_socket(self, family: socket.AddressFamily) -> socket.socket:
        """Return a fresh socket for datagrams, which the caller owns. Raises: OSError."""
        return socket.socket(family, socket.SOCK_DGRAM)

    def socket_of(self, descriptor: int) -> socket.socket:
        """Return the socket of a descriptor that was detached from one of Trio's; the caller owns it."""
        return socket.socket(fileno=descriptor)

    def trio_socket(self, sock: socket.socket) -> trio.socket.SocketType:
        """Return one of these sockets as Trio takes it."""
        import trio

        return trio.socket.from_stdlib_socket(sock)

    def network_news(self, groups: int) -> socket.socket:
        """Return a socket that becomes readable when the network has changed, in these groups of rtnetlink(7).

        Raises: OSError — nobody tells of that here, as where nobody simulates it. AttributeError — this is no Linux.
        """
        raise OSError("nobody tells of changes of this network")

    # -- programs

    async def run_process(self, command: Sequence[str | Path], **options: Any) -> subprocess.CompletedProcess[bytes]:
        """Run a program to its end, as ``trio.run_process`` does."""
        import trio

        return await trio.run_process(list(command), **options)

    async def open_process(self, command: Sequence[str | Path], **options: Any) -> trio.Process:
        """Start a program, as ``trio.lowlevel.open_process`` does."""
        import trio

        return await trio.lowlevel.open_process(list(command), **options)


class _Machine(World):
    """The one that is there, with what `World` has no use for where it is the base of a simulated one."""

    def fdatasync(self, descriptor: int) -> None:
        os.fdatasync(descriptor)

    def network_news(self, groups: int) -> socket.socket:
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        try:
            sock.bind((0, groups))
            sock.settimeout(0.0)
        except BaseException:
            sock.close()
            raise
        return sock


REAL: Final[World] = _Machine()
_world: Final = contextvars.ContextVar("pharos.world", default=REAL)


def this_world() -> World:
    """Return the machine that the calling task or thread lives on."""
    return _world.get()


@contextmanager
def inhabiting(world: World) -> Iterator[None]:
    """Let the block, and every task and thread begun in it, live on that machine."""
    token = _world.set(world)
    try:
        yield
    finally:
        _world.reset(token)


def slept() -> float:
    """Return the seconds that the machine has slept; see `World.slept`."""
    return _world.get().slept()


def wall_ns() -> int:
    """Nanoseconds since 1970 by the machine's clock."""
    return _world.get().wall_ns()


def wall_seconds() -> float:
    """Seconds since 1970 by the machine's clock."""
    return _world.get().wall_ns() / 1e9


def utc_now() -> datetime.datetime:
    """Return the time by the machine's clock."""
    return datetime.datetime.fromtimestamp(_world.get().wall_ns() / 1e9, datetime.UTC)


def random_bytes(count: int) -> bytes:
    """Return so many octets fit for keys."""
    return _world.get().random_bytes(count)


async def in_thread(
    work: Callable[..., T],
    *arguments: object,
    limiter: trio.CapacityLimiter | None = None,
    abandon_on_cancel: bool = False,
) -> T:
    """Do what blocks beside the loop."""
    return await _world.get().in_thread(work, *arguments, limiter=limiter, abandon_on_cancel=abandon_on_cancel)
