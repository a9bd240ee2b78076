"""Streams and datagrams by the sockets of a network inside this program: Linux's own TCP, through a tunnel of ours."""

from __future__ import annotations

import logging
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import trio

from pharos.wire.addresses import Address, Datagram, canonical_host
from pharos.wire.awg.netstack.dialling import dial_host, order_versions, resolve_all
from pharos.wire.awg.netstack.ip import IpAddress
from pharos.wire.awg.netstack.resolver import Resolver, literal_of
from pharos.wire.openers import DatagramTunnel

if TYPE_CHECKING:
    from pharos.caravel.tunnel.userns import Userns

log = logging.getLogger(__name__)

MAX_DATAGRAM: Final = 65_535
_MAPPED: Final = "::ffff:"
"""An IPv4 address at a socket of IPv6 (RFC 4291 §2.5.5.2)."""


class UsernsStreams:
    """A `pharos.caravel.tunnel.parts.StreamOpener`, for a device with these addresses."""

    def __init__(self, userns: Userns, *, addresses: Sequence[IpAddress], resolvers: Sequence[IpAddress]) -> None:
        self._userns = userns
        self._versions = order_versions(addresses)
        self._resolver = Resolver(resolvers, open_udp=self.open_udp, open_tcp=self.open_tcp_stream)

    async def open_tcp_stream(self, host: str, port: int) -> trio.SocketStream:
        """Connect to a host, by name or address, as RFC 8305 says; the caller owns the stream, and the timeout.

        Raises: OSError — it does not resolve, or cannot be reached.
        """

        async def attempt(address: IpAddress) -> trio.SocketStream:
            return await self._connect(address, port)

        return await dial_host(self._resolver, host, self._versions, attempt)

    async def open_udp(self) -> DatagramTunnel:
        """Return a socket of its own, which the caller owns. Raises: OSError."""
        family = socket.AF_INET6 if 6 in self._versions else socket.AF_INET
        sock = await self._userns.open_socket(family, socket.SOCK_DGRAM)
        try:
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            # Before anything is sent: who waits for an answer may do so first.
            sock.bind(("", 0))
        except BaseException:
            sock.close()
            raise
        return UsernsDatagrams(trio.socket.from_stdlib_socket(sock), self)

    async def find(self, host: str) -> IpAddress:
        """Return the address of a host that is preferred. Raises: OSError — it has none."""
        literal = literal_of(host)
        return literal or (await resolve_all(self._resolver, host, self._versions))[0]

    def path_changed(self) -> None:
        """Ask anew for every name: the tunnel ends elsewhere now. (TCP finds its way by itself.)"""
        self._resolver.forget()

    async def _connect(self, address: IpAddress, port: int) -> trio.SocketStream:
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        sock = trio.socket.from_stdlib_socket(await self._userns.open_socket(family, socket.SOCK_STREAM))
        try:
            await sock.connect((str(address), port))
            return trio.SocketStream(sock)
        except BaseException:
            sock.close()
            raise


class UsernsDatagrams(DatagramTunnel):
    """One socket, of IPv6 where there is that, which then serves IPv4 as well."""

    def __init__(self, sock: trio.socket.SocketType, streams: UsernsStreams) -> None:
        self._socket = sock
        self._streams = streams

    async def send_datagram(self, datagram: Datagram) -> None:
        """Send, or lose it: a name that does not resolve, a network without a way.

        Raises: trio.ClosedResourceError.
        """
        try:
            address = await self._streams.find(datagram.address.host)
            mapped = self._socket.family == socket.AF_INET6 and address.version == 4
            host = _MAPPED + str(address) if mapped else str(address)
            await self._socket.sendto(datagram.data, (host, datagram.address.port))
        except OSError as error:
            log.debug("a datagram was lost: %s", error)

    async def receive_datagram(self) -> Datagram:
        """Raises: trio.ClosedResourceError."""
        while True:
            try:
                data, (host, port, *_) = await self._socket.recvfrom(MAX_DATAGRAM)
            except OSError as error:
                log.debug("an answer was lost: %s", error)
                continue
            host = canonical_host(host.removeprefix(_MAPPED).partition("%")[0])
            if host is not None and port:
                return Datagram(Address(host, port), data)

    async def aclose(self) -> None:
        self._socket.close()
        await trio.lowlevel.checkpoint()
