"""Frames in the messages of a gRPC stream ``pharos.relay.v1.Passage/Open``, at either end of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import grpclib.client
import trio
from grpclib.exceptions import GRPCError, StreamTerminatedError

from pharos.wire.errors import LinkLostError, RemoteProtocolError
from pharos.wire.gen.pharos.relay.v1.passage_pb2 import Frame
from pharos.wire.passage.records import MAX_FRAME, MAX_HANDSHAKE_FRAME


class MessageStream(Protocol):
    """What grpclib's client and server streams have in common."""

    async def send_message(self, message: Frame) -> None: ...

    async def recv_message(self) -> Frame | None: ...


class ServerFrames:
    """helm's end. It borrows the stream: returning from the handler is what ends it."""

    def __init__(self, stream: MessageStream) -> None:
        self._stream = stream
        # The first frame is the handshake message.
        self._limit = MAX_HANDSHAKE_FRAME

    async def send_frame(self, frame: bytes) -> None:
        with _carrier_errors():
            await self._stream.send_message(Frame(data=frame))

    async def receive_frame(self) -> bytes | None:
        with _carrier_errors():
            message = await self._stream.recv_message()
        if message is None:
            return None
        if len(message.data) > self._limit:
            raise RemoteProtocolError(f"a passage's frame has {len(message.data)} octets, over {self._limit}")
        self._limit = MAX_FRAME
        return message.data

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


@contextmanager
def _carrier_errors() -> Iterator[None]:
    """Speak as a Trio stream does: the carrier broke, or (RemoteProtocolError) what it carried is no frame."""
    try:
        yield
    except RemoteProtocolError:
        raise
    except GRPCError as error:
        # Of a stream that is open, grpclib and our engine raise it for a message that is too long, compressed or
        # unreadable. No status of the peer's comes this way.
        raise RemoteProtocolError(f"the carrier's message is refused: {error.message}") from error
    except (StreamTerminatedError, LinkLostError) as error:
        raise trio.BrokenResourceError(str(error)) from error
