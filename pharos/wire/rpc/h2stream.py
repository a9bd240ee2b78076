"""One HTTP/2 stream: what grpclib's streams, and the relay's forwarder, talk to.

It has the face of grpclib's `protocol.Stream` (recv_headers … reset_nowait, closable), so that grpclib's own
client and server streams work on it, and a raw one (receive_chunk, credit) for forwarding bytes unread.
One task may send while another receives.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, NoReturn

import trio
from grpclib.exceptions import StreamTerminatedError
from h2.errors import ErrorCodes

from pharos.wire.errors import LocalProtocolError, TruncatedError
from pharos.wire.rpc import limits
from pharos.wire.rpc.flow import Credit, Wakeup

if TYPE_CHECKING:
    from collections.abc import Callable

    from pharos.wire.rpc.h2core import ConnectionCore

log = logging.getLogger(__name__)

Headers = list[tuple[str, str]]


class StreamStalledError(StreamTerminatedError):
    """The peer took nothing of a stream for too long, or left too much unread; the stream was reset."""


class TruncatedMessageError(TruncatedError, StreamTerminatedError):
    """The peer ended a stream in the middle of a message."""


class H2Stream:
    """A stream of one connection, opened by `send_request` or accepted from the peer.

    An accepted stream is the connection's: it is closed when its handler returns. An opened one belongs to
    whoever opened it, who must `close` it.
    """

    __slots__ = (
        "_credit",
        "_readable",
        "_reset",
        "_writable",
        "buffered",
        "connection",
        "ended",
        "error",
        "headers",
        "held",
        "id",
        "scope",
        "sent_end",
        "sent_headers",
        "trailers",
    )

    def __init__(self, connection: ConnectionCore, stream_id: int = 0) -> None:
        self.connection: Final = connection
        self.id = stream_id
        """0 until the request was sent."""
        self.headers: Headers | None = None
        """Of the request on an accepted stream, of the response on an opened one."""
        self.trailers: Headers | None = None
        self.buffered: Final = bytearray()
        """What arrived and was not read; at most one stream window."""
        self.held = 0
        """What arrived and was not credited; counted only where the connection has `Holdings`."""
        self.ended = False
        """The peer's END_STREAM has arrived, though perhaps not been read up to."""
        self.error: StreamTerminatedError | None = None
        """Why the stream ended early."""
        self.scope: trio.CancelScope | None = None
        """Cancelled when the stream ends early; the handler of an accepted stream runs in it."""
        self.sent_headers = False
        self.sent_end = stream_id == 0
        """Nothing more can be sent; nor can it before the request."""
        self._reset = False
        self._credit = Credit(connection.windows.stream // 2)
        self._readable = Wakeup()
        self._writable = Wakeup()

    # -- receiving

    async def recv_headers(self) -> Headers:
        """Wait for the response headers.

        Raises: StreamTerminatedError — the stream or the connection ended before.
        """
        while self.headers is None:
            await self._wait_readable()
        return self.headers

    async def recv_trailers(self) -> Headers:
        """Wait for the trailers.

        Raises: StreamTerminatedError — the stream ended without.
        """
        while self.trailers is None:
            if self.ended:
                raise StreamTerminatedError("the peer ended the stream without trailers")
            await self._wait_readable()
        return self.trailers

    async def more(self) -> bool:
        """Wait until more data is buffered than now; False if the peer has ended its side instead.

        Raises: StreamTerminatedError — the stream ended early.
        """
        before = len(self.buffered)
        while len(self.buffered) == before:
            if self.ended:
                return False
            await self._wait_readable()
        return True

    def take(self, size: int) -> bytes:
        """Remove ``size`` buffered bytes, and let the peer send as many more."""
        buffered = self.buffered
        data = bytes(buffered) if size == len(buffered) else bytes(buffered[:size])
        del buffered[:size]
        self.credit(size)
        return data

    async def recv_data(self, size: int) -> bytes:
        """Return exactly ``size`` bytes, or none if the peer ended the stream before the first of them.

        Credit is given back while they come in, so ``size`` may exceed the window.

        Raises: TruncatedMessageError — the stream ended in between. StreamTerminatedError — it ended early.
        """
        if len(self.buffered) >= size:
            return self.take(size)
        parts = bytearray()
        while len(parts) < size:
            if not self.buffered and not await self.more():
                if parts:
                    raise TruncatedMessageError(f"a message of {size} bytes ended after {len(parts)}")
                return b""
            parts += self.take(min(size - len(parts), len(self.buffered)))
        return bytes(parts)

    async def receive_chunk(self) -> tuple[bytes, int] | None:
        """Return all that has arrived and how much `credit` it is worth, or None at the end of the stream.

        The credit is the caller's to give back, once the chunk has been forwarded.

        Raises: StreamTerminatedError — the stream ended early.
        """
        if not self.buffered and not await self.more():
            return None
        chunk = bytes(self.buffered)
        self.buffered.clear()
        return chunk, len(chunk)

    def credit(self, size: int) -> None:
        """Let the peer send ``size`` bytes more on this stream."""
        if self.held:
            self._hold(-size)
        increment = self._credit.add(size)
        if increment and not self.ended and not self._reset and not self.connection.closed:
            self.connection.machine.give_credit(self.id, increment)
            self.connection.flush()

    def _hold(self, more: int) -> None:
        if (holdings := self.connection.holdings) is not None:
            holdings.update(self, max(0, self.held + more))

    def evict(self) -> None:
        """Give the stream up for the octets it keeps; a task that has taken some is cancelled by `scope`."""
        log.info("a stream of %s was reset: it keeps too much", self.connection.peer.address)
        self.reset_nowait(ErrorCodes.ENHANCE_YOUR_CALM)
        self.buffered.clear()
        self.fail(StreamStalledError("nobody took what had arrived"))

    async def _wait_readable(self) -> None:
        if self.error is not None:
            await self._raise_error(self.error)
        await self._readable.wait()

    # -- sending

    async def send_request(
        self, headers: Headers, end_stream: bool = False, *, _processor: object = None
    ) -> Callable[[], None]:
        """Open the stream, waiting until the peer admits one more; returns `close`.

        Raises: ConnectionLostError — the connection ended, or the peer said goodbye.
        """
        connection = self.connection
        if connection.slots.free() and connection.room.free():
            self._open(headers, end_stream)
            return self.close
        async with connection.slots, connection.room:
            # While this task waited for room, another may have taken the last slot.
            while not connection.slots.holds():
                connection.room.leave()
                await connection.slots.enter()
                await connection.room.enter()
            self._open(headers, end_stream)
        return self.close

    def _open(self, headers: Headers, end_stream: bool) -> None:
        connection = self.connection
        self.id = connection.next_stream_id()
        connection.machine.send_headers(self.id, headers, end_stream=end_stream)
        connection.streams[self.id] = self
        self.sent_end = end_stream
        connection.flush()

    async def send_headers(self, headers: Headers, end_stream: bool = False) -> None:
        """Send response headers, or the trailers.

        Raises: StreamTerminatedError — the stream ended early.
        """
        room = self.connection.room
        if room.free() and self.error is None and not self.sent_end:
            self._send_headers(headers, end_stream)
        else:
            async with room:
                await self._check_sending()
                self._send_headers(headers, end_stream)

    def _send_headers(self, headers: Headers, end_stream: bool) -> None:
        self.connection.machine.send_headers(self.id, headers, end_stream=end_stream)
        self.sent_headers = True
        self._sent(end_stream)

    async def send_data(self, data: bytes, end_stream: bool = False) -> None:
        """Send all of ``data`` in as many frames as credit and frame size ask for.

        Raises: StreamTerminatedError — the stream ended early. StreamStalledError, which is one — the peer gave no
        credit for 30 s (security.md row 40).
        """
        connection = self.connection
        if (
            len(data) <= limits.MAX_FRAME
            and self.error is None
            and not self.sent_end
            and connection.room.free()
            and connection.credit.free()
            and len(data) <= connection.machine.local_flow_control_window(self.id)
        ):
            connection.machine.send_data(self.id, data, end_stream)
            self._sent(end_stream)
        else:
            await self._send_in_pieces(data, end_stream)

    async def _send_in_pieces(self, data: bytes, end_stream: bool) -> None:
        connection = self.connection
        position = 0
        try:
            while True:
                async with connection.room:
                    await self._check_sending()
                    left = len(data) - position
                    size = min(left, limits.MAX_FRAME, connection.machine.local_flow_control_window(self.id))
                    if size > 0 or not left:
                        end = end_stream and size == left
                        connection.machine.send_data(self.id, data[position : position + size], end)
                        self._sent(end)
                        position += size
                        if size == left:
                            return
                        continue
                # Out of the room, for others may have credit. Which credit is missing decides where to wait;
                # a stream that has none of its own lets the next one have the connection's.
                connection.credit.leave()
                await self._wait_credit()
        finally:
            connection.credit.leave()

    async def _wait_credit(self) -> None:
        connection = self.connection
        ours = connection.machine.streams[self.id].outbound_flow_control_window <= 0
        with trio.move_on_after(limits.PROGRESS_TIMEOUT) as patience:
            if ours:
                await self._writable.wait()
            else:
                await connection.credit.enter()
        # The connection's credit may be going to others who came first; what is ours can go to nobody else.
        if patience.cancelled_caught and (ours or connection.credit_is_stale()):
            self.reset_nowait(ErrorCodes.CANCEL)
            self.fail(StreamStalledError(f"the peer gave no credit for {limits.PROGRESS_TIMEOUT:g} s"))

    async def end(self) -> None:
        """End our side.

        Raises: StreamTerminatedError — the stream ended early.
        """
        await self.send_data(b"", end_stream=True)

    def _sent(self, end_stream: bool) -> None:
        if end_stream:
            self.sent_end = True
            self.connection.forget(self)
        self.connection.flush()

    async def _check_sending(self) -> None:
        if self.error is not None:
            await self._raise_error(self.error)
        if self.sent_end:
            raise LocalProtocolError("sent on a stream that is not open for sending")

    # -- ending

    async def _raise_error(self, error: StreamTerminatedError) -> NoReturn:
        if self.scope is not None:
            # The handler of an accepted stream is being cancelled: let that be what it sees, always.
            await trio.lowlevel.checkpoint()
        raise error

    async def reset(self, error_code: ErrorCodes = ErrorCodes.CANCEL) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        self.reset_nowait(error_code)

    def reset_nowait(self, error_code: ErrorCodes | int | None = None) -> None:
        """End the stream both ways with RST_STREAM; nothing if it has ended already.

        Without an ``error_code``: CANCEL from a client; from a server NO_ERROR after a complete response
        (RFC 9113 §8.1, "stop sending"), INTERNAL_ERROR before.
        """
        if not self.closable:
            return
        if error_code is None:
            if self.connection.client_side:
                error_code = ErrorCodes.CANCEL
            else:
                error_code = ErrorCodes.NO_ERROR if self.sent_end else ErrorCodes.INTERNAL_ERROR
        self._reset = True
        self.connection.machine.reset(self.id, error_code)
        self.connection.forget(self)
        self.connection.flush()

    @property
    def closable(self) -> bool:
        """Whether a reset would mean anything: one side at least is open."""
        return self.id != 0 and not self._reset and not (self.sent_end and self.ended) and not self.connection.closed

    def close(self) -> None:
        """Let go of the stream, resetting it if it has not ended. Idempotent."""
        self.reset_nowait()
        self.buffered.clear()
        if self.held:
            self._hold(-self.held)
        self.connection.release(self)

    @property
    def _transport(self) -> H2Stream:
        return self

    def is_closing(self) -> bool:
        """grpclib skips the status of a call whose transport is closing: on the server only, where it has
        nobody to send it to. A client must learn that it got none.
        """
        return self.connection.closed and not self.connection.client_side

    # -- what the connection reports

    def on_headers(self, headers: Headers) -> None:
        self.headers = headers
        self._readable.wake()

    def on_trailers(self, trailers: Headers) -> None:
        self.trailers = trailers
        self._readable.wake()

    def on_data(self, data: bytes, *, padding: int) -> None:
        if padding:
            self.credit(padding)
        if data:
            self.buffered.extend(data)
            self._readable.wake()
            self._hold(len(data))

    def on_end(self) -> None:
        self.ended = True
        self._readable.wake()

    def on_credit(self) -> None:
        self._writable.wake()

    def on_reset(self, error: StreamTerminatedError) -> None:
        self._reset = True
        self.fail(error)

    def fail(self, error: StreamTerminatedError) -> None:
        """End early: wake whoever waits, to raise ``error``, and cancel the handler."""
        if self.error is None:
            self.error = error
        self._readable.wake()
        self._writable.wake()
        if self.scope is not None:
            self.scope.cancel()
