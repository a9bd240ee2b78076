"""A passage at helm, once its peer has proven to be there: light while nobody calls, and told of what is new."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import attrs
import trio

from pharos.wire.ids import DeviceId
from pharos.wire.passage.inner import InnerStream
from pharos.wire.passage.metadata import PassageRequest
from pharos.wire.passage.notes import Note, Notes
from pharos.wire.passage.session import Session
from pharos.wire.rpc.flow import INNER
from pharos.wire.rpc.h2conn import Connection
from pharos.wire.rpc.h2core import Accept
from pharos.wire.rpc.limits import CLOSE_GRACE, INNER_STREAMS
from pharos.wire.units import SECONDS

INNER_IDLE: Final = 60 * SECONDS
"""Without a call. The device ends an inner connection after half of that; this is for one that does not."""

ServeStream = Callable[[InnerStream], Awaitable[object]]


@attrs.frozen(kw_only=True)
class DeviceRecord:
    """What helm knows of the owner of a static key."""

    id: DeviceId
    fingerprints: frozenset[str]
    """SHA-256 of each of its valid certificates in lower-case hexadecimal: two, during a renewal."""


class AcceptedPassage:
    """A passage whose peer has proven to be there now. It is to be served in its block, by one of two methods."""

    def __init__(
        self,
        session: Session,
        *,
        request: PassageRequest,
        device: DeviceRecord | None,
        fingerprint: str | None,
    ) -> None:
        self.session: Final = session
        self.request: Final = request
        self.device: Final = device
        """None in an enrolment or a login."""
        self.fingerprint: Final = fingerprint
        """Of the certificate that the peer showed to the beacon, says the beacon; None if it showed none."""
        self._nursery: trio.Nursery | None = None
        self._news: Note | None = None
        self._connection: Connection | None = None

    @property
    def handshake_hash(self) -> bytes:
        """For channel binding: the same 32 octets at the device, and in no other session."""
        return self.session.handshake_hash

    @property
    def notes(self) -> Notes:
        """What the device says beside the inner connection."""
        return self.session.notes

    @property
    def began_with_call(self) -> bool:
        """Whether the peer's first word was a call, and not a note of the bundle that it holds; before it is served."""
        return self.session.began_with_data

    async def serve(self, service: Accept) -> None:
        """Answer the peer's calls, in as many inner connections one after another as it opens, until it leaves.

        While there is none this takes one waiting task, and no HTTP/2.

        Raises: trio.BrokenResourceError — the passage broke.
        """

        async def run(stream: InnerStream) -> None:
            self._connection = Connection(
                stream,
                client_side=False,
                windows=INNER,
                accept=service,
                max_streams=INNER_STREAMS,
                # The hop between device and beacon is kept alive already, and calls have deadlines.
                keepalive=None,
                idle_timeout=INNER_IDLE,
            )
            try:
                await self._connection.run()
            finally:
                self._connection = None

        await self.serve_streams(run)

    async def serve_streams(self, run: ServeStream) -> None:
        """Run ``run`` on the stream of each inner connection, and close the stream after it.

        Raises: trio.BrokenResourceError — the passage broke.
        """
        broken: trio.BrokenResourceError | None = None

        async def run_and_close(stream: InnerStream) -> None:
            # A stream breaks with its passage, and `read` tells of it.
            with suppress(trio.BrokenResourceError):
                async with stream:
                    await run(stream)

        async with trio.open_nursery() as self._nursery:
            nursery = self._nursery
            try:
                await self.session.read(lambda stream: nursery.start_soon(run_and_close, stream))
            except trio.BrokenResourceError as error:
                broken = error
            if self._connection is not None:
                # The day is over.
                await self._connection.drain(CLOSE_GRACE)
            nursery.cancel_scope.cancel()
        if broken is not None:
            raise broken

    def notify(self, note: Note) -> None:
        """Send a note as soon as the peer takes it, in place of any that still waits; never blocks."""
        waiting, self._news = self._news is not None, note
        if not waiting and self._nursery is not None:
            self._nursery.start_soon(self._send_news)

    async def _send_news(self) -> None:
        try:
            while (note := self._news) is not None:
                await self.session.send_note(note)
                if self._news is note:
                    self._news = None
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            # Whoever serves it learns of it there.
            self._news = None

    def end(self) -> None:
        """End the passage gracefully: a goodbye inside if there is a connection, then the authenticated end."""
        if self._nursery is not None:
            self._nursery.start_soon(self._end)

    async def _end(self) -> None:
        if self._connection is not None:
            await self._connection.drain(CLOSE_GRACE)
        self.session.stop()
