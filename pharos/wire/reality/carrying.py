"""A user's stream through a node: TCP to its target and back, each direction with its own end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import attrs
import trio

from pharos.wire.errors import WireError
from pharos.wire.reality.front import READ_BYTES, reset
from pharos.wire.reality.relaying import BROKEN, wait_for
from pharos.wire.reality.routing import Routes, connect
from pharos.wire.reality.session import RequestReceived
from pharos.wire.reality.udpcarrying import carry_datagrams
from pharos.wire.reality.users import Session
from pharos.wire.reality.vless import Command
from pharos.wire.reality.vlessstream import VlessStream
from pharos.wire.units import MINUTES, SECONDS

FAILURES = (OSError, trio.TooSlowError, WireError, *BROKEN)
"""What ends one session and nothing else."""


@attrs.frozen(kw_only=True)
class CarryLimits:
    """What a node bears of its users. Times are in seconds."""

    at_once: int = 4096
    """Sessions; each takes up to 3 descriptors of 16,384, and 256 KiB."""
    per_user: int = 1024
    """Sessions: a phone has 50, a browser that restores its tabs 256."""
    request_timeout: float = 10 * SECONDS
    """From the handshake to a whole request, which devices send half a second later at the latest."""
    connect_timeout: float = 30 * SECONDS
    """For a target to be resolved and reached."""
    idle_timeout: float = 5 * MINUTES
    """Without an octet in either direction, as Xray has it."""


async def carry(
    received: RequestReceived, stream: VlessStream, session: Session, routes: Routes, limits: CarryLimits
) -> bool:
    """Do what the device asks for until it has ended; says whether both directions came to their ends.

    Raises: what `FAILURES` holds — the target could not be reached, or the device broke the protocol.
    """
    with trio.CancelScope() as idle:

        def touch() -> None:
            idle.deadline = trio.current_time() + limits.idle_timeout

        touch()
        if received.request.command is not Command.TCP:
            await carry_datagrams(received.request.target, stream, session, routes, touch)
            return True
        assert received.request.target is not None, "TCP has a target"
        with trio.fail_after(limits.connect_timeout):
            upstream = await connect(received.request.target, routes)
        async with upstream:
            return await _relay(stream, upstream, session, touch)
    return False


async def _relay(stream: VlessStream, upstream: trio.SocketStream, session: Session, touch: Callable[[], None]) -> bool:
    """What one side does not take is not read from the other."""
    user = session.user
    broken = False

    async def up() -> None:
        while data := await stream.receive_some():
            touch()
            session.count_received(len(data))
            await wait_for(len(data), user.from_device)
            await upstream.send_all(data)
        await upstream.send_eof()

    async def down() -> None:
        while data := await upstream.receive_some(READ_BYTES):
            touch()
            await wait_for(len(data), user.to_device)
            await stream.send_all(data)
            session.count_sent(len(data))
        await stream.send_eof()

    async def guarded(direction: Callable[[], Awaitable[None]]) -> None:
        nonlocal broken
        try:
            await direction()
        except BROKEN:
            broken = True
            nursery.cancel_scope.cancel()

    whole = False
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(guarded, up)
            nursery.start_soon(guarded, down)
        whole = not broken
    finally:
        if not whole:
            # A mere end could pass for the end of what was to come.
            reset(upstream)
    return whole
