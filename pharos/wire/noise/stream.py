"""A finished Noise session as a Trio stream, over anything that carries whole frames."""

import functools
import operator
from collections.abc import Callable
from typing import Final, Protocol, TypeVar

import trio

from pharos.wire.errors import LocalProtocolError, RemoteProtocolError, TruncatedError
from pharos.wire.noise.handshake import Handshake, State
from pharos.wire.noise.symmetric import MAX_MESSAGE, TAG_LENGTH, CipherState
from pharos.wire.units import SECONDS

Opened = TypeVar("Opened")

CLOSE_TIMEOUT: Final = 1 * SECONDS
"""How long a closing side tries to place its authenticated end: one round trip of a bad mobile link."""


class FrameTransport(Protocol):
    """Carries whole frames in order; it neither protects nor interprets them."""

    async def send_frame(self, frame: bytes) -> None:
        """Send one frame. Raises: trio.BrokenResourceError, trio.ClosedResourceError."""

    async def receive_frame(self) -> bytes | None:
        """Return the next frame, or None where the carrier ended between two frames.

        Raises: RemoteProtocolError — what arrived is no frame; trio.BrokenResourceError, trio.ClosedResourceError.
        """

    async def aclose(self) -> None:
        """Close as trio.abc.AsyncResource does: gracefully, or at once if cancelled."""


class Records(Protocol):
    """How a session lays out the plaintext of its messages; a sans-IO object with both ciphers inside."""

    max_data: int
    """Octets of stream data that fit into one message."""

    def seal_data(self, data: bytes) -> bytes:
        """Make the next frame to send."""

    def seal_end(self) -> bytes:
        """Make the frame that says, authenticated, that nothing follows."""

    def open(self, frame: bytes) -> bytes | None:
        """Return the stream data of a received frame (perhaps none), or None for the authenticated end.

        Raises: RemoteProtocolError — the frame is not authentic or means nothing.
        """


class PlainRecords:
    """The plain layout: a message's plaintext is stream data, an empty message is the authenticated end."""

    max_data = MAX_MESSAGE - TAG_LENGTH

    def __init__(self, send: CipherState, receive: CipherState) -> None:
        self._send = send
        self._receive = receive

    def seal_data(self, data: bytes) -> bytes:
        return self._send.encrypt(b"", data)

    def seal_end(self) -> bytes:
        return self._send.encrypt(b"", b"")

    def open(self, frame: bytes) -> bytes | None:
        return self._receive.decrypt(b"", frame) or None


class LengthPrefixedFrames:
    """Frames over a byte stream: a two-octet big-endian length, then the frame (Noise rev 34 §3, §13).

    Owns ``stream``. A cancelled receive loses nothing; after a cancelled send the stream is to be closed.
    """

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._received = bytearray()

    async def send_frame(self, frame: bytes) -> None:
        if len(frame) > MAX_MESSAGE:
            raise LocalProtocolError(f"a frame has at most {MAX_MESSAGE} octets, not {len(frame)}")
        await self._stream.send_all(len(frame).to_bytes(2, "big") + frame)

    async def receive_frame(self) -> bytes | None:
        while True:
            received = self._received
            if len(received) >= 2 and len(received) >= (end := 2 + int.from_bytes(received[:2], "big")):
                frame = bytes(received[2:end])
                del received[:end]
                return frame
            chunk = await self._stream.receive_some()
            if not chunk:
                if received:
                    raise TruncatedError("the stream ended inside a frame")
                return None
            received += chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


class NoiseSession:
    """Whole messages after a finished handshake; what is in them is the business of whoever builds on it.

    Raises ``trio.BrokenResourceError`` where it fails, as Trio streams do; ``failure`` then tells what the peer, or
    somebody between, did. A carrier that ends without the authenticated end is such a failure (``TruncatedError``).
    Owns ``frames``. One task receives at a time; a receive that is cancelled loses as much as the frames' does.
    """

    def __init__(self, frames: FrameTransport, *, handshake_hash: bytes) -> None:
        self.handshake_hash: Final = handshake_hash
        """For channel binding: the same 32 octets on both sides, and in no other session."""
        self.failure: RemoteProtocolError | None = None
        """Why receiving failed, if the frames were the reason."""
        self._frames = frames
        # Sealing happens inside the lock: the order on the wire must be the order of the nonces.
        self._seal_lock = trio.Lock()
        self._torn = False
        self._closed = False

    @property
    def _broken(self) -> bool:
        return self._torn or self.failure is not None

    async def _send_frame(self, seal: Callable[[], bytes]) -> None:
        """Send what ``seal`` makes. After a cancelled one only closing is left."""
        async with self._seal_lock:
            self._check_sendable()
            frame = seal()
            # Its nonce is spent: a frame that is not sent whole leaves a gap that the peer must refuse.
            self._torn = True
            await self._frames.send_frame(frame)
            self._torn = False

    async def _receive_frame(self, unseal: Callable[[bytes], Opened]) -> Opened:
        """Return what ``unseal`` makes of the next frame; what it raises is the session's failure."""
        if self._closed:
            raise trio.ClosedResourceError("this Noise session is closed")
        if self.failure is not None:
            raise trio.BrokenResourceError("this Noise session has failed") from self.failure
        try:
            frame = await self._frames.receive_frame()
            if frame is None:
                raise TruncatedError("the session ended without an authenticated end")
            return unseal(frame)
        except RemoteProtocolError as error:
            self.failure = error
            raise trio.BrokenResourceError(str(error)) from error

    async def _close(self, seal_end: Callable[[], bytes]) -> None:
        """Send the authenticated end, within a second, then close the frames.

        The end is sent under a bounded shield, for a side that was told to stop has still ended by its own will.
        A session that failed sends none, and cancels the closing of its frames: the peer would log a clean end although
        its last frames were refused.
        """
        if self._closed:
            await trio.lowlevel.checkpoint()
            return
        self._closed = True
        with trio.move_on_after(CLOSE_TIMEOUT, shield=True) as scope:
            try:
                async with self._seal_lock:
                    if not self._broken:
                        await self._frames.send_frame(seal_end())
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self._torn = True
            finally:
                if self._broken:
                    scope.cancel()
                await self._frames.aclose()

    def _check_sendable(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("this Noise session is closed")
        if self._broken:
            raise trio.BrokenResourceError("this Noise session has failed") from self.failure


class NoiseStream(NoiseSession, trio.abc.Stream):
    """Stream data in Noise messages.

    End of file is only what the peer authenticated. After a cancelled ``send_all`` only ``aclose`` is left.
    """

    def __init__(self, frames: FrameTransport, records: Records, *, handshake_hash: bytes) -> None:
        super().__init__(frames, handshake_hash=handshake_hash)
        self._records = records
        self._sending = False
        self._receiving = False
        self._pending = b""
        self._ended = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self._sending:
            raise trio.BusyResourceError("another task is sending into this Noise stream")
        self._sending = True
        try:
            await trio.lowlevel.checkpoint()
            self._check_sendable()
            size = self._records.max_data
            with memoryview(data) as view:
                for start in range(0, len(view), size):
                    chunk = bytes(view[start : start + size])
                    await self._send_frame(functools.partial(self._records.seal_data, chunk))
        finally:
            self._sending = False

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()
        self._check_sendable()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if max_bytes is not None and operator.index(max_bytes) < 1:
            raise ValueError("max_bytes must be at least 1")
        if self._receiving:
            raise trio.BusyResourceError("another task is receiving from this Noise stream")
        self._receiving = True
        try:
            await trio.lowlevel.checkpoint()
            while not self._pending and not self._ended:
                data = await self._receive_frame(self._records.open)
                self._ended = data is None
                self._pending = data or b""
            if self._closed:
                raise trio.ClosedResourceError("this Noise stream is closed")
            size = len(self._pending) if max_bytes is None else max_bytes
            received, self._pending = self._pending[:size], self._pending[size:]
            return received
        finally:
            self._receiving = False

    async def aclose(self) -> None:
        """Send the authenticated end, within a second, and close; a session that failed is reset instead."""
        await self._close(self._records.seal_end)


async def shake_hands(frames: FrameTransport, handshake: Handshake) -> None:
    """Exchange the messages that a handshake still lacks, with empty payloads. The caller owns timeouts and ``frames``.

    Raises:
        RemoteProtocolError — the peer's message is refused; TruncatedError — it never came.
        trio.BrokenResourceError — the carrier broke.
    """
    while not handshake.finished:
        if handshake.state is State.WRITING:
            await frames.send_frame(handshake.write())
            continue
        message = await frames.receive_frame()
        if message is None:
            raise TruncatedError("the peer ended the handshake")
        if handshake.read(message):
            raise RemoteProtocolError("the peer's handshake message carries a payload; none is agreed on")


async def open_noise(frames: FrameTransport, handshake: Handshake) -> NoiseStream:
    """Run a fresh handshake of an interactive pattern and return the session, which then owns ``frames``.

    Raises: what ``shake_hands`` raises; ``frames`` are then still the caller's to close.
    """
    await shake_hands(frames, handshake)
    return NoiseStream(frames, PlainRecords(*handshake.split()), handshake_hash=handshake.handshake_hash)
