"""TCP by sockets that somebody else has a say in: one that stays outside a tunnel, or is of another network."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias

import trio

from pharos.wire.units import MILLISECONDS
from pharos.wire.world import this_world

Protect: TypeAlias = Callable[[socket.socket], None]
"""Called with each socket that has to stay outside a tunnel, before it is used. Raises: OSError."""
Resolve: TypeAlias = Callable[[str], Awaitable[Sequence[str]]]
"""Returns the numeric addresses of a host, the best first. Raises: OSError — it does not resolve."""
MakeSocket: TypeAlias = Callable[[socket.AddressFamily], Awaitable[socket.socket]]
"""Makes a socket for TCP, which the caller then owns. Raises: OSError."""

NEXT_AFTER: Final = 250 * MILLISECONDS
"""What RFC 8305 §5 recommends between two attempts."""


async def open_tcp(
    host: str, port: int, *, protect: Protect | None = None, resolve: Resolve | None = None
) -> trio.SocketStream:
    """Connect to the first address of a host that answers, by sockets that ``protect`` has seen.

    Raises: OSError — the host does not resolve, no address of it answers, or a socket cannot be protected.
    """
    if protect is None and resolve is None:
        return await trio.open_tcp_stream(host, port)

    async def make(family: socket.AddressFamily) -> socket.socket:
        await trio.lowlevel.checkpoint()
        return make_protected(family, protect)

    addresses = [host] if is_numeric(host) else await (resolve or resolve_by_system)(host)
    return await connect_first(addresses, port, make)


async def connect_first(addresses: Sequence[str], port: int, make: MakeSocket) -> trio.SocketStream:
    """Connect to the first of several addresses that answers (RFC 8305 §5); the caller owns the timeout.

    Each is tried `NEXT_AFTER` the one before it, or at once when that fails.

    Raises: OSError — none does; of several, its cause is a group of all that happened.
    """
    failures: list[OSError] = []
    won: list[trio.SocketStream] = []

    async def attempt(address: str, failed: trio.Event) -> None:
        try:
            stream = await _connect(address, port, make)
        except OSError as error:
            failures.append(error)
            failed.set()
            return
        won.append(stream)
        nursery.cancel_scope.cancel()

    try:
        async with trio.open_nursery() as nursery:
            for address in addresses:
                failed = trio.Event()
                nursery.start_soon(attempt, address, failed)
                with trio.move_on_after(NEXT_AFTER):
                    await failed.wait()
    except BaseException:
        # The caller's own cancellation may come together with the victory.
        for stream in won:
            await trio.aclose_forcefully(stream)
        raise
    # Two may have been done in the same turn of the event loop.
    for stream in won[1:]:
        await trio.aclose_forcefully(stream)
    if won:
        return won[0]
    if len(failures) == 1:
        raise failures[0]
    cause = ExceptionGroup("no address answers", failures) if failures else None
    number = failures[0].errno if failures else None
    text = "; ".join(dict.fromkeys(map(str, failures))) or "there is no address to connect to"
    raise (OSError(text) if number is None else OSError(number, text)) from cause


async def resolve_by_system(host: str) -> Sequence[str]:
    """Ask the system's resolver. Raises: OSError."""
    found = await trio.socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def make_protected(family: socket.AddressFamily, protect: Protect | None) -> socket.socket:
    """Return a socket for TCP that ``protect`` has seen, which the caller owns. Raises: OSError."""
    sock = this_world().tcp_socket(family)
    if protect is not None:
        try:
            protect(sock)
        except BaseException:
            sock.close()
            raise
    return sock


def is_numeric(host: str) -> bool:
    """Whether it is an address, and no name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def family_of(address: str) -> socket.AddressFamily:
    """Return the family of a numeric address."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


async def _connect(address: str, port: int, make: MakeSocket) -> trio.SocketStream:
    sock = this_world().trio_socket(await make(family_of(address)))
    try:
        await sock.connect((address, port))
        return trio.SocketStream(sock)
    except BaseException:
        sock.close()
        raise
