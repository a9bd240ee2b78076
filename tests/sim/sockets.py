"""Sockets of the network that is not there, for who holds them bare and for who has them from Trio."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Any, Final

import trio

from pharos.wire.units import MILLISECONDS
from tests.sim.net import PIECE, End, Listener, SimNet

# Of a socket that is about to connect: so little that a few hundred octets fill it, for a full one is not writable.
_SMALL: Final = 1
_USUAL: Final = 212_992
_TCP_ONLY: Final = frozenset({socket.IPPROTO_TCP, socket.IPPROTO_IP, socket.IPPROTO_IPV6})


class SimSocket(socket.socket):
    """A socket as `socket.socket` makes it, of TCP in every way that Pharos asks for."""

    def __init__(self, net: SimNet, descriptor: int, thing: End | Listener | None = None) -> None:
        super().__init__(fileno=descriptor)
        self.net = net
        self.thing = thing if thing is not None else net.known(descriptor)

    @property
    def end(self) -> End:
        """This end of a connection."""
        assert isinstance(self.thing, End)
        return self.thing

    def connect(self, address: Any) -> None:
        """Begin to; the socket is writable when that has come to something. Raises: BlockingIOError."""
        self.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SMALL)
        with contextlib.suppress(BlockingIOError):
            while True:
                self.send(bytes(PIECE))
        self.net.dial(self.end, (address[0], address[1]))
        raise BlockingIOError

    def accept(self) -> tuple[socket.socket, Any]:
        """Take the next connection. Raises: BlockingIOError — none waits."""
        assert isinstance(self.thing, Listener)
        if not self.recv(1):
            raise BlockingIOError
        near, end = self.thing.waiting.pop(0)
        return SimSocket(self.net, near.detach(), end), end.peer

    def getsockname(self) -> Any:
        return self.thing.address

    def getpeername(self) -> Any:
        return self.end.peer

    def setsockopt(self, *arguments: Any) -> None:
        level, option, value = arguments[:3]
        if level == socket.IPPROTO_TCP and option == socket.TCP_USER_TIMEOUT:
            self.end.stall = value * MILLISECONDS
        if level not in _TCP_ONLY:
            super().setsockopt(*arguments)

    def getsockopt(self, *arguments: Any) -> Any:
        level, option = arguments[:2]
        if level == socket.SOL_SOCKET and option == socket.SO_ERROR and isinstance(self.thing, End):
            super().setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _USUAL)
            error, self.thing.error = self.thing.error, 0
            return error
        if level == socket.SOL_SOCKET and option == socket.SO_ACCEPTCONN:
            return int(isinstance(self.thing, Listener))
        return super().getsockopt(*arguments)

    def close(self) -> None:
        """Close it; whoever waited at a listener is turned away."""
        if self.fileno() >= 0:
            if isinstance(self.thing, Listener):
                self.net.unlisten(self.thing)
            elif not self.thing.peer[1]:
                # It was never used.
                self.thing.far.close()
        super().close()


class SimTrioSocket(trio.socket.SocketType):
    """The same, with Trio's face."""

    def __init__(self, sock: SimSocket) -> None:
        self._sock = sock
        self._ended = False

    # -- as it is

    @property
    def family(self) -> socket.AddressFamily:
        return socket.AF_INET6 if ":" in self._sock.thing.address[0] else socket.AF_INET

    @property
    def type(self) -> socket.SocketKind:
        return socket.SOCK_STREAM

    @property
    def proto(self) -> int:
        return 0

    @property
    def did_shutdown_SHUT_WR(self) -> bool:  # noqa: N802 -- as Trio has it
        return self._ended

    def __enter__(self) -> SimTrioSocket:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<SimTrioSocket {self._sock.thing.address}>"

    def fileno(self) -> int:
        return self._sock.fileno()

    def detach(self) -> int:
        return self._sock.detach()

    def getsockname(self) -> Any:
        return self._sock.getsockname()

    def getpeername(self) -> Any:
        return self._sock.getpeername()

    def getsockopt(self, *arguments: Any) -> Any:
        return self._sock.getsockopt(*arguments)

    def setsockopt(self, *arguments: Any) -> None:
        self._sock.setsockopt(*arguments)

    def close(self) -> None:
        if self._sock.fileno() >= 0:
            trio.lowlevel.notify_closing(self._sock)
        self._sock.close()

    # -- listening

    async def bind(self, address: Any) -> None:
        await trio.lowlevel.checkpoint()
        self._sock.thing.address = (address[0], address[1])

    def listen(self, backlog: int = 128) -> None:
        net, address = self._sock.net, self._sock.thing.address
        door, listener = net.listen(address)
        self._sock.end.drop()
        self._sock.close()
        self._sock = SimSocket(net, door.detach(), listener)

    async def accept(self) -> tuple[SimTrioSocket, Any]:
        sock, address = await self._when(trio.lowlevel.wait_readable, self._sock.accept)
        assert isinstance(sock, SimSocket)
        return SimTrioSocket(sock), address

    # -- talking

    async def connect(self, address: Any) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        with contextlib.suppress(BlockingIOError):
            self._sock.connect(address)
        await trio.lowlevel.wait_writable(self._sock)
        if error := self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(error, os.strerror(error), address)

    def recv(self, buflen: int, flags: int = 0, /) -> Awaitable[bytes]:
        return self._when(trio.lowlevel.wait_readable, self._sock.recv, buflen, flags)

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> Awaitable[int]:
        return self._when(trio.lowlevel.wait_readable, self._sock.recv_into, buffer, nbytes, flags)

    def send(self, data: Any, flags: int = 0, /) -> Awaitable[int]:
        return self._when(trio.lowlevel.wait_writable, self._sock.send, data, flags)

    def shutdown(self, flag: int) -> None:
        self._sock.shutdown(flag)
        self._ended = self._ended or flag != socket.SHUT_RD

    async def wait_writable(self) -> None:
        await trio.lowlevel.wait_writable(self._sock)

    async def _when(self, ready: Callable[..., Awaitable[None]], act: Callable[..., Any], *arguments: Any) -> Any:
        await trio.lowlevel.checkpoint()
        while True:
            try:
                return act(*arguments)
            except BlockingIOError:
                await ready(self._sock)


def new_socket(net: SimNet, host: str) -> SimSocket:
    """Return a socket of a host that is neither connected nor listens."""
    near, end = net.make_end(host)
    return SimSocket(net, near.detach(), end)
