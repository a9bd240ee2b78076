"""A stream that asks a second time, by another id, if the node knows this device by that one only (security.md §2d).

A node takes the next generation of a secret into use once this device has acknowledged it, whether or not we hear of
that. VLESS has no answer that says "unknown": the connection just ends. So what was sent before the first answer is
kept, and once the node has been asked and has shown that it does not know the id, nothing of it can have gone anywhere:
then it is sent again.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from pharos.wire.errors import WireError
from pharos.wire.reality.vlessstream import VlessStream
from pharos.wire.units import KIB

log = logging.getLogger(__name__)

MAX_KEPT: Final = 64 * KIB
"""Octets that are kept of what went out before the first answer: TLS's hello or a request's head has a few; an upload
has more, and is not asked for twice."""
_FAILURES: Final = (trio.BrokenResourceError, trio.ClosedResourceError)


class RetryingStream(trio.abc.HalfCloseableStream):
    """Owns ``inner``, and fails as it does. ``next_id`` raises WireError, and returns None if the id was not why."""

    def __init__(
        self,
        inner: VlessStream,
        which: int,
        *,
        ask_again: Callable[[int], Awaitable[VlessStream]],
        next_id: Callable[[int], Awaitable[int | None]],
    ) -> None:
        self._inner = inner
        self._which = which
        self._ask_again = ask_again
        self._next_id = next_id
        self._kept: bytearray | None = bytearray()
        """None once it is too much, or the node has answered."""
        self._answered = False
        self._ended = False
        self._closed = False
        self._lock = trio.Lock()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Raises: trio.BrokenResourceError; trio.ClosedResourceError — closed, or after `send_eof`."""
        inner = self._inner
        if self._ended or self._closed:
            # It says so in its own words.
            await inner.send_all(data)
            return
        if self._kept is not None:
            self._kept += data
            if len(self._kept) > MAX_KEPT:
                self._kept = None
        try:
            await inner.send_all(data)
        except _FAILURES as error:
            await self._go_on(inner, error)

    async def wait_send_all_might_not_block(self) -> None:
        await self._inner.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        """End our direction; receiving goes on."""
        inner, self._ended = self._inner, True
        try:
            await inner.send_eof()
        except _FAILURES as error:
            await self._go_on(inner, error)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return payload; nothing at the end. Raises: trio.BrokenResourceError, trio.ClosedResourceError."""
        while True:
            inner = self._inner
            try:
                data = await inner.receive_some(max_bytes)
            except _FAILURES as error:
                await self._go_on(inner, error)
                continue
            if not self._answered:
                self._answered, self._kept = True, None
            return data

    async def aclose(self) -> None:
        self._closed = True
        await self._inner.aclose()

    async def _go_on(self, failed: VlessStream, error: Exception) -> None:
        """Return when there is another inner stream that has been sent all that this one was.

        Raises: ``error``, or one that says the same — there is none to be had.
        """
        async with self._lock:
            if self._inner is not failed:
                return
            try:
                if not (self._closed or self._answered) and await self._replace(failed):
                    return
            except (WireError, OSError, trio.BrokenResourceError) as again:
                log.debug("a stream was not asked for again: %s", again)
        if self._closed or isinstance(error, trio.BrokenResourceError):
            raise error
        raise trio.BrokenResourceError("the stream had no answer") from error

    async def _replace(self, failed: VlessStream) -> bool:
        await trio.aclose_forcefully(failed)
        which = await self._next_id(self._which)
        # Where too much was sent, the next stream at least knows better.
        if which is None or self._kept is None:
            return False
        inner = await self._ask_again(which)
        try:
            sent = 0
            # More may be added while this goes out, by a task that finds its own stream closed and waits for us.
            while piece := self._kept_from(sent):
                await inner.send_all(piece)
                sent += len(piece)
            if piece is None:
                await trio.aclose_forcefully(inner)
                return False
            if self._ended:
                await inner.send_eof()
        except BaseException:
            await trio.aclose_forcefully(inner)
            raise
        self._inner, self._which = inner, which
        return True

    def _kept_from(self, start: int) -> bytes | None:
        """Return what is to be sent again from there on; None if it is too much, or nobody wants it any more."""
        return None if self._kept is None or self._closed else bytes(self._kept[start:])
