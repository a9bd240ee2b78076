"""A network that is not there: hosts, ways between them, and what can happen on the ways, on virtual time.

Each end of a connection is one end of a pair of Unix sockets, so that whoever holds it may speak TLS on it, wait for it
and hand it on as if it were TCP; the other end of the pair is the network's, which carries what comes to the other
pair. The kernel passes octets within a pair at once, so that a clock that jumps when nobody has anything to do never
jumps over some that are on their way.
"""

from __future__ import annotations

import contextlib
import errno
import math
import random
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import attrs
import trio

from pharos.wire.units import KIB, MILLISECONDS, SECONDS

Address = tuple[str, int]

PIECE: Final = 16 * KIB
"""What is carried at once."""
SENT_AGAIN: Final = 200 * MILLISECONDS
"""After which a lost piece is sent again, doubling (RFC 6298 says a second, Linux goes down to this)."""
SYN_AGAIN: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
"""Seconds between two tries to connect, as Linux has them."""
FIRST_PORT: Final = 32_768


@attrs.frozen(kw_only=True)
class Way:
    """What there is between two hosts, both directions alike."""

    delay: float = 5 * MILLISECONDS
    """Seconds, one way."""
    loss: float = 0.0
    """The share of pieces that have to be sent again."""
    rate: float = math.inf
    """Octets a second of each connection and direction."""
    blocked: bool = False
    """A black hole: nothing arrives, and nobody is told."""
    allowance: float = math.inf
    """Octets, both directions together, after which a connection is cut: in the midst of whatever is said then."""
    one_sided: float = math.inf
    """Octets of whoever was dialled after which that direction ends, and the other one goes on."""

    @property
    def is_calm(self) -> bool:
        """Whether it carries everything soon."""
        return self == Way()


CALM: Final = Way()


@attrs.define(eq=False)
class End:
    """One end of a connection."""

    net: SimNet
    address: Address
    far: socket.socket
    """The network's side of the pair."""
    peer: Address = ("", 0)
    stall: float = math.inf
    """Seconds after which this end gives up what does not arrive (TCP_USER_TIMEOUT)."""
    error: int = 0
    """What a connect came to."""

    @property
    def host(self) -> str:
        """Where it is."""
        return self.address[0]

    def drop(self) -> None:
        """Let whoever holds this end see it end."""
        if self.far.fileno() >= 0:
            trio.lowlevel.notify_closing(self.far)
            self.far.close()


@attrs.define(eq=False)
class Connection:
    """Two ends, and what was carried between them."""

    ends: tuple[End, End]
    """Who dialled, and who was dialled."""
    left: float
    """Octets until it is cut."""
    one_sided: float
    gone: set[str] = attrs.field(factory=set)
    """Hosts that have lost their power, and know nothing of this connection any more."""

    def cut(self) -> None:
        """End it for both, without a word."""
        for end in self.ends:
            end.drop()


@attrs.define(eq=False)
class Listener:
    """Where connections are waited for."""

    address: Address
    bell: socket.socket
    """The network's side: an octet for each connection that waits."""
    waiting: list[tuple[socket.socket, End]] = attrs.field(factory=list)


class SimNet:
    """All hosts and ways; `open_net` makes it."""

    def __init__(self, chance: random.Random, nursery: trio.Nursery, note: Callable[[str], None]) -> None:
        self.default = CALM
        """Between two hosts of which nothing else was said."""
        self.listeners: dict[Address, Listener] = {}
        self.connections: list[Connection] = []
        self.dialled = 0
        """Connections that were tried."""
        self._chance = chance
        self._nursery = nursery
        self._note = note
        self._ways: dict[frozenset[str], Way] = {}
        self._silent: set[str] = set()
        self._things: dict[int, End | Listener] = {}
        """By descriptor: what a socket is that was handed on as a number."""
        self._ports: dict[str, int] = {}
        self._changed = trio.Event()

    # -- what happens to it

    def way(self, one: str, other: str) -> Way:
        """Return what there is between two hosts."""
        return self._ways.get(frozenset((one, other)), self.default)

    def put_way(self, one: str, other: str, way: Way) -> None:
        """Let what is sent from now on find this between two hosts."""
        self._ways[frozenset((one, other))] = way
        self._change()

    def calm(self) -> None:
        """Let every way be as it was."""
        self._ways.clear()
        self._change()

    def silence(self, host: str) -> None:
        """Let nothing come to a host or from it: it sleeps, or its cable is out. Connections last."""
        self._silent.add(host)
        self._change()

    def wake(self, host: str) -> None:
        """Undo `silence`."""
        self._silent.discard(host)
        self._change()

    def lose_power(self, host: str) -> None:
        """Do as `silence`; and when the host wakes, it knows nothing of the connections it had."""
        for connection in self.connections:
            if any(end.host == host for end in connection.ends):
                connection.gone.add(host)
        for address in [one for one in self.listeners if one[0] == host]:
            del self.listeners[address]
        self.silence(host)

    def reset(self, host: str) -> None:
        """Tell the other ends of connections that a host has lost: its kernel lives, and closed them."""
        for connection in list(self.connections):
            if host in connection.gone:
                for end in connection.ends:
                    if end.host != host and self.is_through(end.host, host):
                        end.drop()

    def cut(self, one: str, other: str) -> None:
        """End every connection between two hosts."""
        for connection in list(self.connections):
            if {end.host for end in connection.ends} == {one, other}:
                connection.cut()

    def _change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    def is_connected(self, one: str, other: str) -> bool:
        """Whether two hosts have a connection that both know of, and anything arrives by it."""
        return self.is_through(one, other) and any(
            {end.host for end in connection.ends} == {one, other} and not connection.gone
            for connection in self.connections
        )

    def is_through(self, one: str, other: str) -> bool:
        """Whether anything arrives now."""
        return not (self._silent & {one, other}) and not self.way(one, other).blocked

    # -- what sockets ask of it

    def make_end(self, host: str) -> tuple[socket.socket, End]:
        """Return both sides of a fresh end, the holder's first; its port is chosen as a kernel does."""
        near, far = socket.socketpair()
        for side in (near, far):
            side.settimeout(0)
        end = End(self, (host, self._next_port(host)), far)
        self.know(near.fileno(), end)
        return near, end

    def know(self, descriptor: int, thing: End | Listener) -> None:
        """Remember what a descriptor stands for."""
        self._things[descriptor] = thing

    def known(self, descriptor: int) -> End | Listener:
        """Return what a descriptor stands for. Raises: KeyError."""
        return self._things[descriptor]

    def listen(self, address: Address) -> tuple[socket.socket, Listener]:
        """Wait for connections; return the socket that is readable while some wait. Raises: OSError."""
        host, port = address
        if not port:
            address = host, self._next_port(host)
        if address in self.listeners:
            raise OSError(errno.EADDRINUSE, "address in use", address)
        door, bell = socket.socketpair()
        for side in (door, bell):
            side.settimeout(0)
        listener = self.listeners[address] = Listener(address, bell)
        self.know(door.fileno(), listener)
        return door, listener

    def unlisten(self, listener: Listener) -> None:
        """Let nobody wait there any more; whoever did is turned away."""
        if self.listeners.get(listener.address) is listener:
            del self.listeners[listener.address]
        listener.bell.close()
        for near, end in listener.waiting:
            near.close()
            end.drop()
        listener.waiting.clear()

    def dial(self, end: End, target: Address) -> None:
        """Begin to connect an end."""
        end.peer = target
        self.dialled += 1
        self._nursery.start_soon(self._dial, end, target)

    def close(self) -> None:
        """Let go of what nobody waits for any more."""
        for listener in list(self.listeners.values()):
            self.unlisten(listener)

    # -- carrying

    async def _dial(self, end: End, target: Address) -> None:
        try:
            await self._try(end, target)
        except BaseException:
            end.drop()
            raise

    async def _try(self, end: End, target: Address) -> None:
        for pause in SYN_AGAIN:
            way = self.way(end.host, target[0])
            if self.is_through(end.host, target[0]) and self._chance.random() >= way.loss:
                await trio.sleep(2 * way.delay)
                break
            with trio.move_on_after(pause):
                await trio.sleep_forever()
        else:
            self._connected(end, errno.ETIMEDOUT)
            return
        listener = self.listeners.get(target)
        if listener is None:
            self._connected(end, errno.ECONNREFUSED)
            return
        near, other = self.make_end(target[0])
        other.address, other.peer = target, end.address
        way = self.way(end.host, target[0])
        connection = Connection((end, other), way.allowance, way.one_sided)
        listener.waiting.append((near, other))
        with contextlib.suppress(BlockingIOError):
            listener.bell.send(b"\0")
        self._connected(end, 0)
        self._note(f"{end.host} connects to {target[0]}:{target[1]}")
        self.connections.append(connection)
        self._nursery.start_soon(self._carry, connection)

    def _connected(self, end: End, error: int) -> None:
        """Make an end writable, by taking away what it was filled with."""
        end.error = error
        with contextlib.suppress(OSError):
            while end.far.recv(PIECE):
                pass
        if error:
            end.far.close()

    async def _carry(self, connection: Connection) -> None:
        one, other = connection.ends
        try:
            async with trio.open_nursery() as both:
                both.start_soon(self._pump, connection, one, other)
                both.start_soon(self._pump, connection, other, one)
        finally:
            self.connections.remove(connection)
            connection.cut()

    async def _pump(self, connection: Connection, source: End, sink: End) -> None:
        try:
            while True:
                piece = await _read(source.far)
                if not await self._travel(connection, source, sink, len(piece)):
                    return
                left = int(min(connection.left, len(piece)))
                connection.left -= len(piece)
                await _write(sink.far, piece[:left])
                if connection.left < 0:
                    self._note(f"cut between {source.host} and {sink.host}")
                    connection.cut()
                    return
                if source is connection.ends[1]:
                    connection.one_sided -= len(piece)
                if not piece or connection.one_sided < 0:
                    connection.one_sided = math.inf
                    sink.far.shutdown(socket.SHUT_WR)
                    return
        except (OSError, trio.ClosedResourceError):
            # One end is closed, and what comes to it is answered with a reset.
            if source.host not in connection.gone:
                connection.cut()

    async def _travel(self, connection: Connection, source: End, sink: End, size: int) -> bool:
        """Wait as long as the way takes; False: it never arrives, and nobody reads on."""
        with trio.move_on_after(source.stall if size else math.inf):
            again = SENT_AGAIN
            while True:
                if source.host in connection.gone:
                    return False
                way, changed = self.way(source.host, sink.host), self._changed
                if self.is_through(source.host, sink.host):
                    await trio.sleep(way.delay + size / way.rate)
                    if self.is_through(source.host, sink.host) and self._chance.random() >= way.loss:
                        if sink.host in connection.gone:
                            # It was started anew, and does not know what this is about.
                            source.drop()
                        return sink.host not in connection.gone
                    await trio.sleep(again)
                    again = min(2 * again, 30 * SECONDS)
                else:
                    await changed.wait()
        source.drop()
        return False

    def _next_port(self, host: str) -> int:
        self._ports[host] = self._ports.get(host, FIRST_PORT) + 1
        return self._ports[host]


async def _read(sock: socket.socket) -> bytes:
    while True:
        try:
            return sock.recv(PIECE)
        except BlockingIOError:
            await trio.lowlevel.wait_readable(sock)


async def _write(sock: socket.socket, data: bytes) -> None:
    while data:
        try:
            data = data[sock.send(data) :]
        except BlockingIOError:
            await trio.lowlevel.wait_writable(sock)


@asynccontextmanager
async def open_net(chance: random.Random, note: Callable[[str], None]) -> AsyncIterator[SimNet]:
    """Have a network while the block lasts."""
    async with trio.open_nursery() as nursery:
        net = SimNet(chance, nursery, note)
        try:
            yield net
        finally:
            nursery.cancel_scope.cancel()
            net.close()
