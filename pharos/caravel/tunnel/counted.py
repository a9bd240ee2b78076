"""Streams and datagrams that are counted as they pass, and can be cut from outside."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import trio

from pharos.wire.addresses import Datagram
from pharos.wire.openers import DatagramTunnel

_BROKEN = (trio.BrokenResourceError, trio.ClosedResourceError)


@attrs.define
class Tally:
    """What has passed all streams of a leg. Times are Trio's."""

    received: int = 0
    sent: int = 0
    heard_at: float | None = None
    sent_at: float = 0.0
    waits_since: float = 0.0
    """When the first of what is unanswered was sent."""

    def note_sent(self, octets: int) -> None:
        now = trio.current_time()
        if self.heard_at is not None and self.sent_at <= self.heard_at:
            self.waits_since = now
        self.sent_at = now
        self.sent += octets

    def note_received(self, octets: int) -> None:
        self.heard_at = trio.current_time()
        self.received += octets


class CountedStream(trio.abc.HalfCloseableStream):
    """Owns ``inner``; ``doubt`` is called where it breaks before anything has come."""

    def __init__(self, inner: trio.abc.HalfCloseableStream, tally: Tally, doubt: Callable[[], None]) -> None:
        self._inner = inner
        self._tally = tally
        self._doubt = doubt
        self._answered = False
        self._is_cut = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self._tally.note_sent(0)
        try:
            await self._inner.send_all(data)
        except _BROKEN as error:
            self._note_break(error)
            raise
        self._tally.note_sent(len(data))

    async def wait_send_all_might_not_block(self) -> None:
        try:
            await self._inner.wait_send_all_might_not_block()
        except _BROKEN as error:
            self._note_break(error)
            raise

    async def send_eof(self) -> None:
        try:
            await self._inner.send_eof()
        except _BROKEN as error:
            self._note_break(error)
            raise

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        try:
            data = bytes(await self._inner.receive_some(max_bytes))
        except _BROKEN as error:
            self._note_break(error)
            raise
        if data:
            self._answered = True
            self._tally.note_received(len(data))
        return data

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def cut(self) -> None:
        """Break it: the network it went through is not there any more."""
        self._is_cut = True
        await trio.aclose_forcefully(self._inner)

    def _note_break(self, error: Exception) -> None:
        """Raises: trio.BrokenResourceError — it was cut."""
        if self._is_cut:
            raise trio.BrokenResourceError("this machine is in another network") from error
        if isinstance(error, trio.BrokenResourceError) and not self._answered:
            self._doubt()


class CountedDatagrams(DatagramTunnel):
    """Owns ``inner``."""

    def __init__(self, inner: DatagramTunnel, tally: Tally, doubt: Callable[[], None]) -> None:
        self._inner = inner
        self._tally = tally
        self._doubt = doubt
        self._is_cut = False

    async def send_datagram(self, datagram: Datagram) -> None:
        try:
            await self._inner.send_datagram(datagram)
        except _BROKEN as error:
            self._note_break(error)
            raise
        self._tally.note_sent(len(datagram.data))

    async def receive_datagram(self) -> Datagram:
        try:
            datagram = await self._inner.receive_datagram()
        except _BROKEN as error:
            self._note_break(error)
            raise
        self._tally.note_received(len(datagram.data))
        return datagram

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def cut(self) -> None:
        """Break it: the network it went through is not there any more."""
        self._is_cut = True
        await trio.aclose_forcefully(self._inner)

    def _note_break(self, error: Exception) -> None:
        """Raises: trio.BrokenResourceError — it was cut."""
        if self._is_cut:
            raise trio.BrokenResourceError("this machine is in another network") from error
        if isinstance(error, trio.BrokenResourceError):
            self._doubt()
