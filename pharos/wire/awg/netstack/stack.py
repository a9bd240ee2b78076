"""A TCP/IP stack of one's own at the end of a link: streams, datagrams and pings, with no root and no kernel."""

from __future__ import annotations

import errno
import functools
import ipaddress
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from ipaddress import IPv4Interface, IPv6Interface
from typing import Final, NoReturn, TypeAlias

import trio

from pharos.wire.awg.device import DEFAULT_MTU
from pharos.wire.awg.icmp import Echo
from pharos.wire.awg.inner import InnerEnd
from pharos.wire.awg.netstack.dialling import dial_host, order_versions, resolve_all
from pharos.wire.awg.netstack.driver import Driver
from pharos.wire.awg.netstack.host import Host
from pharos.wire.awg.netstack.icmperror import IcmpError
from pharos.wire.awg.netstack.ip import IpAddress
from pharos.wire.awg.netstack.ports import draw_port
from pharos.wire.awg.netstack.resolver import Resolver
from pharos.wire.awg.netstack.tcp.config import TcpConfig
from pharos.wire.awg.netstack.tcp.flow import Flow
from pharos.wire.awg.netstack.tcp.segment import Segment
from pharos.wire.awg.netstack.tcp.states import State
from pharos.wire.awg.netstack.tcpstream import NetstackStream
from pharos.wire.awg.netstack.tcptable import TcpEntry, TcpTable, key_of
from pharos.wire.awg.netstack.udp import UdpDatagram
from pharos.wire.awg.netstack.udpsocket import NetstackDatagrams
from pharos.wire.awg.ping import PingReport
from pharos.wire.awg.randomness import Random
from pharos.wire.tasks import open_background
from pharos.wire.units import MILLISECONDS, SECONDS
from pharos.wire.world import random_bytes

LINGER: Final = 1 * SECONDS
"""For what was sent on streams that are closed to arrive, when the block of a stack ends by itself."""
MAX_CONNECTIONS: Final = 16_384
"""At once, both ways: fewer than there are ports for, to one place."""

IpInterface: TypeAlias = IPv4Interface | IPv6Interface
StreamHandler: TypeAlias = Callable[[NetstackStream], Awaitable[None]]


class Netstack:
    """A host inside a tunnel; `open_netstack` makes it. It is a ``StreamOpener``."""

    def __init__(
        self, link: InnerEnd, addresses: Sequence[IpAddress], resolvers: Sequence[IpAddress], mtu: int
    ) -> None:
        self._addresses: dict[int, IpAddress] = {address.version: address for address in reversed(addresses)}
        self._versions = order_versions(addresses)
        self._random: Random = random_bytes
        self._tcp = TcpTable(TcpConfig(mtu=mtu), self._random)
        self._host = Host(
            addresses=[address.packed for address in addresses], tcp=self._tcp, above=self, random=self._random
        )
        self.driver = Driver(self._host, link, on_end=self._wake)
        self.resolver = Resolver(
            resolvers,
            open_udp=functools.partial(self.open_udp, refusals=True),
            open_tcp=self.open_tcp_stream,
            random=self._random,
        )
        self._listeners: dict[int, Callable[[TcpEntry], None]] = {}
        self._sockets: dict[int, NetstackDatagrams] = {}
        self._pings: dict[int, Callable[[Echo], None]] = {}

    async def open_tcp_stream(self, host: str, port: int) -> NetstackStream:
        """Connect to a host, by name or address; the caller owns the stream.

        Raises: OSError — it has no address, or none that answers; trio.BrokenResourceError — the tunnel has ended.
        """
        if not 0 < port < 65536:
            raise ValueError(f"{port} is not a port")
        return await dial_host(self.resolver, host, self._versions, functools.partial(self._connect, port))

    async def open_udp(self, *, refusals: bool = False) -> NetstackDatagrams:
        """Return a socket of its own, which the caller owns; with ``refusals`` it tells of them.

        Raises: OSError — no port is free; trio.BrokenResourceError — the tunnel has ended.
        """
        await trio.lowlevel.checkpoint()
        self._check_alive()
        port = draw_port(self._random, self._sockets.__contains__)
        return self._bind(port, refusals=refusals)

    async def bind_udp(self, port: int) -> NetstackDatagrams:
        """Return a socket that receives at a port.

        Raises: OSError — it is taken; trio.BrokenResourceError — the tunnel has ended.
        """
        await trio.lowlevel.checkpoint()
        self._check_alive()
        if port in self._sockets:
            raise OSError(errno.EADDRINUSE, f"port {port} of UDP is taken")
        return self._bind(port, refusals=False)

    async def serve_tcp(
        self,
        port: int,
        handler: StreamHandler,
        *,
        task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
    ) -> NoReturn:
        """Serve connections to a port of ours until cancelled, each by a task; ``started`` with the port.

        Port 0 is one that is free. Streams are closed behind their handler, whose exceptions end the serving.

        Raises: OSError — the port is taken.
        """
        if not port:
            port = draw_port(self._random, self._listeners.__contains__)
        if port in self._listeners:
            raise OSError(errno.EADDRINUSE, f"port {port} of TCP is taken")

        async def serve(stream: NetstackStream) -> None:
            async with stream:
                await handler(stream)

        async with trio.open_nursery() as nursery:

            def take(entry: TcpEntry) -> None:
                nursery.start_soon(serve, NetstackStream(self.driver, entry))

            self._listeners[port] = take
            try:
                task_status.started(port)
                await trio.sleep_forever()
            finally:
                del self._listeners[port]
        raise AssertionError("it ends by cancellation only")

    async def ping(
        self,
        host: str,
        *,
        count: int,
        interval: float = 20 * MILLISECONDS,
        patience: float = 2 * SECONDS,
        size: int = 56,
    ) -> PingReport:
        """Send ``count`` echo requests with ``size`` bytes each, one every ``interval`` seconds.

        Returns with the last reply, at the latest ``patience`` seconds after the last request.

        Raises: OSError — the host has no address of a version that we speak.
        """
        destination = (await resolve_all(self.resolver, host, self._versions))[0]
        source = self._source(destination)
        identifier = draw_port(self._random, self._pings.__contains__)
        waiting: dict[int, float] = {}
        round_trips: list[float] = []
        done = trio.Event()

        def take(echo: Echo) -> None:
            asked_at = waiting.pop(echo.sequence, None)
            if echo.source == destination and asked_at is not None:
                round_trips.append(trio.current_time() - asked_at)
                if len(round_trips) == count:
                    done.set()

        self._pings[identifier] = take
        try:
            for sequence in range(count):
                if sequence:
                    await trio.sleep(interval)
                now = waiting[sequence] = trio.current_time()
                request = Echo(
                    source=source,
                    destination=destination,
                    identifier=identifier,
                    sequence=sequence,
                    payload=bytes(size),
                )
                self._host.send_echo(request, now)
                self.driver.flush()
            with trio.move_on_after(patience):
                await done.wait()
        finally:
            del self._pings[identifier]
        return PingReport(sent=count, round_trips=tuple(round_trips))

    def path_changed(self) -> None:
        """Go on at once: another leg carries the packets, and what is known of the old one means nothing."""
        now = trio.current_time()
        for entry in self._tcp.entries():
            entry.connection.path_changed(now)
            self._tcp.touch(entry)
        self.resolver.forget()
        self.driver.flush()

    # -- what the host hands on

    def take_syn(self, flow: Flow, segment: Segment, packet: bytes, now: float) -> bool:
        hand_on = self._listeners.get(flow.local_port)
        if hand_on is None:
            return False
        if len(self._tcp) < MAX_CONNECTIONS:

            def on_change() -> None:
                # Once, when the handshake is done: from then on the changes are the stream's.
                if entry.connection.is_established or entry.connection.readable:
                    hand_on(entry)

            entry = self._tcp.accept(flow, segment, self._host.config_for(flow.remote, now), on_change, now)
        return True

    def take_datagram(self, datagram: UdpDatagram, packet: bytes, now: float) -> bool:
        sock = self._sockets.get(datagram.destination_port)
        if sock is None:
            return False
        sock.put(datagram)
        return True

    def take_error(self, error: IcmpError) -> bool:
        sock = self._sockets.get(error.source_port)
        if sock is None or not sock.contacted(error):
            return False
        sock.put(error)
        return True

    def take_reply(self, echo: Echo) -> None:
        take = self._pings.get(echo.identifier)
        if take is not None:
            take(echo)

    # -- the inside

    async def _connect(self, port: int, address: IpAddress) -> NetstackStream:
        self._check_alive()
        source = self._source(address)
        flow = functools.partial(Flow, local=source.packed, remote=address.packed, remote_port=port)

        def is_taken(local_port: int) -> bool:
            return local_port in self._listeners or self._tcp.find(key_of(flow(local_port=local_port))) is not None

        if len(self._tcp) >= MAX_CONNECTIONS:
            raise OSError(errno.ENOBUFS, f"{MAX_CONNECTIONS} connections are as many as there can be")
        now = trio.current_time()
        chosen = flow(local_port=draw_port(self._random, is_taken))
        stream = NetstackStream(
            self.driver, self._tcp.dial(chosen, self._host.config_for(address.packed, now), _ignore, now)
        )
        self.driver.flush()
        try:
            await stream.wait_established()
        except BaseException:
            stream.abort()
            raise
        return stream

    def _source(self, destination: IpAddress) -> IpAddress:
        source = self._addresses.get(destination.version)
        if source is None:
            raise OSError(errno.ENETUNREACH, f"the tunnel has no IPv{destination.version}")
        return source

    def _bind(self, port: int, *, refusals: bool) -> NetstackDatagrams:
        sock = NetstackDatagrams(
            self.driver,
            port,
            self._addresses,
            functools.partial(resolve_all, self.resolver, versions=self._versions),
            self._unbind,
            refusals=refusals,
        )
        self._sockets[port] = sock
        return sock

    def _unbind(self, port: int) -> None:
        del self._sockets[port]

    def _wake(self) -> None:
        for sock in self._sockets.values():
            sock.wake()

    def _check_alive(self) -> None:
        if self.driver.ended.is_set():
            raise trio.BrokenResourceError("the tunnel has ended")

    async def settle(self) -> None:
        """Wait until all that was sent on closed streams has arrived, for `LINGER` at most; reset the others."""
        with trio.move_on_after(LINGER):
            while not self.driver.ended.is_set() and any(map(_is_leaving, self._tcp.entries())):
                await self.driver.wait_batch()
        self.abort()

    def abort(self) -> None:
        """Reset every connection that is not over, so that the other ends do not wait for us."""
        now = trio.current_time()
        for entry in self._tcp.entries():
            if not entry.leaving or _is_leaving(entry):
                entry.connection.abort(now)
                self._tcp.change(entry)
        self.driver.flush()


def _is_leaving(entry: TcpEntry) -> bool:
    return entry.leaving and entry.connection.state not in (State.FIN_WAIT_2, State.TIME_WAIT, State.CLOSED)


def _ignore() -> None:
    pass


@asynccontextmanager
async def open_netstack(
    link: InnerEnd,
    *,
    addresses: Sequence[IpInterface],
    resolvers: Sequence[IpAddress] = (),
    mtu: int = DEFAULT_MTU,
) -> AsyncIterator[Netstack]:
    """Run a stack with these addresses at the end of a link while the block lasts; the link stays open.

    The first address of each version is what we send from. Names are looked up at ``resolvers``, through the link.
    """
    own = [ipaddress.ip_address(interface.ip) for interface in addresses]
    netstack = Netstack(link, own, resolvers, mtu)
    async with open_background(netstack.driver.run):
        try:
            yield netstack
            await netstack.settle()
        finally:
            netstack.abort()
