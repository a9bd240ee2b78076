"""The device's end of a passage: light as long as nobody calls, with an inner gRPC channel while somebody does."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

import grpclib.client
import trio

from pharos.wire.errors import LinkLostError, RemoteProtocolError
from pharos.wire.ids import FleetId, TicketId
from pharos.wire.noise.handshake import Handshake
from pharos.wire.noise.keys import KeyPair
from pharos.wire.noise.stream import FrameTransport, shake_hands
from pharos.wire.passage.carrier import open_call
from pharos.wire.passage.inner import InnerStream
from pharos.wire.passage.metadata import PassageRequest, Purpose, key_id
from pharos.wire.passage.notes import Note, Notes
from pharos.wire.passage.session import Session
from pharos.wire.rpc.client import Channel, open_channel
from pharos.wire.rpc.flow import INNER
from pharos.wire.tasks import open_background
from pharos.wire.units import SECONDS

INNER_IDLE: Final = 30 * SECONDS
"""After the last use of the inner connection. Opening it again costs a round trip and 1.3 ms of helm's CPU, keeping it
35 kB of helm's memory (passage.md §3): whoever syncs rarely pays the former, a person who clicks pays neither."""


class Passage:
    """A passage to helm; `open_passage` makes it. When it ends, notes end and calls fail; the block goes on."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._opening = trio.Lock()
        self._channel: Channel | None = None
        self._users = 0
        self._idle = trio.CancelScope()
        self._nursery: trio.Nursery | None = None
        self._ended = trio.Event()
        self._inner_ended = trio.Event()
        self._inner_ended.set()

    @property
    def handshake_hash(self) -> bytes:
        """For channel binding: the same 32 octets at helm, and in no other session."""
        return self._session.handshake_hash

    @property
    def failure(self) -> RemoteProtocolError | None:
        """What somebody between did to it, if that is why it ended."""
        return self._session.failure

    @property
    def notes(self) -> Notes:
        """What helm says beside the inner connection; iterate over it in one task."""
        return self._session.notes

    async def send_note(self, note: Note) -> None:
        """Tell helm which bundle this device holds.

        Raises: trio.BrokenResourceError, trio.ClosedResourceError — the passage has ended.
        """
        await self._session.send_note(note)

    async def wait_ended(self) -> None:
        """Wait until the passage has ended, whyever."""
        await self._ended.wait()

    @asynccontextmanager
    async def channel(self) -> AsyncIterator[Channel]:
        """Call helm: open the inner connection if there is none, and keep it for as long as a block lasts.

        Blocks share one. It ends half a minute after the last of them, or with the passage, which makes calls raise.

        Raises: LinkLostError — the passage has ended, or ends meanwhile.
        """
        async with self._opening:
            if self._channel is None or self._channel.connection.leaving or self._idle.cancel_called:
                await self._inner_ended.wait()
                await self._open_channel()
            channel = self._channel
        if channel is None:
            raise LinkLostError("the passage ended as its inner connection was opened")
        self._users += 1
        self._idle.deadline = math.inf
        try:
            yield channel
        finally:
            self._users -= 1
            if not self._users:
                self._idle.deadline = trio.current_time() + INNER_IDLE

    async def open_stream(self) -> InnerStream:
        """Begin an inner connection of the caller's own, who closes it; in place of `channel`.

        Raises: LinkLostError — the passage has ended.
        """
        return await self._session.open_inner()

    async def _open_channel(self) -> None:
        if self._nursery is None or self._ended.is_set():
            raise LinkLostError("the passage has ended")
        stream = await self._session.open_inner()
        await self._nursery.start(self._run_channel, stream)

    async def _run_channel(self, stream: InnerStream, *, task_status: trio.TaskStatus[None]) -> None:
        self._inner_ended = trio.Event()
        self._idle = trio.CancelScope()
        try:
            # No keepalive: the way to the beacon has one, and calls have deadlines.
            async with open_channel(stream, windows=INNER, authority="helm", keepalive=None) as self._channel:
                task_status.started()
                with self._idle:
                    await self._channel.connection.wait_closed()
        finally:
            self._channel = None
            self._inner_ended.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Receive until the passage ends; the task behind `open_passage`'s block."""
        try:
            async with trio.open_nursery() as self._nursery:
                task_status.started()
                # Whoever uses the passage learns there that it broke.
                with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                    await self._session.read()
                await self.aclose()
                self._nursery.cancel_scope.cancel()
        finally:
            self._ended.set()

    async def aclose(self) -> None:
        """End it gracefully: the inner connection with a goodbye, then the passage with an authenticated end."""
        self._idle.cancel()
        await self._inner_ended.wait()
        await self._session.aclose()


@asynccontextmanager
async def open_passage(
    channel: grpclib.client.Channel,
    *,
    purpose: Purpose,
    fleet: FleetId,
    helm_key: bytes,
    static: KeyPair | None = None,
    psk: bytes | None = None,
    ticket_id: TicketId | None = None,
    holds: Note | None = None,
    generate: Callable[[], KeyPair] = KeyPair.generate,
) -> AsyncIterator[Passage]:
    """Open a passage to the helm that owns ``helm_key``, over a channel to a beacon.

    A device gives its ``static`` key and in ``holds`` which bundle it has, an enrolment ``psk`` and ``ticket_id``, a
    login nothing. The block is entered when helm has proven itself; helm takes notice of the passage with the first
    frame, which is the note of what the device holds: without one, something has to be sent within ten seconds. When
    the block ends, so does the passage: the inner connection's goodbye, an authenticated end, the end of the call,
    helm's status. The caller owns timeouts: a beacon can stay silent for ever.

    Raises:
        LinkRefusedError — helm or the beacon said no. helm says why to nobody but its audit.
        LinkLostError — helm cannot be reached, or went away meanwhile.
        RemoteProtocolError — the answer is not that helm's.
    """
    request = PassageRequest(purpose=purpose, fleet=fleet, ticket_id=ticket_id)
    handshake = Handshake(
        purpose.protocol,
        initiator=True,
        prologue=request.prologue,
        static=static,
        remote_static=helm_key,
        psks=() if psk is None else (psk,),
        generate=generate,
    )
    async with open_call(channel, request) as frames:
        try:
            await frames.send_frame(bytes((key_id(helm_key),)) + handshake.write())
            await frames.wait_accepted()
            await shake_hands(frames, handshake)
        except trio.BrokenResourceError as error:
            raise LinkLostError(f"the passage was not opened: {error}") from error
        async with _run_passage(frames, handshake, holds) as passage:
            yield passage


@asynccontextmanager
async def _run_passage(frames: FrameTransport, handshake: Handshake, holds: Note | None) -> AsyncIterator[Passage]:
    session = Session(frames, handshake, device=True)
    passage = Passage(session)
    try:
        async with open_background(passage.run):
            if holds is not None:
                try:
                    await passage.send_note(holds)
                except trio.BrokenResourceError as error:
                    raise LinkLostError(f"the passage broke at once: {error}") from error
            yield passage
            await passage.aclose()
    finally:
        # A side that was told to stop has still ended by its own will.
        await session.aclose()
