"""UDP ASSOCIATE: a socket on loopback for one client's datagrams, for as long as its connection stands."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from pharos.wire.errors import RemoteProtocolError
from pharos.wire.reality.addresses import Address
from pharos.wire.reality.front import READ_BYTES, TUNNEL_ERRORS, DatagramTunnel, Limits, OpenUdp, failure_of, log
from pharos.wire.reality.relay import CLOSE_TIMEOUT
from pharos.wire.reality.socks import AssociateRequest, SocksServer, parse_datagram, render_datagram

MAX_DATAGRAM: Final = 65_535
"""Octets that the length in a UDP header can say."""


class _Association:
    """One client's socket, and the tunnel's once there is a datagram for it."""

    def __init__(
        self, client: trio.SocketStream, sock: trio.socket.SocketType, port: int, open_udp: OpenUdp, limits: Limits
    ) -> None:
        self._client = client
        self._sock = sock
        self._host: str = client.socket.getpeername()[0]
        self._port = port
        self._open_udp = open_udp
        self._limits = limits
        self._tunnel: DatagramTunnel | None = None
        self._scope = trio.CancelScope()

    async def run(self) -> None:
        """Carry datagrams until the client's connection ends, the tunnel breaks or nothing has come for long."""
        self._touch()
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._guarded, self._watch_client)
                    nursery.start_soon(self._guarded, self._carry, nursery)
        finally:
            if self._tunnel is not None:
                with trio.move_on_after(CLOSE_TIMEOUT):
                    await self._tunnel.aclose()

    async def _guarded(self, run: Callable[..., Awaitable[None]], *args: object) -> None:
        try:
            await run(*args)
        except (*TUNNEL_ERRORS, trio.TooSlowError) as error:
            log.debug("an association has ended: %s", failure_of(error).value)
        self._scope.cancel()

    async def _watch_client(self) -> None:
        # The connection has nothing more to say but that it ends (RFC 1928 §7).
        while await self._client.receive_some(READ_BYTES):
            pass

    async def _carry(self, nursery: trio.Nursery) -> None:
        while True:
            data, source = await self._sock.recvfrom(MAX_DATAGRAM)
            if not self._is_from_client(source):
                continue
            try:
                datagram = parse_datagram(data)
            except RemoteProtocolError as error:
                log.debug("a datagram was dropped: %s", error)
                continue
            self._port = source[1]
            self._touch()
            if self._tunnel is None:
                with trio.fail_after(self._limits.open_timeout):
                    self._tunnel = await self._open_udp()
                nursery.start_soon(self._guarded, self._answer, self._tunnel)
            await self._tunnel.send_datagram(datagram)

    async def _answer(self, tunnel: DatagramTunnel) -> None:
        while True:
            datagram = await tunnel.receive_datagram()
            self._touch()
            try:
                await self._sock.sendto(render_datagram(datagram), (self._host, self._port))
            except OSError as error:
                # Too long for a datagram with its header, or the client's socket is gone: it is lost.
                log.debug("a datagram was lost: %s", error)

    def _is_from_client(self, source: tuple[str, int]) -> bool:
        """Whether a datagram is of the client's: from its port if it named one, else from where the first came."""
        return source[0] == self._host and self._port in (0, source[1])

    def _touch(self) -> None:
        self._scope.deadline = trio.current_time() + self._limits.idle_timeout


async def serve_association(
    client: trio.SocketStream, machine: SocksServer, request: AssociateRequest, open_udp: OpenUdp, limits: Limits
) -> None:
    """Bind a socket where the client's connection came in, tell the client, and carry its datagrams.

    Raises: OSError — there is no socket to be had; trio.BrokenResourceError — the client is gone.
    """
    family = client.socket.family
    with trio.socket.socket(family, socket.SOCK_DGRAM) as sock:
        await sock.bind((client.socket.getsockname()[0], 0))
        host, port = sock.getsockname()[:2]
        await client.send_all(machine.succeed(Address(host, port)))
        await _Association(client, sock, request.port, open_udp, limits).run()
