"""A user's datagrams through a node, by the command UDP or by XUDP: sockets of its own, and every address judged."""

from __future__ import annotations

import ipaddress
import logging
import socket
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Final

import trio

from pharos.wire.errors import LinkRefusedError
from pharos.wire.reality.addresses import Address
from pharos.wire.reality.relaying import BROKEN, wait_for
from pharos.wire.reality.routing import IpAddress, Routes, resolve
from pharos.wire.reality.users import Session
from pharos.wire.reality.vlessstream import VlessStream
from pharos.wire.reality.vlessudp import FixedEnd, VlessDatagrams
from pharos.wire.reality.xudp import Datagram, XudpEnd
from pharos.wire.units import MINUTES, SECONDS

log = logging.getLogger(__name__)

MAX_DATAGRAM: Final = 65_535
RESOLVE_TIMEOUT: Final = 5 * SECONDS
"""For one name; what comes behind it waits, and a resolver that takes longer has lost the question."""
KEEP_NAMES: Final = 1 * MINUTES
"""For which a name is not asked for again: every datagram carries it."""
MAX_NAMES: Final = 256
"""Of one session, and as many sources of answers; one more forgets all of them."""
_ANY: Final = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}  # noqa: S104 -- any port of ours, for answers


async def carry_datagrams(
    target: Address | None, stream: VlessStream, session: Session, routes: Routes, touch: Callable[[], None]
) -> None:
    """Carry datagrams until the device ends, or the caller stops it. Without a target each brings its own (XUDP).

    With a target nobody else's answers are taken. Without one anybody may answer whom the device could write to.
    """
    tunnel = VlessDatagrams(stream, XudpEnd(client=False) if target is None else FixedEnd(target))
    with ExitStack() as stack, trio.CancelScope() as scope:
        sockets = {}
        for family in _ANY:
            if (sock := await _open(family)) is not None:
                sockets[family] = stack.enter_context(sock)
        outside = _Outside(sockets, routes, only=target)

        async def up() -> None:
            while True:
                datagram = await tunnel.receive_datagram()
                touch()
                session.count_received(len(datagram.data))
                await wait_for(len(datagram.data), session.user.from_device)
                await outside.send(datagram)

        async def down(sock: trio.socket.SocketType) -> None:
            while True:
                datagram = await outside.receive(sock)
                touch()
                await wait_for(len(datagram.data), session.user.to_device)
                async with sending:
                    await tunnel.send_datagram(datagram)
                session.count_sent(len(datagram.data))

        async def guarded(run: Callable[..., Awaitable[None]], *args: object) -> None:
            try:
                await run(*args)
            except BROKEN:
                scope.cancel()

        sending = trio.Lock()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(guarded, up)
            for sock in sockets.values():
                nursery.start_soon(guarded, down, sock)


async def _open(family: socket.AddressFamily) -> trio.socket.SocketType | None:
    """Return a socket, or None on a machine without this version of IP."""
    try:
        sock = trio.socket.socket(family, socket.SOCK_DGRAM)
    except OSError:
        return None
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        await sock.bind((_ANY[family], 0))
    except OSError:
        sock.close()
        return None
    return sock


class _Outside:
    """The sockets of one session, and to whom and from whom they carry."""

    def __init__(
        self, sockets: dict[socket.AddressFamily, trio.socket.SocketType], routes: Routes, *, only: Address | None
    ) -> None:
        self._sockets = sockets
        self._routes = routes
        self._only = only
        self._partner: tuple[str, int] | None = None
        self._names: dict[Address, tuple[IpAddress | None, float]] = {}
        self._sources: dict[str, bool] = {}

    async def send(self, datagram: Datagram) -> None:
        """Send one, or lose it, as datagrams may be."""
        address = await self._resolve(datagram.address)
        if address is None:
            return
        place = (str(address), datagram.address.port)
        if self._only is not None:
            self._partner = place
        sock = self._sockets.get(socket.AF_INET if address.version == 4 else socket.AF_INET6)
        if sock is None:
            return
        try:
            await sock.sendto(datagram.data, place)
        except OSError as error:
            log.debug("a datagram was lost: %s", error.strerror)

    async def receive(self, sock: trio.socket.SocketType) -> Datagram:
        """Return the next one that the device may have."""
        while True:
            try:
                data, (host, port, *_) = await sock.recvfrom(MAX_DATAGRAM)
            except OSError as error:
                log.debug("an answer was lost: %s", error.strerror)
                continue
            host = host.partition("%")[0]
            if self._only is not None and (host, port) != self._partner:
                continue
            if not port or not self._permits(host):
                continue
            return Datagram(Address(host, port), data)

    def _permits(self, host: str) -> bool:
        """Whether the device could write to whoever this comes from; answers come by the thousand from a few."""
        if host not in self._sources:
            if len(self._sources) >= MAX_NAMES:
                self._sources.clear()
            self._sources[host] = self._routes.permit(ipaddress.ip_address(host))
        return self._sources[host]

    async def _resolve(self, target: Address) -> IpAddress | None:
        now = trio.current_time()
        known = self._names.get(target)
        if known is not None and now < known[1]:
            return known[0]
        found: IpAddress | None = None
        with trio.move_on_after(RESOLVE_TIMEOUT):
            try:
                addresses = await resolve(target, self._routes, kind=socket.SOCK_DGRAM)
            except (OSError, LinkRefusedError):
                pass
            else:
                found = next((one for one in addresses if self._has_way(one)), None)
        if len(self._names) >= MAX_NAMES:
            self._names.clear()
        self._names[target] = (found, now + KEEP_NAMES)
        return found

    def _has_way(self, address: IpAddress) -> bool:
        return (socket.AF_INET if address.version == 4 else socket.AF_INET6) in self._sockets
