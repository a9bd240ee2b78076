"""The sockets of this machine, offered as a tunnel's are: what a forwarder without root sends on with."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket
import sys
from ipaddress import IPv6Address
from struct import Struct
from typing import Final

import trio

from pharos.wire.addresses import Address, Datagram
from pharos.wire.awg.netstack.ip import IpAddress
from pharos.wire.awg.netstack.resolver import literal_of
from pharos.wire.openers import DatagramRefusedError, DatagramTunnel
from pharos.wire.tasks import Turn
from pharos.wire.tcpdial import Protect, open_tcp
from pharos.wire.world import this_world

MAX_DATAGRAM: Final = 65_535
# linux/in.h, linux/in6.h, linux/errqueue.h; the standard library has not all of them.
_IP_RECVERR, _IPV6_RECVERR, _MSG_ERRQUEUE = 11, 25, 0x2000
_EXTENDED_ERROR: Final = Struct("=IBBBxII")
_ANCILLARY_BYTES: Final = 512
_PASSING: Final = frozenset({errno.ECONNREFUSED, errno.ECONNRESET, errno.EHOSTUNREACH, errno.ENETUNREACH})
"""What one datagram's fate may be told by, at a socket that goes on."""


async def open_os_tcp(host: str, port: int, *, protect: Protect | None = None) -> trio.SocketStream:
    """Connect from this machine to a host, by name or address; the caller owns the stream. Raises: OSError."""
    return await open_tcp(host, port, protect=protect)


async def open_os_udp(*, protect: Protect | None = None, refusals: bool = False) -> OsDatagrams:
    """Return a socket of this machine's, for both versions of IP where it has both; the caller owns it.

    With ``refusals`` it tells of them, where the system does (Linux).

    Raises: OSError.
    """
    await trio.lowlevel.checkpoint()
    try:
        sock = this_world().udp_socket(socket.AF_INET6)
    except OSError:
        sock = this_world().udp_socket(socket.AF_INET)
    try:
        six = sock.family == socket.AF_INET6
        if six:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        if refusals:
            # Other systems have no such option.
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
                if six:
                    sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
        if protect is not None:
            protect(sock)
        sock.bind(("::" if six else "0.0.0.0", 0))  # noqa: S104 -- any port of ours, for answers
    except BaseException:
        sock.close()
        raise
    return OsDatagrams(sock, refusals=refusals)


class OsDatagrams(DatagramTunnel):
    """A socket of this machine's."""

    def __init__(self, sock: socket.socket, *, refusals: bool) -> None:
        self._plain = sock
        self._sock = this_world().trio_socket(sock)
        self._refusals = refusals
        self._closed = False
        self._six = sock.family == socket.AF_INET6
        self._receiving = Turn("receiving from this socket")

    async def send_datagram(self, datagram: Datagram) -> None:
        """Raises: DatagramRefusedError, if it was asked for; trio.ClosedResourceError."""
        self._check()
        target = literal_of(datagram.address.host)
        if target is None:
            target = await self._resolve(datagram.address.host)
        if target is None or (target.version == 6 and not self._six):
            await trio.lowlevel.checkpoint()
            return
        host = f"::ffff:{target}" if self._six and target.version == 4 else str(target)
        try:
            await self._sock.sendto(datagram.data, (host, datagram.address.port))
        except OSError as error:
            if self._refusals and error.errno in _PASSING:
                self._take_errors()
                where = Address(str(target), datagram.address.port)
                raise DatagramRefusedError(error.errno or 0, error.strerror or "", where) from error

    async def receive_datagram(self) -> Datagram:
        """Raises: DatagramRefusedError, if it was asked for; OSError; trio.ClosedResourceError."""
        with self._receiving:
            while True:
                self._check()
                try:
                    data, (host, port, *_) = await self._sock.recvfrom(MAX_DATAGRAM)
                except OSError as error:
                    if error.errno not in _PASSING:
                        raise
                    if self._refusals and (refused := self._take_errors()) is not None:
                        raise refused from error
                    continue
                if port:
                    return Datagram(Address(_plain(host), port), data)

    async def aclose(self) -> None:
        self._closed = True
        self._sock.close()
        await trio.lowlevel.checkpoint()

    def _check(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("this socket was closed")

    async def _resolve(self, host: str) -> IpAddress | None:
        try:
            found = await trio.socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM)
        except OSError:
            return None
        addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
        return next((address for address in addresses if self._six or address.version == 4), None)

    def _take_errors(self) -> DatagramRefusedError | None:
        """Return what the system says of the oldest datagram that did not arrive, or None."""
        if sys.platform != "linux":
            return None
        try:
            _, ancillary, _, address = self._plain.recvmsg(0, _ANCILLARY_BYTES, _MSG_ERRQUEUE | socket.MSG_DONTWAIT)
        except OSError:
            return None
        for level, kind, data in ancillary:
            is_error = (level, kind) in ((socket.IPPROTO_IP, _IP_RECVERR), (socket.IPPROTO_IPV6, _IPV6_RECVERR))
            if is_error and len(data) >= _EXTENDED_ERROR.size and address and address[1]:
                number = _EXTENDED_ERROR.unpack_from(data)[0]
                return DatagramRefusedError(number, "the datagram was refused", Address(_plain(address[0]), address[1]))
        return None


def _plain(host: str) -> str:
    """Return an address without a zone, and an IPv4 address as that."""
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)
