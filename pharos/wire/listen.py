"""Listening: what fails says so in one sentence that names the address, and nothing ends an accept loop."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, NoReturn

import trio

from pharos.wire.errors import AddressError
from pharos.wire.units import MILLISECONDS
from pharos.wire.world import this_world

# What may wait in the kernel while we are busy. A flood beyond it is dropped there, for less than it costs us here;
# trio's own default is the kernel's maximum, 4,096, whose last would wait for a second.
BACKLOG: Final = 512
# Accepted in a row before other tasks get their turn: four that get a place are half a millisecond with their tasks.
_ACCEPTS_PER_TURN: Final = 4
# Between tries when the kernel has no descriptor or memory for us, and giving up the spare one did not help.
_RETRY_INTERVAL: Final = 100 * MILLISECONDS
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
# The listening socket itself is gone, or never was one. Any other error is of the connection that was to be accepted:
# Linux hands its network errors on (accept(2)), and a firewall may add EPERM.
_OURS: Final = frozenset({errno.EBADF, errno.EINVAL, errno.ENOTSOCK})
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)

Take = Callable[[socket.socket, str], None]
"""Told an accepted socket and the IP address of its other end; it owns the socket from then on, and must not block."""

_WAYS_OUT = {
    errno.EADDRINUSE: "stop what uses it, or choose another port",
    errno.EACCES: "ports below 1024 take root or CAP_NET_BIND_SERVICE",
    errno.EADDRNOTAVAIL: "this machine has no such address",
}


@contextmanager
def naming_address(host: str, port: int, transport: str) -> Iterator[None]:
    """Raise what goes wrong in the block as an error that says where we wanted to listen.

    Raises: AddressError — which is an OSError too, with the number of the one it stands for.
    """
    try:
        yield
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        way_out = _WAYS_OUT.get(error.errno or 0, "choose another address")
        raised = AddressError(f"cannot listen on {host}, {transport} port {port}: {why}; {way_out}")
        raised.errno = error.errno
        raise raised from error


def file_limit() -> int:
    """Return how many descriptors this process may have (RLIMIT_NOFILE)."""
    try:
        import resource
    except ImportError:
        # Windows has no such limit.
        return sys.maxsize
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def refuse(sock: socket.socket) -> None:
    """Close an accepted socket with a TCP reset.

    The peer knows at once and may come again later; the kernel keeps no FIN-WAIT or TIME-WAIT state for it.
    """
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    sock.close()


async def peek(sock: socket.socket, size: int) -> bytes:
    """Wait until ``size`` octets have come, and return them; they stay where they are, to be received.

    Whoever sends them one by one does not wake us for each. ``sock`` does not block.

    Raises: trio.BrokenResourceError — the peer ended before. OSError.
    """
    heard = raised = 0
    try:
        while True:
            try:
                data = sock.recv(size, socket.MSG_PEEK)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(sock)
                continue
            if len(data) >= size:
                return data
            if len(data) == heard:
                # Readable, and nothing new: that is the end of the stream.
                raise trio.BrokenResourceError("the peer left in the middle of its first word")
            heard = len(data)
            if raised != size:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)
                raised = size
            await trio.lowlevel.wait_readable(sock)
    finally:
        if raised and sock.fileno() >= 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)


async def accept_forever(
    listeners: Sequence[trio.SocketListener], take: Take, *, exhausted: Callable[[], None]
) -> NoReturn:
    """Accept on all ``listeners`` until cancelled, and close them then.

    When there are no descriptors left, what comes is accepted by means of a spare one and reset: in the backlog it
    would hang, and whoever stands behind it, too. ``exhausted`` is called each time.
    """
    async with trio.open_nursery() as nursery:
        for listener in listeners:
            nursery.start_soon(_accept_on, listener, take, exhausted)
    raise AssertionError("the loops end by cancellation only")


async def _accept_on(listener: trio.SocketListener, take: Take, exhausted: Callable[[], None]) -> NoReturn:
    # Without trio's checkpoints, so that several can be accepted in one turn.
    with this_world().socket_of(listener.socket.detach()) as door, Spare() as spare:
        door.settimeout(0)
        while True:
            await trio.lowlevel.wait_readable(door)
            for _ in range(_ACCEPTS_PER_TURN):
                try:
                    sock, address = door.accept()
                except BlockingIOError:
                    break
                except OSError as error:
                    if error.errno in _OURS:
                        raise
                    if error.errno in _EXHAUSTED:
                        exhausted()
                        if not spare.spend(door):
                            await trio.sleep(_RETRY_INTERVAL)
                else:
                    take(sock, address[0])
            await trio.lowlevel.checkpoint()


class Spare:
    """A descriptor that is kept for the moment when there are no others."""

    def __init__(self) -> None:
        self._descriptor: int | None = None
        self._renew()

    def __enter__(self) -> Spare:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._drop()

    def spend(self, door: socket.socket) -> bool:
        """Refuse the next connection by means of the spare; False if there was none to spend, or it did not help."""
        if self._descriptor is None:
            self._renew()
            return False
        self._drop()
        try:
            sock, _address = door.accept()
        except OSError:
            # A thread was faster, or it is memory that is short.
            return False
        else:
            refuse(sock)
            return True
        finally:
            self._renew()

    def _drop(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _renew(self) -> None:
        with contextlib.suppress(OSError):
            self._descriptor = os.open(os.devnull, os.O_RDONLY)
