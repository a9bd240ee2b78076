"""What both ends of a passage share: one reader, who sorts frames into notes and the inner connection's stream."""

import functools
from collections.abc import Callable
from typing import Final

import trio

from pharos.wire.errors import LinkLostError
from pharos.wire.noise.handshake import Handshake
from pharos.wire.noise.stream import FrameTransport, NoiseSession
from pharos.wire.passage.inner import InnerStream
from pharos.wire.passage.notes import Note, Notes
from pharos.wire.passage.pace import FramePace
from pharos.wire.passage.records import Kind, PassageRecords, SpentError
from pharos.wire.units import HOURS, SECONDS

SESSION_LIMIT: Final = 24 * HOURS
"""security.md §2b, at both ends; a device opens a new passage well before (`pharos.wire.passage.renewal`)."""

WRITE_TIMEOUT: Final = 30 * SECONDS
"""For one frame: 16 KiB in 30 s are 4.4 kbit/s. Whoever takes less blocks the passage, which then ends."""

END_TIMEOUT: Final = 10 * SECONDS
"""For the peer's END after ours: ten round trips of a bad mobile link, as for the confirmation."""

Opened = Callable[[InnerStream], None]


class Session(NoiseSession):
    """One end of a passage after its handshake. `read` is the task that receives; anybody may send."""

    def __init__(self, frames: FrameTransport, handshake: Handshake, *, device: bool, pace: FramePace | None = None):
        self._records = PassageRecords(*handshake.split(), device=device)
        super().__init__(frames, handshake_hash=handshake.handshake_hash)
        self.notes: Final = Notes()
        """What the peer says beside the inner connection."""
        self._pace = pace
        self._inner: InnerStream | None = None
        self._first: tuple[Kind, bytes] | None = None
        self._became_light: trio.Event | None = None
        self._reading: trio.CancelScope | None = None
        self._done = False
        self._expires_at = trio.current_time() + SESSION_LIMIT

    async def send_note(self, note: Note) -> None:
        """Send a note, beside whatever the inner connection is doing.

        Raises: trio.BrokenResourceError, trio.ClosedResourceError — the passage has ended.
        """
        await self.send(Kind.NOTE, note.encode())

    async def send(self, kind: Kind, data: bytes = b"") -> None:
        """Send one frame.

        Raises: trio.BrokenResourceError, trio.ClosedResourceError — the passage has ended, or ends by this: the peer
        took no frame within 30 s, or it has carried all that it may.
        """
        underway = False

        def seal() -> bytes:
            nonlocal underway
            frame = self._records.seal(kind, data)
            underway = True
            return frame

        with trio.move_on_after(WRITE_TIMEOUT) as patience:
            try:
                await self._send_frame(seal)
                underway = False
            except SpentError as error:
                self.stop()
                raise trio.BrokenResourceError(str(error)) from error
            finally:
                if underway:
                    # A gap in the nonces: nothing more can be said, so there is no use in listening either.
                    self.stop()
        if patience.cancelled_caught:
            raise trio.BrokenResourceError(f"the peer took no frame within {WRITE_TIMEOUT:g} s")
        self._look_for_light()

    async def wait_confirmed(self) -> None:
        """Receive one frame, which proves that the peer is there now, and leave it for `read`.

        Raises: trio.BrokenResourceError — the frame is refused (see ``failure``), or the carrier broke.
        """
        self._first = await self._receive_frame(self._unseal)

    @property
    def began_with_data(self) -> bool:
        """Whether the frame that `wait_confirmed` received is of an inner connection; before `read`."""
        return self._first is not None and self._first[0] is Kind.DATA

    async def read(self, opened: Opened | None = None) -> None:
        """Receive until the peer ends the passage, its time is up, or `stop` is called.

        Each new inner stream is handed to ``opened``. It ends with this; if time is up it has until `aclose`.

        Raises: trio.BrokenResourceError — the session failed (see ``failure``) or the carrier broke.
        """
        error: trio.BrokenResourceError | None = None
        expired = False
        try:
            with trio.CancelScope(deadline=self._expires_at) as self._reading:
                if self._done:
                    self._reading.cancel()
                await self._read(opened)
            expired = self._reading.cancelled_caught and not self._done
        except trio.BrokenResourceError as broken:
            error = broken
            raise
        finally:
            self._done = True
            if self._torn:
                error = trio.BrokenResourceError("the passage has ended")
            if not expired:
                self._end_inner(error)

    def stop(self) -> None:
        """Receive no more; `read` returns."""
        self._done = True
        if self._reading is not None:
            self._reading.cancel()

    def _end_inner(self, error: trio.BrokenResourceError | None = None) -> None:
        self.notes.end()
        if self._inner is not None:
            self._inner.end(error)
        self._wake_light()

    async def _read(self, opened: Opened | None) -> None:
        while True:
            kind, data = await self._next()
            if kind is Kind.CLOSE:
                return
            if kind is Kind.NOTE:
                self.notes.put(Note.decode(data))
            elif kind is Kind.DATA:
                await self._take(data, opened)
            elif self._inner is not None:
                self._inner.end()
                self._look_for_light()
            if self._pace is not None and (delay := self._pace.take(trio.current_time())):
                await trio.sleep(delay)

    async def _next(self) -> tuple[Kind, bytes]:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        return await self._receive_frame(self._unseal)

    async def _take(self, data: bytes, opened: Opened | None) -> None:
        if self._inner is None and opened is not None:
            self._inner = InnerStream(self)
            opened(self._inner)
        if self._inner is not None:
            await self._inner.feed(data)

    def _unseal(self, frame: bytes) -> tuple[Kind, bytes]:
        kind, data = self._records.open(frame)
        if kind is Kind.NOTE:
            # Whether it is one is part of whether the frame is: what is not ends the session as any other junk.
            Note.decode(data)
        return kind, data

    # -- epochs

    async def open_inner(self) -> InnerStream:
        """Begin an inner connection, at the device; it waits for the end of the one before.

        Raises: LinkLostError — the passage has ended, or helm does not end the former connection.
        """
        if self._records.light is False or self._inner is not None:
            self._became_light = self._became_light or trio.Event()
            with trio.move_on_after(END_TIMEOUT):
                await self._became_light.wait()
        if self._done or self._closed:
            raise LinkLostError("the passage has ended")
        if self._inner is not None:
            raise LinkLostError(f"helm did not end the inner connection within {END_TIMEOUT:g} s")
        self._inner = InnerStream(self)
        return self._inner

    async def end_inner(self) -> None:
        """Say END for the stream that `open_inner` or `read` made."""
        if self._records.light:
            # Nothing was ever sent in it.
            self._inner = None
            self._wake_light()
            return
        await self.send(Kind.END)

    def _look_for_light(self) -> None:
        if self._inner is not None and self._inner.closed and self._records.light:
            self._inner = None
            self._wake_light()

    def _wake_light(self) -> None:
        if self._became_light is not None:
            self._became_light.set()
            self._became_light = None

    async def aclose(self) -> None:
        """Send the authenticated end, within a second, and close; a session that failed is reset instead."""
        self.stop()
        self._end_inner()
        await self._close(functools.partial(self._records.seal, Kind.CLOSE))
