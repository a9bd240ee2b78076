"""Forwarding one stream between two HTTP/2 connections, its bytes unread.

Credit goes back to a sender when its bytes have been handed on, so backpressure reaches from end to end. A
reset, or the loss of either connection, reaches the other side. Which headers may pass is decided elsewhere.
"""

import math
from typing import Final

import trio
from grpclib.const import Status
from grpclib.exceptions import StreamTerminatedError
from h2.errors import ErrorCodes

from pharos.wire.rpc.h2conn import Connection
from pharos.wire.rpc.h2stream import H2Stream, Headers
from pharos.wire.rpc.server import refuse
from pharos.wire.rpc.status import ConnectionLostError, StreamResetError, leaves
from pharos.wire.units import KIB

# A request that has come whole is handed on without a task of its own, if it is so small that the next hop's
# window (never below 65,535 bytes) takes it without a word.
_WHOLE_REQUEST: Final = 32 * KIB


class OverspentError(StreamTerminatedError):
    """A peer sent more than it may in one stream, or left too much of it unread."""


class ForwardedStream(H2Stream):
    """The stream to the next hop. What it keeps may be in the hands of the task that waits for the device."""

    __slots__ = ("forwarding",)

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self.forwarding: Final = trio.CancelScope()

    def evict(self) -> None:
        self.fail(OverspentError("the device leaves too much unread"))
        super().evict()
        self.forwarding.cancel()


async def forward(down: H2Stream, up_connection: Connection, headers: Headers, *, octets: float = math.inf) -> None:
    """Hand an accepted stream on to ``up_connection`` as a request with ``headers``, and the answer back.

    Returns when the answer is complete, or the stream was reset on either side. ``down``'s scope cancels this
    task when the peer goes away; ``up`` is then reset. Who sends more than ``octets`` is reset.
    """
    up = ForwardedStream(up_connection)
    try:
        with up.forwarding:
            await _open(down, up, headers, octets)
            if up.sent_end:
                await _answer(down, up)
            else:
                async with trio.open_nursery() as pumps:
                    pumps.start_soon(_pump, down, up, octets)
                    await _answer(down, up)
                    pumps.cancel_scope.cancel()
        if up.forwarding.cancelled_caught:
            raise OverspentError("the device leaves too much unread")
    except* StreamTerminatedError as errors:
        if down.error is None:
            await _pass_on(next(leaves(errors)), down)
    finally:
        up.close()


async def _open(down: H2Stream, up: H2Stream, headers: Headers, octets: float) -> None:
    if not down.ended:
        await up.send_request(headers)
    elif not down.buffered:
        await up.send_request(headers, end_stream=True)
    else:
        await up.send_request(headers)
        if len(down.buffered) <= min(_WHOLE_REQUEST, octets):
            await up.send_data(down.take(len(down.buffered)), end_stream=True)


async def _pump(source: H2Stream, sink: H2Stream, octets: float) -> None:
    while (chunk := await source.receive_chunk()) is not None:
        data, credit = chunk
        octets -= len(data)
        if octets < 0:
            raise OverspentError("the peer has sent too much")
        if source.ended and not source.buffered:
            await sink.send_data(data, end_stream=True)
            return
        await sink.send_data(data)
        source.credit(credit)
    await sink.end()


async def _answer(down: H2Stream, up: H2Stream) -> None:
    headers = await up.recv_headers()
    if up.ended and up.trailers is None and not up.buffered:
        await down.send_headers(headers, end_stream=True)
        return
    await down.send_headers(headers)
    while (chunk := await up.receive_chunk()) is not None:
        data, credit = chunk
        await down.send_data(data)
        up.credit(credit)
    if up.trailers is not None:
        await down.send_headers(up.trailers, end_stream=True)
    else:
        await down.end()


async def _pass_on(error: BaseException, down: H2Stream) -> None:
    """Tell the caller that its call has failed further up."""
    if isinstance(error, ConnectionLostError) and not down.sent_headers:
        await refuse(down, Status.UNAVAILABLE, "the connection to the next hop was lost")
    elif isinstance(error, OverspentError):
        down.reset_nowait(ErrorCodes.ENHANCE_YOUR_CALM)
    else:
        down.reset_nowait(error.code if isinstance(error, StreamResetError) else ErrorCodes.CANCEL)
