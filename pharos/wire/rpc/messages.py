"""gRPC's length-prefixed messages (gRPC over HTTP/2, "Length-Prefixed-Message"), read within a cap."""

from struct import Struct
from typing import Any, Final

import trio
from google.protobuf.message import DecodeError
from grpclib.const import Status
from grpclib.encoding.base import CodecBase
from grpclib.encoding.proto import ProtoCodec
from grpclib.exceptions import GRPCError
from grpclib.metadata import Deadline

from pharos.wire.rpc.h2stream import H2Stream, TruncatedMessageError

_PREFIX: Final = Struct(">BI")
CODEC: Final[CodecBase] = ProtoCodec()


async def receive_message(stream: H2Stream, cap: int) -> bytes | None:
    """Read one message, or None at the end of the stream.

    Raises: GRPCError — RESOURCE_EXHAUSTED for a length above ``cap`` bytes, which is refused before anything
    is set aside for it; UNIMPLEMENTED for a compressed message, of which we accept none (security.md row 41).
    TruncatedMessageError — the stream ended inside the message. StreamTerminatedError — it ended early.
    """
    buffered = stream.buffered
    while len(buffered) < _PREFIX.size:
        if not await stream.more():
            if buffered:
                raise TruncatedMessageError("the stream ended inside a message's prefix")
            return None
    compressed, size = _PREFIX.unpack_from(buffered)
    if compressed:
        raise GRPCError(Status.UNIMPLEMENTED, "compressed messages are not accepted")
    if size > cap:
        raise GRPCError(Status.RESOURCE_EXHAUSTED, f"a message of {size} bytes exceeds the cap of {cap}")
    whole = _PREFIX.size + size
    if len(buffered) >= whole:
        return stream.take(whole)[_PREFIX.size :]
    stream.take(_PREFIX.size)
    data = await stream.recv_data(size)
    if len(data) < size:
        raise TruncatedMessageError("the stream ended after a message's prefix")
    return data


def decode(data: bytes, message_type: Any) -> Any:
    """Parse a message.

    Raises: GRPCError — INTERNAL, it does not parse.
    """
    try:
        return CODEC.decode(data, message_type)
    except DecodeError as error:
        raise GRPCError(Status.INTERNAL, f"not a {message_type.DESCRIPTOR.full_name}") from error


class TrioDeadline(Deadline):
    """grpclib's deadline, on Trio's clock, so that a virtual clock in a test moves it."""

    @classmethod
    def from_timeout(cls, timeout: float) -> "TrioDeadline":
        return cls(_timestamp=trio.current_time() + timeout)

    def time_remaining(self) -> float:
        return max(0.0, self._timestamp - trio.current_time())
