"""A device's way to its node: TCP, then REALITY's handshake, then a stream."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeAlias

import trio

from pharos.wire.errors import LinkLostError, RemoteProtocolError, TruncatedError
from pharos.wire.reality.client import ClientConnection, ClientSettings
from pharos.wire.reality.connection import HandshakeCompleted
from pharos.wire.reality.draws import Random
from pharos.wire.reality.errors import RealCertificateError
from pharos.wire.reality.stream import CHUNK, CLOSE_TIMEOUT, RealityStream
from pharos.wire.tcpdial import Protect, Resolve, open_tcp
from pharos.wire.units import SECONDS
from pharos.wire.world import random_bytes, wall_seconds

CONNECT_TIMEOUT: Final = 15 * SECONDS
"""For TCP and handshake together: two round trips, and TCP's second and third try after 1 s and 3 s."""

TakeStranger: TypeAlias = Callable[[trio.abc.HalfCloseableStream], None]
"""Told the transport to a server that showed a real certificate, and owns it from then on; it must not block."""


@asynccontextmanager
async def open_reality(
    host: str,
    port: int,
    settings: ClientSettings,
    *,
    connect_timeout: float = CONNECT_TIMEOUT,
    clock: Callable[[], float] = wall_seconds,
    random: Random = random_bytes,
) -> AsyncIterator[RealityStream]:
    """Dial a node; the stream is closed when the block ends. Parameters and errors are those of `dial_reality`."""
    stream = await dial_reality(host, port, settings, connect_timeout=connect_timeout, clock=clock, random=random)
    try:
        yield stream
    finally:
        await stream.aclose()


async def dial_reality(
    host: str,
    port: int,
    settings: ClientSettings,
    *,
    connect_timeout: float = CONNECT_TIMEOUT,
    clock: Callable[[], float] = wall_seconds,
    random: Random = random_bytes,
    take_stranger: TakeStranger | None = None,
    protect: Protect | None = None,
    resolve: Resolve | None = None,
) -> RealityStream:
    """Dial a node; the stream is the caller's. ``clock``: Unix seconds. ``resolve``: the system's, if None.

    Raises:
        LinkLostError — nobody is there, or the connection broke before the handshake was done.
        RemoteProtocolError — the server broke TLS, or ended the handshake by an alert.
        RealCertificateError — the server is not our node; it got nothing from us but a hello.
    """
    try:
        with trio.fail_after(connect_timeout):
            transport = await open_tcp(host, port, protect=protect, resolve=resolve)
            return await start_reality(transport, settings, now=clock(), random=random, take_stranger=take_stranger)
    except (OSError, trio.BrokenResourceError) as error:
        raise LinkLostError(f"{host} port {port}: {error}") from error
    except trio.TooSlowError as error:
        raise LinkLostError(f"{host} port {port}: not connected within {connect_timeout:g} s") from error


async def start_reality(
    transport: trio.abc.HalfCloseableStream,
    settings: ClientSettings,
    *,
    now: float,
    random: Random = random_bytes,
    take_stranger: TakeStranger | None = None,
) -> RealityStream:
    """Do a device's handshake on a fresh transport, which is the stream's then; if it fails, it is closed.

    A server that shows a real certificate is left alone: nothing is sent to it, not even an alert. Its transport goes
    to ``take_stranger`` if there is one. ``now``: Unix seconds.

    Raises: RealCertificateError, RemoteProtocolError, trio.BrokenResourceError.
    """
    connection = ClientConnection(settings, now=now, random=random)
    try:
        while not isinstance(connection.next_event(), HandshakeCompleted):
            # The hello, and a second one if the server asked for it.
            if output := connection.take_output():
                await transport.send_all(output)
            chunk = await transport.receive_some(CHUNK)
            if not chunk:
                raise TruncatedError("the server ended the connection during the handshake")
            connection.receive(chunk)
        await transport.send_all(connection.take_output())
    except RemoteProtocolError:
        with trio.move_on_after(CLOSE_TIMEOUT):
            await _send_alert(transport, connection)
        await trio.aclose_forcefully(transport)
        raise
    except RealCertificateError:
        if take_stranger is None:
            await trio.aclose_forcefully(transport)
        else:
            take_stranger(transport)
        raise
    except BaseException:
        await trio.aclose_forcefully(transport)
        raise
    return RealityStream(transport, connection)


async def _send_alert(transport: trio.abc.SendStream, connection: ClientConnection) -> None:
    try:
        if alert := connection.take_output():
            await transport.send_all(alert)
    except trio.BrokenResourceError:
        return
