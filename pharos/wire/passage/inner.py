"""The stream that the inner connection of a passage runs on: DATA frames of one epoch, as a Trio stream."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Final

import trio

from pharos.wire.noise.stream import CLOSE_TIMEOUT
from pharos.wire.passage.records import MAX_DATA, Kind
from pharos.wire.rpc.flow import Wakeup
from pharos.wire.units import KIB

if TYPE_CHECKING:
    from pharos.wire.passage.session import Session

BUFFER: Final = 64 * KIB
"""What may wait for the inner connection, which receives so much at once: four full frames. Beyond it the passage is
not read, and the stream around it holds the peer up."""


class InnerStream(trio.abc.Stream):
    """One inner connection's octets. Closing it sends END and leaves the passage as it is.

    A receive may be cancelled and loses nothing; after a cancelled send the passage has ended.
    """

    def __init__(self, session: Session) -> None:
        self.closed = False
        """Whether we have ended it."""
        self._session = session
        self._received = bytearray()
        self._ended = False
        self._error: trio.BrokenResourceError | None = None
        self._sending = False
        self._readable = Wakeup()
        self._taken = Wakeup()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self._sending:
            raise trio.BusyResourceError("another task is sending into this passage's stream")
        self._sending = True
        try:
            await self.wait_send_all_might_not_block()
            with memoryview(data) as view:
                for start in range(0, len(view), MAX_DATA):
                    await self._session.send(Kind.DATA, bytes(view[start : start + MAX_DATA]))
        finally:
            self._sending = False

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.closed:
            raise trio.ClosedResourceError("this stream of a passage is closed")

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if max_bytes is not None and operator.index(max_bytes) < 1:
            raise ValueError("max_bytes must be at least 1")
        await trio.lowlevel.checkpoint()
        received = self._received
        while not received and not self._ended and not self.closed:
            await self._readable.wait()
        if self.closed:
            raise trio.ClosedResourceError("this stream of a passage is closed")
        if not received and self._error is not None:
            raise trio.BrokenResourceError(str(self._error)) from self._error
        size = len(received) if max_bytes is None else max_bytes
        data = bytes(received[:size])
        del received[:size]
        self._taken.wake()
        return data

    async def aclose(self) -> None:
        """Send END, within a second and even if cancelled: the next inner connection waits for it."""
        if self.closed:
            await trio.lowlevel.checkpoint()
            return
        self.closed = True
        self._received.clear()
        self._readable.wake()
        self._taken.wake()
        with trio.move_on_after(CLOSE_TIMEOUT, shield=True):
            try:
                await self._session.end_inner()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                # It has ended with its passage.
                await trio.lowlevel.checkpoint()

    # -- for the session's reader

    async def feed(self, data: bytes) -> None:
        """Take what was received; waits while too much of it is unread. What comes after our own end is dropped."""
        if self.closed:
            return
        self._received += data
        self._readable.wake()
        while len(self._received) >= BUFFER and not self.closed:
            await self._taken.wait()

    def end(self, error: trio.BrokenResourceError | None = None) -> None:
        """Say that nothing follows: the peer has ended it, or ``error`` has. What was said first counts."""
        if not self._ended:
            self._ended = True
            self._error = error
            self._readable.wake()
