"""Two streams become one: what comes out of either goes into the other, each direction with its own end."""

from __future__ import annotations

import contextlib
import socket
import struct

import trio

from pharos.wire.awg.netstack.racing import FAILURES
from pharos.wire.awg.netstack.tcpstream import READ_BYTES, NetstackStream

BROKEN = (*FAILURES, trio.ClosedResourceError)
"""What streams raise that a peer has broken."""


async def relay(one: trio.abc.HalfCloseableStream, other: trio.abc.HalfCloseableStream, *, idle_timeout: float) -> bool:
    """Carry octets both ways until both have ended, and say whether they came to their ends; close both.

    What one side does not take is not read from the other. If one breaks, or nothing comes for ``idle_timeout``
    seconds, both are reset: a mere end could pass for the end of what was to come.
    """
    broken = False

    async def copy(source: trio.abc.HalfCloseableStream, target: trio.abc.HalfCloseableStream) -> None:
        nonlocal broken
        try:
            while data := await source.receive_some(READ_BYTES):
                idle.deadline = trio.current_time() + idle_timeout
                await target.send_all(data)
            await target.send_eof()
        except BROKEN:
            broken = True
            idle.cancel()

    whole = False
    try:
        with trio.CancelScope(deadline=trio.current_time() + idle_timeout) as idle:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(copy, one, other)
                nursery.start_soon(copy, other, one)
        whole = not broken and not idle.cancelled_caught
    finally:
        finish = _close if whole else reset
        try:
            await finish(one)
        finally:
            await finish(other)
    return whole


async def _close(stream: trio.abc.AsyncResource) -> None:
    await stream.aclose()


async def reset(stream: trio.abc.AsyncResource) -> None:
    """Close a stream so that its other end learns that what came is not all, where its protocol can say so."""
    if isinstance(stream, NetstackStream):
        stream.abort()
    elif isinstance(stream, trio.SocketStream):
        # Some systems take no options for a connection that the other end has reset.
        with contextlib.suppress(OSError):
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await trio.aclose_forcefully(stream)
