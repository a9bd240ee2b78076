"""Packets become streams: every connection and every datagram that comes out of a link is carried on by other means.

It stands for every address there is, as slirp does for virtual machines: no root and no route is needed. A connection
is dialled first and accepted when that has succeeded, so that who asked learns what became of it.
"""

from __future__ import annotations

import errno
import ipaddress
import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Final, TypeAlias

import attrs
import trio

from pharos.wire.awg.device import DEFAULT_MTU
from pharos.wire.awg.icmp import Echo
from pharos.wire.awg.inner import InnerEnd, PacketDevice
from pharos.wire.awg.netstack.driver import Driver
from pharos.wire.awg.netstack.forwardudp import Outlet, UdpFlow
from pharos.wire.awg.netstack.host import Host
from pharos.wire.awg.netstack.icmperror import IcmpError, Problem
from pharos.wire.awg.netstack.ip import IpAddress
from pharos.wire.awg.netstack.racing import FAILURES
from pharos.wire.awg.netstack.relay import BROKEN, relay, reset
from pharos.wire.awg.netstack.tcp.config import TcpConfig
from pharos.wire.awg.netstack.tcp.flow import Flow
from pharos.wire.awg.netstack.tcp.segment import Segment
from pharos.wire.awg.netstack.tcpstream import NetstackStream
from pharos.wire.awg.netstack.tcptable import TcpTable, key_of
from pharos.wire.awg.netstack.tunend import TunEnd
from pharos.wire.awg.netstack.udp import UdpDatagram
from pharos.wire.openers import OpenTcp, OpenUdp
from pharos.wire.units import HOURS, KIB, MIB, MINUTES, SECONDS
from pharos.wire.world import random_bytes

log = logging.getLogger(__name__)

Allowed: TypeAlias = Callable[[IpAddress, int], bool]
"""Whether an address and a port may be reached."""

_UNREACHABLE: Final = {
    errno.ENETUNREACH: Problem.NETWORK_UNREACHABLE,
    errno.EHOSTUNREACH: Problem.HOST_UNREACHABLE,
    errno.ETIMEDOUT: Problem.HOST_UNREACHABLE,
}


@attrs.frozen(kw_only=True)
class ForwardLimits:
    """What a forwarder bears. Times are in seconds."""

    flows: int = 4096
    """Of all sources together; each takes a descriptor or a stream of a tunnel, and twice ``buffer`` at most."""
    flows_per_source: int = 1024
    """A phone has 50, a browser that restores its tabs 256."""
    dial_timeout: float = 30 * SECONDS
    tcp_idle: float = 2 * HOURS + 4 * MINUTES
    """Without an octet in either direction; the least that RFC 5382 REQ-5 asks for."""
    udp_idle: float = 5 * MINUTES
    """As RFC 4787 REQ-5 recommends."""
    dns_idle: float = 30 * SECONDS
    """Where nobody but resolvers was written to: each question has a socket of its own."""
    buffer: int = 1 * MIB
    """Octets of one connection that wait, each way, at most: what a path of 80 ms takes at 100 Mbit/s."""
    buffers_per_source: int = 32 * MIB
    """Shared by the connections of one source: the first 32 get all of ``buffer``, each later one less."""
    least_buffer: int = 64 * KIB
    """For each all the same. With 1,024 connections that fill everything it is 120 MiB each way."""


class Forwarder:
    """`run` is its task's home."""

    def __init__(
        self,
        link: InnerEnd | PacketDevice,
        *,
        open_tcp: OpenTcp,
        open_udp: OpenUdp,
        addresses: Collection[IpAddress] = (),
        mtu: int = DEFAULT_MTU,
        limits: ForwardLimits | None = None,
        allowed: Allowed = lambda address, port: True,
    ) -> None:
        """``addresses`` are its own: it answers echoes to them. The last three can be changed while it runs."""
        self.allowed = allowed
        self.limits = limits or ForwardLimits()
        self._tcp = TcpTable(TcpConfig(mtu=mtu), random_bytes)
        self._host = Host(
            addresses=[address.packed for address in addresses],
            tcp=self._tcp,
            above=self,
            random=random_bytes,
            anywhere=True,
        )
        self._driver = Driver(self._host, TunEnd(link) if isinstance(link, PacketDevice) else link)
        self._open_tcp = open_tcp
        self._open_udp = open_udp
        self._dialling: dict[bytes, Segment] = {}
        self._datagrams: dict[tuple[bytes, int], UdpFlow] = {}
        self._flows: Counter[bytes] = Counter()
        self._nursery: trio.Nursery | None = None

    @property
    def flows(self) -> int:
        """Connections and sockets of UDP that there are now."""
        return self._flows.total()

    def set_addresses(self, addresses: Collection[IpAddress]) -> None:
        """Answer echoes for these and no others from now on."""
        self._host.set_addresses([address.packed for address in addresses])

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Forward until cancelled, or until the link has ended.

        Raises: WireError — the link was a device of the system and is no more.
        """
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            await nursery.start(self._driver.run)
            task_status.started()
            await self._driver.ended.wait()
            nursery.cancel_scope.cancel()

    # -- what comes out of the link

    def take_syn(self, flow: Flow, segment: Segment, packet: bytes, now: float) -> bool:
        address = ipaddress.ip_address(flow.local)
        if not self.allowed(address, flow.local_port):
            return False
        key = key_of(flow)
        if key in self._dialling:
            # It is asked again, or asks for another connection by now.
            self._dialling[key] = segment
        elif self._has_room(flow.remote):
            self._dialling[key] = segment
            assert self._nursery is not None, "packets come while it runs"
            self._nursery.start_soon(self._forward, flow, key, packet)
        # One that there was no room for is asked again.
        return True

    def take_datagram(self, datagram: UdpDatagram, packet: bytes, now: float) -> bool:
        place = datagram.source, datagram.source_port
        flow = self._datagrams.get(place)
        if flow is None or not flow.knows(datagram):
            if not self.allowed(ipaddress.ip_address(datagram.destination), datagram.destination_port):
                self._host.complain(Problem.PROHIBITED, packet, now)
                return True
            if flow is None and self._has_room(datagram.source):
                flow = self._datagrams[place] = UdpFlow(*place, self.limits)
                assert self._nursery is not None, "packets come while it runs"
                self._nursery.start_soon(self._carry_datagrams, flow)
        if flow is not None:
            flow.put(datagram)
        return True

    def take_error(self, error: IcmpError) -> bool:
        return (error.destination, error.destination_port) in self._datagrams

    def take_reply(self, echo: Echo) -> None:
        """Nobody here asks."""

    # -- what becomes of it

    async def _forward(self, flow: Flow, key: bytes, packet: bytes) -> None:
        with self._counted(flow.remote):
            try:
                upstream = await self._dial(flow, packet, key)
                if upstream is None:
                    return
                now = trio.current_time()
                entry = self._tcp.accept(flow, self._dialling[key], self._configure(flow.remote, now), _ignore, now)
            finally:
                del self._dialling[key]
            stream = NetstackStream(self._driver, entry)
            self._driver.flush()
            try:
                await stream.wait_established()
            except FAILURES:
                await reset(upstream)
                return
            except BaseException:
                stream.abort()
                await reset(upstream)
                raise
            await relay(stream, upstream, idle_timeout=self.limits.tcp_idle)

    async def _dial(self, flow: Flow, packet: bytes, key: bytes) -> trio.abc.HalfCloseableStream | None:
        """Return the way on; None if there is none, and who asked for it has been told."""
        try:
            with trio.fail_after(self.limits.dial_timeout):
                return await self._open_tcp(str(ipaddress.ip_address(flow.local)), flow.local_port)
        except (*FAILURES, trio.TooSlowError) as error:
            log.debug("a connection cannot be carried on: %s", error)
            number = errno.ETIMEDOUT if isinstance(error, trio.TooSlowError) else number_of(error)
        now = trio.current_time()
        if number in _UNREACHABLE:
            self._host.complain(_UNREACHABLE[number], packet, now)
        else:
            self._host.refuse(flow, self._dialling[key], now)
        self._driver.flush()
        return None

    async def _carry_datagrams(self, flow: UdpFlow) -> None:
        with self._counted(flow.source):
            try:
                await flow.run(self._open_udp, Outlet(self._host, self._driver))
            except (*BROKEN, trio.TooSlowError) as error:
                log.debug("datagrams cannot be carried on: %s", error)
            finally:
                del self._datagrams[flow.source, flow.source_port]

    def _configure(self, source: bytes, now: float) -> TcpConfig:
        """Give a connection its share of what one source may have us keep: the more it has, the less for the next."""
        limits = self.limits
        share = max(limits.least_buffer, min(limits.buffer, limits.buffers_per_source // self._flows[source]))
        config = self._host.config_for(source, now)
        return attrs.evolve(
            config, send_buffer=share, receive_buffer=share, receive_window=min(share, config.receive_window)
        )

    def _has_room(self, source: bytes) -> bool:
        limits = self.limits
        # Connections that are over count as flows no more, but wait out their minute in the table.
        few = self._flows.total() < limits.flows and len(self._tcp) < 2 * limits.flows
        if few and self._flows[source] < limits.flows_per_source:
            self._flows[source] += 1
            return True
        log.debug("there are too many flows: one was left waiting")
        return False

    @contextmanager
    def _counted(self, source: bytes) -> Iterator[None]:
        try:
            yield
        finally:
            self._flows[source] -= 1
            if not self._flows[source]:
                del self._flows[source]


def number_of(error: BaseException) -> int | None:
    """Return the number of an operating system's error, or of the first of those that it tells of."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    if isinstance(error.__cause__, OSError):
        return number_of(error.__cause__)
    if isinstance(error.__cause__, BaseExceptionGroup):
        return number_of(error.__cause__.exceptions[0])
    return None


def _ignore() -> None:
    pass


async def run_forwarder(
    link: InnerEnd | PacketDevice,
    *,
    open_tcp: OpenTcp,
    open_udp: OpenUdp,
    addresses: Collection[IpAddress] = (),
    mtu: int = DEFAULT_MTU,
    limits: ForwardLimits | None = None,
    allowed: Allowed = lambda address, port: True,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Carry on all that comes out of a link until cancelled, or until the link has ended; see `Forwarder`."""
    forwarder = Forwarder(
        link, open_tcp=open_tcp, open_udp=open_udp, addresses=addresses, mtu=mtu, limits=limits, allowed=allowed
    )
    await forwarder.run(task_status=task_status)
