"""A relay that forwards passages frame by frame, and so can keep, drop, double and change them on the way."""

from __future__ import annotations

import abc
import hashlib
from collections.abc import Awaitable, Callable

import attrs
import trio
from grpclib.exceptions import StreamTerminatedError

from pharos.wire.gen.pharos.relay.v1.passage_pb2 import Frame
from pharos.wire.passage.metadata import FINGERPRINT_HEADER, PURPOSE_HEADER
from pharos.wire.rpc.h2conn import Connection
from pharos.wire.rpc.h2stream import H2Stream, Headers
from pharos.wire.rpc.status import StreamResetError

Edit = Callable[[int, bytes], "list[bytes | None]"]
"""Given a frame and its number, 0 for the handshake message: the frames to send on; None ends the stream."""


def pass_on(_number: int, frame: bytes) -> list[bytes | None]:
    return [frame]


@attrs.define
class Seen:
    """What went by in one passage."""

    headers: Headers
    """As they came from the device."""
    up: list[bytes] = attrs.field(factory=list)
    """Frames from the device."""
    down: list[bytes] = attrs.field(factory=list)
    """Frames from helm."""


class FrameForwarder(abc.ABC):
    """Forwards passages as a beacon does, in whole frames that a test may edit."""

    def __init__(self) -> None:
        self.edit_up: Callable[[], Edit] = lambda: pass_on
        self.edit_down: Callable[[], Edit] = lambda: pass_on
        self.fingerprints: list[str] | None = None
        """What to say instead of the fingerprint of the certificate that the device showed."""
        self.purposes: list[str] | None = None
        """What to say instead of what the device says."""
        self.seen: list[Seen] = []
        self.reset_by_helm = 0
        self.completed = 0
        """Passages that both sides ended, neither of them by a reset."""
        self.handle: Callable[[H2Stream], Awaitable[object]] = self.forward

    async def accept(self, down: H2Stream) -> None:
        await self.handle(down)

    @abc.abstractmethod
    def upstream(self) -> Connection:
        """The tunnel to helm."""

    async def forward(self, down: H2Stream) -> None:
        seen = Seen(list(down.headers or []))
        self.seen.append(seen)
        up = self.upstream().create_stream()
        try:
            await up.send_request(self.request_headers(down))
            async with trio.open_nursery() as pumps:
                pumps.start_soon(self._pump, down, up, self.edit_up(), seen.up)
                await self._pump_down(up, down, seen)
                self.completed += down.ended
                pumps.cancel_scope.cancel()
        except* StreamTerminatedError:
            self.reset_by_helm += isinstance(up.error, StreamResetError)
            down.reset_nowait()
        finally:
            up.close()

    def request_headers(self, down: H2Stream) -> Headers:
        """What helm is told."""
        headers = down.headers or []
        kept = [(name, value) for name, value in headers if name != PURPOSE_HEADER]
        purposes = [value for name, value in headers if name == PURPOSE_HEADER]
        kept += [(PURPOSE_HEADER, value) for value in (purposes if self.purposes is None else self.purposes)]
        fingerprints = true_fingerprints(down) if self.fingerprints is None else self.fingerprints
        return kept + [(FINGERPRINT_HEADER, value) for value in fingerprints]

    async def _pump_down(self, up: H2Stream, down: H2Stream, seen: Seen) -> None:
        headers = await up.recv_headers()
        if up.ended and up.trailers is None:
            await down.send_headers(headers, end_stream=True)
            return
        await down.send_headers(headers)
        if await self._pump(up, down, self.edit_down(), seen.down) and not down.sent_end:
            await down.send_headers(await up.recv_trailers(), end_stream=True)

    @staticmethod
    async def _pump(source: H2Stream, sink: H2Stream, edit: Edit, seen: list[bytes]) -> bool:
        """Forward until the source ends; True if the sink's end is still to be sent with trailers."""
        received = bytearray()
        while (chunk := await source.receive_chunk()) is not None:
            received += chunk[0]
            while len(received) >= 5 and len(received) >= (end := 5 + int.from_bytes(received[1:5], "big")):
                seen.append(Frame.FromString(bytes(received[5:end])).data)
                del received[:end]
                for frame in edit(len(seen) - 1, seen[-1]):
                    if frame is None:
                        await sink.end()
                        return False
                    await sink.send_data(message(frame))
            source.credit(chunk[1])
        if source.trailers is None:
            await sink.end()
        return True


def true_fingerprints(down: H2Stream) -> list[str]:
    """What a beacon that is honest says; nothing of a peer without a certificate."""
    certificate = down.connection.peer.certificate
    return [] if certificate is None else [hashlib.sha256(certificate).hexdigest()]


def message(frame: bytes) -> bytes:
    """Encode a frame as gRPC does."""
    body = Frame(data=frame).SerializeToString()
    return b"\0" + len(body).to_bytes(4, "big") + body
