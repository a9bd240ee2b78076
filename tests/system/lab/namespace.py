"""One network namespace: processes in it, and sockets in it for the test's own process."""

from __future__ import annotations

import ctypes
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import trio

P = ParamSpec("P")
T = TypeVar("T")

_LIBC = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000  # <sched.h>


class Namespace:
    """A namespace that exists, by name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = Path("/run/netns") / name

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call ``function`` in a worker thread that is inside the namespace meanwhile.

        A socket made there stays there, and can be used from everywhere.
        """

        def enter() -> T:
            # A namespace is a thread's own (namespaces(7)), so that the rest of this process does not notice.
            with Path("/proc/thread-self/ns/net").open() as home, self.path.open() as there:
                _set_namespace(there.fileno())
                try:
                    return function(*args, **kwargs)
                finally:
                    _set_namespace(home.fileno())

        return await trio.to_thread.run_sync(enter)

    async def socket(self, family: int, kind: int = socket.SOCK_STREAM, protocol: int = 0) -> trio.socket.SocketType:
        """Open a socket in the namespace; the caller closes it."""
        return trio.socket.from_stdlib_socket(await self.call(socket.socket, family, kind, protocol))

    async def connect(self, address: str, port: int) -> trio.SocketStream:
        """Dial an IP address from the namespace; the caller closes the stream and owns the timeout.

        Raises: OSError.
        """
        sock = await self.socket(_family(address))
        try:
            await sock.connect((address, port))
        except BaseException:
            sock.close()
            raise
        return trio.SocketStream(sock)

    async def listen(self, address: str, port: int = 0) -> trio.SocketListener:
        """Listen on an IP address in the namespace, for its own version of IP; the caller closes the listener."""
        sock = await self.socket(_family(address))
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if sock.family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            await sock.bind((address, port))
            sock.listen()
        except BaseException:
            sock.close()
            raise
        return trio.SocketListener(sock)


def _family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _set_namespace(descriptor: int) -> None:
    # os.setns came with Python 3.12.
    if _LIBC.setns(descriptor, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
