"""VLESS on a stream of REALITY, at either end: a Trio stream to the target, or a tunnel for datagrams."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import trio

from pharos.wire.errors import RemoteProtocolError, TruncatedError
from pharos.wire.reality.accounts import Accounts
from pharos.wire.reality.innertls import Octets
from pharos.wire.reality.session import (
    ClientSession,
    Event,
    Outgoing,
    PayloadReceived,
    RawFollows,
    RequestReceived,
    ServerSession,
)
from pharos.wire.reality.stream import RealityStream
from pharos.wire.reality.vless import Request
from pharos.wire.units import KIB
from pharos.wire.world import random_bytes

SLICE: Final = 256 * KIB
"""Sent at once of a larger buffer, so that padding it holds no second one of its size."""


class VlessStream(trio.abc.HalfCloseableStream):
    """The payload of one request. Owns ``outer``, whose TLS it ends where Vision says so.

    Fails as Trio streams do, with ``trio.BrokenResourceError``; ``failure`` then tells what the peer did, if it did
    anything. A cancelled receive loses nothing; after a cancelled send only `aclose` is left.
    """

    def __init__(self, outer: RealityStream, session: ClientSession | ServerSession) -> None:
        self.outer: Final = outer
        self.session: Final = session
        self.failure: RemoteProtocolError | None = None
        self._pending: Octets = b""
        # A client's request goes out in the task that receives, if no payload took it along: two tasks may send.
        self._send_lock = trio.Lock()
        self._busy: set[str] = set()
        self._torn = False
        self._send_ended = False
        self._closed = False

    async def send_all(self, data: Octets) -> None:
        """Raises: trio.BrokenResourceError; trio.ClosedResourceError — closed, or after `send_eof`."""
        with self._one_task("sending into"):
            await trio.lowlevel.checkpoint_if_cancelled()
            self._check_sendable()
            with memoryview(data) as view:
                if not view:
                    await trio.lowlevel.cancel_shielded_checkpoint()
                for start in range(0, len(view), SLICE):
                    await self._send(functools.partial(self.session.send_data, view[start : start + SLICE]))

    async def wait_send_all_might_not_block(self) -> None:
        with self._one_task("sending into"):
            await trio.lowlevel.checkpoint()
            self._check_sendable()
            async with self._send_lock:
                await self.outer.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        """End our direction; receiving goes on."""
        with self._one_task("sending into"):
            await trio.lowlevel.checkpoint()
            if self._send_ended and not self._closed:
                return
            await self._send(self.session.send_end)
            async with self._send_lock:
                self._send_ended = True
                await self.outer.send_eof()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return payload; nothing at the end. Raises: trio.BrokenResourceError, trio.ClosedResourceError."""
        if max_bytes is not None and operator.index(max_bytes) < 1:
            raise ValueError("max_bytes must be at least 1")
        with self._one_task("receiving from"):
            if self._pending:
                # What is waited for lets others run; twice would cost a tenth of the processor time of a transfer.
                await trio.lowlevel.checkpoint()
            self._check_open()
            while not self._pending:
                if not await self.receive_events():
                    return b""
            taken: Octets = self._pending
            self._pending = b""
            if max_bytes is not None and max_bytes < len(taken):
                view = memoryview(taken)
                taken, self._pending = view[:max_bytes], view[max_bytes:]
            return bytes(taken)

    async def receive_events(self) -> list[Event]:
        """Wait for what comes next; payload in it is kept for `receive_some`. Nothing is the end.

        Raises: trio.BrokenResourceError, trio.ClosedResourceError.
        """
        if self.failure is not None:
            raise trio.BrokenResourceError("the VLESS stream has failed") from self.failure
        events: list[Event] = []
        while not events:
            data = await self._receive_from_outer()
            try:
                if not data:
                    self.session.receive_end()
                    return []
                events = self.session.receive_data(data)
            except RemoteProtocolError as error:
                self.failure = error
                raise trio.BrokenResourceError(f"the VLESS stream failed: {error}") from error
            for event in events:
                if isinstance(event, PayloadReceived):
                    self._pending = event.data
                elif isinstance(event, RawFollows):
                    self.outer.end_tls_receiving()
        return events

    async def aclose(self) -> None:
        self._closed = True
        await self.outer.aclose()

    async def _receive_from_outer(self) -> Octets:
        session = self.session
        if isinstance(session, ClientSession) and session.due != math.inf:
            with trio.move_on_at(session.due):
                return await self._receive_anything()
            await self._send_request(session)
        return await self._receive_anything()

    async def _receive_anything(self) -> Octets:
        if self.session.takes_single_records:
            return await self.outer.receive_record()
        # Unopened records come as many as there are; what is raw comes in pieces as large as those we send.
        return await self.outer.receive_some(SLICE if self.session.receives_raw else None)

    async def _send_request(self, session: ClientSession) -> None:
        """Send the request, unless payload has taken it along by now."""
        async with self._send_lock:
            if not self._torn and not self._closed:
                await self._transmit(session.tick(trio.current_time()))

    async def _send(self, make: Callable[[], Outgoing]) -> None:
        """Send what ``make`` returns, in the order in which it was made."""
        await trio.lowlevel.checkpoint_if_cancelled()
        # A free lock is taken without letting others run: sending does that.
        try:
            self._send_lock.acquire_nowait()
        except trio.WouldBlock:
            await self._send_lock.acquire()
        try:
            self._check_sendable()
            await self._transmit(make())
        finally:
            self._send_lock.release()

    async def _transmit(self, outgoing: Outgoing) -> None:
        # What was made and is not sent whole leaves a gap that no peer could read across.
        self._torn = True
        if outgoing.data:
            await self.outer.send_all(outgoing.data)
        if self.session.sends_raw and not outgoing.raw:
            self.outer.end_tls_sending()
        self._torn = False

    def _check_open(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("this VLESS stream is closed")

    def _check_sendable(self) -> None:
        self._check_open()
        if self._send_ended:
            raise trio.ClosedResourceError("this direction of the VLESS stream has ended")
        if self._torn:
            raise trio.BrokenResourceError("the VLESS stream was left in the middle of sending")

    @contextmanager
    def _one_task(self, what: str) -> Iterator[None]:
        if what in self._busy:
            raise trio.BusyResourceError(f"another task is {what} this VLESS stream")
        self._busy.add(what)
        try:
            yield
        finally:
            self._busy.remove(what)


def request_over(
    outer: RealityStream, request: Request, *, random: Callable[[int], bytes] = random_bytes
) -> VlessStream:
    """Return the stream of a request, which goes out with the first payload, or half a second later while receiving."""
    return VlessStream(outer, ClientSession(request, random=random, now=trio.current_time()))


async def receive_request(
    outer: RealityStream, accounts: Accounts, *, random: Callable[[int], bytes] = random_bytes
) -> tuple[RequestReceived, VlessStream]:
    """Wait for a client's request; return it and its stream. The caller owns the time-out, and ``outer`` on an error.

    Raises: RemoteProtocolError — it is none, or from nobody we know; TruncatedError — it never came;
    trio.BrokenResourceError — the connection broke.
    """
    stream = VlessStream(outer, ServerSession(accounts, random=random))
    try:
        events = await stream.receive_events()
    except trio.BrokenResourceError:
        if stream.failure is not None:
            raise stream.failure from None
        raise
    if not events or not isinstance(events[0], RequestReceived):
        raise TruncatedError("VLESS: the client ended before its request")
    return events[0], stream
