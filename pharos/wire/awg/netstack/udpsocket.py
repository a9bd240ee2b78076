"""UDP sockets of a host: one port each, both versions of IP, and what waits to be received."""

from __future__ import annotations

import errno
import ipaddress
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import trio

from pharos.wire.addresses import Address, Datagram
from pharos.wire.awg.netstack.driver import Driver
from pharos.wire.awg.netstack.icmperror import IcmpError, Problem, error_of
from pharos.wire.awg.netstack.ip import IpAddress
from pharos.wire.awg.netstack.udp import MAX_PAYLOAD, UdpDatagram
from pharos.wire.openers import DatagramRefusedError, DatagramTunnel
from pharos.wire.tasks import Turn
from pharos.wire.units import KIB

MAX_WAITING_BYTES: Final = 208 * KIB
"""Of one socket, Linux's net.core.rmem_default; what comes on top is lost."""
MAX_CONTACTED: Final = 256
"""Remembered of one socket: of whom errors are believed."""
_OVERHEAD: Final = 256
"""Counted for each datagram, so that empty ones are bounded as well."""

Resolve: TypeAlias = Callable[[str], Awaitable[list[IpAddress]]]
"""Looks up the addresses of a name; raises OSError if there are none."""


class NetstackDatagrams(DatagramTunnel):
    """A socket that sends to whom it likes, names included, and takes what comes to its port.

    With ``refusals`` a receiver is told of those who cannot be reached.
    """

    def __init__(
        self,
        driver: Driver,
        port: int,
        addresses: dict[int, IpAddress],
        resolve: Resolve,
        forget: Callable[[int], None],
        *,
        refusals: bool = False,
    ) -> None:
        self.port = port
        self.dropped = 0
        """Datagrams that came when too many were waiting."""
        self._driver = driver
        self._addresses = addresses
        self._resolve = resolve
        self._forget = forget
        self._refusals = refusals
        self._contacted: dict[tuple[bytes, int], None] = {}
        self._waiting: deque[UdpDatagram | IcmpError] = deque()
        self._waiting_bytes = 0
        self._arrived = trio.lowlevel.ParkingLot()
        self._receiving = Turn("receiving from this socket")
        self._closed = False

    def contacted(self, error: IcmpError) -> bool:
        """Whether an error is about somebody that something was sent to lately."""
        return (error.destination, error.destination_port) in self._contacted

    def put(self, item: UdpDatagram | IcmpError) -> None:
        """Take what came for this port."""
        if isinstance(item, IcmpError) and (not self._refusals or item.problem is Problem.TOO_BIG):
            return
        size = _size(item)
        if self._waiting_bytes + size > MAX_WAITING_BYTES:
            self.dropped += 1
            return
        self._waiting_bytes += size
        self._waiting.append(item)
        self._arrived.unpark()

    async def send_datagram(self, datagram: Datagram) -> None:
        """Raises: trio.ClosedResourceError; trio.BrokenResourceError — the tunnel has ended."""
        await trio.lowlevel.checkpoint()
        self._check()
        if len(datagram.data) > MAX_PAYLOAD:
            return
        destination = await self._find(datagram.address.host)
        self._check()
        source = self._addresses.get(destination.version) if destination is not None else None
        if destination is None or source is None:
            return
        sent = UdpDatagram(source.packed, self.port, destination.packed, datagram.address.port, datagram.data)
        place = (sent.destination, sent.destination_port)
        self._contacted.pop(place, None)
        if len(self._contacted) >= MAX_CONTACTED:
            del self._contacted[next(iter(self._contacted))]
        self._contacted[place] = None
        self._driver.host.send_datagram(sent, trio.current_time())
        self._driver.flush()

    async def receive_datagram(self) -> Datagram:
        """Raises: DatagramRefusedError, if it was asked for; trio.ClosedResourceError; trio.BrokenResourceError."""
        with self._receiving:
            await trio.lowlevel.checkpoint()
            while True:
                self._check()
                if self._waiting:
                    break
                await self._arrived.park()
            item = self._waiting.popleft()
            self._waiting_bytes -= _size(item)
        if isinstance(item, IcmpError):
            error = error_of(item.problem)
            where = Address(str(ipaddress.ip_address(item.destination)), item.destination_port)
            raise DatagramRefusedError(error.errno or errno.EHOSTUNREACH, error.strerror or "", where)
        return Datagram(Address(str(ipaddress.ip_address(item.source)), item.source_port), item.data)

    def wake(self) -> None:
        """Have a receiver see that the tunnel has ended."""
        self._arrived.unpark_all()

    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            self._waiting.clear()
            self._forget(self.port)
            self._arrived.unpark_all()
        await trio.lowlevel.checkpoint()

    async def _find(self, host: str) -> IpAddress | None:
        """Return an address that we have a way to, or None."""
        try:
            found = [ipaddress.ip_address(host)]
        except ValueError:
            try:
                found = await self._resolve(host)
            except OSError:
                return None
        return next((address for address in found if address.version in self._addresses), None)

    def _check(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("this socket was closed")
        if self._driver.ended.is_set():
            raise trio.BrokenResourceError("the tunnel has ended")


def _size(item: UdpDatagram | IcmpError) -> int:
    return _OVERHEAD + (len(item.data) if isinstance(item, UdpDatagram) else 0)
