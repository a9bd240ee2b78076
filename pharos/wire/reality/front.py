"""What the proxies on loopback have in common: who is let in, what a tunnel has to offer, and what its failures mean.

A client that vanishes, stalls or talks nonsense ends its own connection and nothing else.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import ipaddress
import logging
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Final, NoReturn, TypeAlias

import attrs
import trio

from pharos.wire.errors import ConfigError, LinkRefusedError, WireError
from pharos.wire.listen import BACKLOG, accept_forever, naming_address, refuse
from pharos.wire.openers import DatagramTunnel as DatagramTunnel
from pharos.wire.openers import OpenTcp as OpenTcp
from pharos.wire.openers import OpenUdp as OpenUdp
from pharos.wire.units import KIB, MINUTES, SECONDS
from pharos.wire.world import this_world

log = logging.getLogger(__name__)

LOOPBACK: Final = "127.0.0.1"
READ_BYTES: Final = 128 * KIB
"""At a time, of a stream; with half of it a hop takes twice the processor time (measured), with twice as much it gains
a tenth. It is also all that waits for a slow reader in here."""
DISMISS_TIMEOUT: Final = 1 * SECONDS


@attrs.frozen(kw_only=True)
class Limits:
    """What a proxy bears. Times are in seconds."""

    clients: int = 512
    """At once; a browser has up to 256 connections to a proxy. Each takes 3 descriptors at most, and 256 KiB."""
    request_timeout: float = 10 * SECONDS
    """For a client to say what it wants: it is on this machine."""
    open_timeout: float = 30 * SECONDS
    """For the tunnel to reach a target; most servers give up after as long."""
    idle_timeout: float = 5 * MINUTES
    """Without an octet in either direction, as Xray has it."""


class Failure(enum.Enum):
    """Why a target was not reached, as far as anybody on this side can know."""

    REFUSED = "the target refused the connection"
    NETWORK_UNREACHABLE = "there is no way to the network"
    HOST_UNREACHABLE = "there is no such host, or no way to it"
    TIMED_OUT = "nothing answered in time"
    NOT_ALLOWED = "the server does not let us"
    OTHER = "the tunnel failed"


_FAILURES: Final = {
    errno.ECONNREFUSED: Failure.REFUSED,
    errno.ENETUNREACH: Failure.NETWORK_UNREACHABLE,
    errno.ENETDOWN: Failure.NETWORK_UNREACHABLE,
    errno.EHOSTUNREACH: Failure.HOST_UNREACHABLE,
    errno.EHOSTDOWN: Failure.HOST_UNREACHABLE,
    errno.ETIMEDOUT: Failure.TIMED_OUT,
    errno.EACCES: Failure.NOT_ALLOWED,
    errno.EPERM: Failure.NOT_ALLOWED,
}

TUNNEL_ERRORS: Final = (OSError, trio.BrokenResourceError, trio.ClosedResourceError, WireError)
"""What a tunnel's streams and their opening raise; anything else is a bug, and is not caught."""


def failure_of(error: BaseException) -> Failure:
    """Return what an error of `TUNNEL_ERRORS`, or one from a time-out, means to whoever asked for the connection."""
    match error:
        case LinkRefusedError():
            return Failure.NOT_ALLOWED
        case trio.TooSlowError():
            return Failure.TIMED_OUT
        case socket.gaierror():
            return Failure.HOST_UNREACHABLE
        case OSError() if error.errno in _FAILURES:
            return _FAILURES[error.errno]
        case OSError() if error.__cause__ is not None:
            # trio tries all addresses of a name, and tells of the tries in a group.
            return failure_of(error.__cause__)
        case BaseExceptionGroup():
            return failure_of(error.exceptions[0])
        case _:
            return Failure.OTHER


Handle: TypeAlias = Callable[[trio.SocketStream], Awaitable[None]]


async def serve_front(
    handle: Handle,
    host: str,
    port: int,
    limits: Limits,
    task_status: trio.TaskStatus[tuple[str, int]] = trio.TASK_STATUS_IGNORED,
    *,
    anywhere: bool = False,
) -> NoReturn:
    """Serve clients on a loopback address until cancelled; ``started`` with the address that is listened on.

    With ``anywhere`` it may be any address of this machine: then there must be credentials.

    ``handle`` owns its stream's protocol, not the stream, which is closed after it. It raises what is in
    `TUNNEL_ERRORS`, or trio.TooSlowError, if the client is at fault or gone; that is nobody else's business.

    Raises:
        ConfigError — the address is none, or not of loopback: whoever reaches a proxy uses the tunnel of who runs it.
        AddressError — it cannot be listened on.
    """
    listener = await _listen(host, port, anywhere=anywhere)
    clients = 0

    async def serve(stream: trio.SocketStream) -> None:
        nonlocal clients
        try:
            async with stream:
                await handle(stream)
        except (*TUNNEL_ERRORS, trio.TooSlowError) as error:
            log.debug("a client's connection has ended: %s", error)
        finally:
            clients -= 1

    def take(sock: socket.socket, _address: str) -> None:
        nonlocal clients
        if clients >= limits.clients:
            refuse(sock)
            log.debug("a client was refused: %d are here", clients)
            return
        clients += 1
        nursery.start_soon(serve, trio.SocketStream(this_world().trio_socket(sock)))

    async with trio.open_nursery() as nursery:
        bound: tuple[str, int] = listener.socket.getsockname()[:2]
        task_status.started(bound)
        await accept_forever([listener], take, exhausted=lambda: log.warning("no descriptors are left for clients"))
    raise AssertionError("the loop ends by cancellation only")


def check_openness(*, anywhere: bool, credentials: object | None) -> None:
    """Raises: ConfigError — anybody could use the tunnel."""
    if anywhere and credentials is None:
        raise ConfigError("a proxy that others can reach asks for a user name and a password")


async def dismiss(client: trio.SocketStream, answer: bytes) -> None:
    """Say the last word, and take in for a second what the client is still sending: closing on it would be a reset,
    which can overtake the answer.

    Raises: trio.BrokenResourceError — the client is gone.
    """
    with trio.move_on_after(DISMISS_TIMEOUT):
        if answer:
            await client.send_all(answer)
        await client.send_eof()
        while await client.receive_some(READ_BYTES):
            pass


def reset(stream: trio.SocketStream) -> None:
    """Have the closing of a client's stream reset it: a mere end could pass for the end of what was to come."""
    # Some systems take no options for a connection that the other end has reset.
    with contextlib.suppress(OSError):
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def _listen(host: str, port: int, *, anywhere: bool) -> trio.SocketListener:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        address = None
    if address is None or not (anywhere or address.is_loopback):
        raise ConfigError(f"{host}: a proxy listens on an address of loopback, 127.0.0.1 or ::1")
    with naming_address(host, port, "TCP"):
        [listener] = await trio.open_tcp_listeners(port, host=host, backlog=BACKLOG)
    return listener
