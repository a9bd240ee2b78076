"""Frames in the messages of a gRPC stream ``pharos.relay.v1.Passage/Open``, at either end of it."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Final, cast

import grpclib.client
import grpclib.exceptions
import grpclib.server
import trio
from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError

from pharos.wire.errors import LinkLostError, LinkRefusedError, RemoteProtocolError
from pharos.wire.gen.pharos.relay.v1.passage_grpc import PassageStub
from pharos.wire.gen.pharos.relay.v1.passage_pb2 import Frame
from pharos.wire.passage.metadata import PURPOSE_HEADER, RETRY_HEADER, PassageRequest, read_retry
from pharos.wire.passage.records import MAX_FRAME, MAX_HANDSHAKE_FRAME
from pharos.wire.rpc.h2stream import H2Stream

ServerCall = grpclib.server.Stream[Frame, Frame]
ClientCall = grpclib.client.Stream[Frame, Frame]

# gRPC's prefix: a flag and a length. Protobuf adds a tag and a length to a frame of 16 KiB, four octets.
_PREFIX: Final = 5
_AROUND: Final = 4

# Somebody answered and will say the same next time; every other status is worth another try.
_REFUSALS: Final = frozenset({Status.UNAUTHENTICATED, Status.PERMISSION_DENIED, Status.UNIMPLEMENTED})


class CallFrames:
    """helm's end. It borrows the call: what ends it is that the handler returns.

    A receive may be cancelled and loses nothing.
    """

    def __init__(self, call: ServerCall | ClientCall) -> None:
        self._call = call
        # The first frame is the handshake message.
        self._limit = MAX_HANDSHAKE_FRAME

    async def send_frame(self, frame: bytes) -> None:
        with _carrier_errors():
            await self._call.send_message(Frame(data=frame))

    async def receive_frame(self) -> bytes | None:
        with _carrier_errors():
            await self._wait_whole()
            message = await self._call.recv_message()
        if message is None:
            return None
        if len(message.data) > self._limit:
            raise RemoteProtocolError(f"a passage's frame has {len(message.data)} octets, over {self._limit}")
        self._limit = MAX_FRAME
        return message.data

    async def _wait_whole(self) -> None:
        """Wait until a whole message has arrived, so that taking it needs no waiting, in which it could be lost."""
        stream = cast(H2Stream, self._call._stream)
        buffered = stream.buffered
        while True:
            if len(buffered) >= _PREFIX:
                size = int.from_bytes(buffered[1:_PREFIX], "big")
                if size > self._limit + _AROUND:
                    raise RemoteProtocolError(f"a passage's message has {size} octets, over {self._limit + _AROUND}")
                if len(buffered) >= _PREFIX + size:
                    return
            if not await stream.more():
                return

    async def aclose(self) -> None:
        """Let the handler end the call by returning; reset it if this is cancelled."""
        try:
            await trio.lowlevel.checkpoint()
        except trio.Cancelled:
            await self.reset()
            raise

    async def reset(self) -> None:
        """Reset the call if it has not ended; never waits."""
        # grpclib objects to a cancel before the request, or a second one.
        with trio.CancelScope(shield=True), suppress(grpclib.exceptions.ProtocolError):
            await self._call.cancel()


class OpenedCallFrames(CallFrames):
    """The device's end, where a call is ended by both sides or reset."""

    def __init__(self, call: ClientCall) -> None:
        super().__init__(call)
        self._opened = call

    async def wait_accepted(self) -> None:
        """Wait for the response headers, or for the status that stands in their place.

        Raises: LinkRefusedError — helm or a beacon says no; LinkLostError — helm cannot be reached now.
        """
        try:
            await self._opened.recv_initial_metadata()
        except GRPCError as error:
            text = f"the passage was not opened: {error.status.name} {error.message or ''}"
            if error.status in _REFUSALS:
                raise LinkRefusedError(text) from error
            lost = LinkLostError(text)
            # A status in the place of headers is a trailer.
            said = self._opened.trailing_metadata
            lost.retry_after = 0.0 if said is None else read_retry(said.get(RETRY_HEADER))
            raise lost from error
        except StreamTerminatedError as error:
            raise LinkLostError(f"the passage was not opened: {error}") from error

    async def aclose(self) -> None:
        """End our side and wait for helm's; reset the call if that fails or is cancelled."""
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
            with suppress(GRPCError, StreamTerminatedError):
                await self._opened.end()
                await self._opened.recv_trailing_metadata()
        finally:
            await self.reset()


@asynccontextmanager
async def open_call(channel: grpclib.client.Channel, request: PassageRequest) -> AsyncIterator[OpenedCallFrames]:
    """Call ``Open`` as the first frame is sent, and reset the call with the block if it has not ended.

    What the block raises goes through untouched: grpclib would put the call's own status in its place.
    """
    call = PassageStub(channel).Open.open(metadata={PURPOSE_HEADER: request.metadata})
    await call.__aenter__()
    frames = OpenedCallFrames(call)
    try:
        yield frames
    finally:
        with trio.CancelScope(shield=True):
            await frames.reset()
            await call.__aexit__(None, None, None)


@contextmanager
def _carrier_errors() -> Iterator[None]:
    """Speak as a Trio stream does: the carrier broke, or (RemoteProtocolError) what it carried is no frame."""
    try:
        yield
    except RemoteProtocolError:
        raise
    except GRPCError as error:
        # On a call that is open our engine raises it for a message that is too long, compressed or unreadable; a
        # status of the peer's does not come this way.
        raise RemoteProtocolError(f"the carrier's message is refused: {error.message}") from error
    except StreamTerminatedError as error:
        raise trio.BrokenResourceError(str(error)) from error
