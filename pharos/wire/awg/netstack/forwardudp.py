"""Datagrams of one socket inside a link, carried on by one socket outside (RFC 4787: its mapping has one port)."""

from __future__ import annotations

import errno
import ipaddress
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

import trio

from pharos.wire.addresses import Address, Datagram
from pharos.wire.awg.netstack.driver import Driver
from pharos.wire.awg.netstack.host import Host
from pharos.wire.awg.netstack.icmperror import Problem
from pharos.wire.awg.netstack.ip import UDP, build_ip
from pharos.wire.awg.netstack.relay import BROKEN
from pharos.wire.awg.netstack.resolver import PORT as DNS_PORT
from pharos.wire.awg.netstack.resolver import literal_of
from pharos.wire.awg.netstack.udp import MAX_PAYLOAD, UdpDatagram, build_udp
from pharos.wire.openers import DatagramRefusedError, OpenUdp
from pharos.wire.units import KIB

if TYPE_CHECKING:
    from pharos.wire.awg.netstack.forward import ForwardLimits

MAX_WAITING: Final = 64
"""Datagrams of one socket that wait to be sent on; fresh ones are lost then."""
MAX_WAITING_BYTES: Final = 128 * KIB
"""Of these: two of the largest, or 64 full packets and more."""
MAX_CONTACTED: Final = 256
"""Places that one socket has written to, and whose answers it gets (address-dependent filtering, RFC 4787 §5)."""
_PROBLEMS: Final = {
    errno.ENETUNREACH: Problem.NETWORK_UNREACHABLE,
    errno.EHOSTUNREACH: Problem.HOST_UNREACHABLE,
    errno.EACCES: Problem.PROHIBITED,
    errno.EPERM: Problem.PROHIBITED,
}


class Outlet:
    """Where answers go."""

    def __init__(self, host: Host, driver: Driver) -> None:
        self._host = host
        self._driver = driver

    def send(self, datagram: UdpDatagram) -> None:
        self._host.send_datagram(datagram, trio.current_time())
        self._driver.flush()

    def complain(self, problem: Problem, about: UdpDatagram) -> None:
        packet = build_ip(about.source, about.destination, UDP, build_udp(about))
        self._host.complain(problem, packet, trio.current_time())
        self._driver.flush()


class UdpFlow:
    """One socket inside."""

    def __init__(self, source: bytes, source_port: int, limits: ForwardLimits) -> None:
        self.source = source
        self.source_port = source_port
        self._limits = limits
        self._sender, self._receiver = trio.open_memory_channel[UdpDatagram](MAX_WAITING)
        self._waiting_bytes = 0
        self._contacted: dict[tuple[bytes, int], None] = {}
        self._hosts: frozenset[bytes] = frozenset()
        self._only_resolvers = True
        self._scope = trio.CancelScope()

    def knows(self, datagram: UdpDatagram) -> bool:
        """Whether something was sent to the same place before."""
        return (datagram.destination, datagram.destination_port) in self._contacted

    def put(self, datagram: UdpDatagram) -> None:
        """Take a datagram to be sent on."""
        if not self.knows(datagram):
            if len(self._contacted) >= MAX_CONTACTED:
                del self._contacted[next(iter(self._contacted))]
            self._contacted[datagram.destination, datagram.destination_port] = None
            self._hosts = frozenset(host for host, _ in self._contacted)
            self._only_resolvers = self._only_resolvers and datagram.destination_port == DNS_PORT
        if self._waiting_bytes + len(datagram.data) > MAX_WAITING_BYTES:
            return
        try:
            self._sender.send_nowait(datagram)
        except trio.WouldBlock:
            return
        self._waiting_bytes += len(datagram.data)
        self._touch()

    async def run(self, open_udp: OpenUdp, outlet: Outlet) -> None:
        """Carry until nothing has come for long. Raises: what sockets raise."""
        with self._scope:
            with trio.fail_after(self._limits.dial_timeout):
                sock = await open_udp()
            failures: list[Exception] = []
            async with sock:

                async def up() -> None:
                    async for datagram in self._receiver:
                        self._waiting_bytes -= len(datagram.data)
                        host = str(ipaddress.ip_address(datagram.destination))
                        try:
                            await sock.send_datagram(Datagram(Address(host, datagram.destination_port), datagram.data))
                        except DatagramRefusedError as error:
                            self._refused(error, outlet)

                async def down() -> None:
                    while True:
                        try:
                            datagram = await sock.receive_datagram()
                        except DatagramRefusedError as error:
                            self._refused(error, outlet)
                        else:
                            self._answer(datagram, outlet)

                async def guarded(direction: Callable[[], Awaitable[None]]) -> None:
                    try:
                        await direction()
                    except BROKEN as error:
                        failures.append(error)
                        nursery.cancel_scope.cancel()

                async with trio.open_nursery() as nursery:
                    nursery.start_soon(guarded, up)
                    nursery.start_soon(guarded, down)
            if failures:
                raise failures[0]

    def _answer(self, datagram: Datagram, outlet: Outlet) -> None:
        source = literal_of(datagram.address.host)
        if source is None or source.packed not in self._hosts or len(datagram.data) > MAX_PAYLOAD:
            return
        self._touch()
        outlet.send(
            UdpDatagram(source.packed, datagram.address.port, self.source, self.source_port, bytes(datagram.data))
        )

    def _refused(self, error: DatagramRefusedError, outlet: Outlet) -> None:
        target = literal_of(error.address.host)
        if target is not None:
            about = UdpDatagram(self.source, self.source_port, target.packed, error.address.port, b"")
            outlet.complain(_PROBLEMS.get(error.errno or 0, Problem.PORT_UNREACHABLE), about)

    def _touch(self) -> None:
        idle = self._limits.dns_idle if self._only_resolvers else self._limits.udp_idle
        self._scope.deadline = trio.current_time() + idle
