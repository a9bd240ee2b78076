"""Calling: a channel for grpclib's generated stubs over one of our connections."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from types import TracebackType
from typing import Any, Final, TypeVar, cast

import grpclib.client
import trio
from grpclib.const import Cardinality, Status
from grpclib.events import _DispatchChannelEvents
from grpclib.exceptions import GRPCError
from grpclib.metadata import Deadline
from multidict import MultiDict

from pharos.wire.rpc import limits
from pharos.wire.rpc.flow import INNER, Windows
from pharos.wire.rpc.h2conn import Connection
from pharos.wire.rpc.h2stream import H2Stream
from pharos.wire.rpc.messages import CODEC, TrioDeadline, decode, receive_message
from pharos.wire.rpc.peer import Peer
from pharos.wire.units import SECONDS

_SendType = TypeVar("_SendType")
_RecvType = TypeVar("_RecvType")

# The calls of a block have ended when it closes its channel; what remains is one GOAWAY and the peer's answer.
_DRAIN_GRACE: Final = 1 * SECONDS


class ClientStream(grpclib.client.Stream[_SendType, _RecvType]):
    """grpclib's client stream with its deadline on Trio's clock and its messages capped.

    Leaving the block early, by cancellation too, resets the stream, and the peer's handler is cancelled.
    Operations raise: GRPCError — the peer's status, or DEADLINE_EXCEEDED of our own. StreamTerminatedError —
    the stream ended without a status; ConnectionLostError, which is one, when the connection did.
    """

    _stream: H2Stream  # type: ignore[assignment]
    _channel: Channel

    async def __aenter__(self) -> ClientStream[_SendType, _RecvType]:
        deadline = self._deadline
        wrapper: AbstractContextManager[Any] = nullcontext() if deadline is None else _DeadlineScopes(deadline)
        self._wrapper = cast(Any, wrapper)
        self._channel._calls_started += 1
        return self

    async def recv_message(self) -> _RecvType | None:
        if not self._recv_initial_metadata_done:
            await self.recv_initial_metadata()
        with self._wrapper:
            data = await receive_message(self._stream, self._channel.max_message)
            if data is None:
                return None
            message = decode(data, self._recv_type)
        self._messages_received += 1
        self._stream.connection.messages_received += 1
        return cast(_RecvType, message)

    async def recv_initial_metadata(self) -> None:
        with _PeersMetadata():
            await super().recv_initial_metadata()

    async def recv_trailing_metadata(self) -> None:
        with _PeersMetadata():
            await super().recv_trailing_metadata()


class Channel(grpclib.client.Channel):
    """One of our connections, as generated stubs take it. It does not own the connection, nor redial.

    A subclass so that stubs type-check; grpclib's constructor, which wants asyncio, is not called.
    """

    _scheme = "https"

    def __init__(self, connection: Connection, *, authority: str, max_message: int = limits.MAX_MESSAGE) -> None:
        self.connection: Final = connection
        self.max_message: Final = max_message
        """The largest answer accepted, in bytes."""
        self._authority = authority
        self.__dispatch__ = _DispatchChannelEvents()
        self._dialled = _Dialled(connection)

    async def __connect__(self) -> Any:
        self.connection.check_open()
        return self._dialled

    def request(
        self,
        name: str,
        cardinality: Cardinality,
        request_type: type[_SendType],
        reply_type: type[_RecvType],
        *,
        timeout: float | None = None,
        deadline: Deadline | None = None,
        metadata: Any = None,
    ) -> ClientStream[_SendType, _RecvType]:
        if deadline is not None and not isinstance(deadline, TrioDeadline):
            deadline = TrioDeadline.from_timeout(deadline.time_remaining())
        if timeout is not None:
            by_timeout = TrioDeadline.from_timeout(timeout)
            deadline = by_timeout if deadline is None else min(by_timeout, deadline)
        return ClientStream(
            self,
            name,
            cast(Any, MultiDict(metadata or ())),
            cardinality,
            request_type,
            reply_type,
            codec=CODEC,
            status_details_codec=None,
            dispatch=self.__dispatch__,
            deadline=deadline,
        )

    def close(self) -> None:
        """End the connection without ado; `open_channel` does it better."""
        self.connection.close_now()

    def __repr__(self) -> str:
        return f"<Channel to {self._authority}>"


@asynccontextmanager
async def open_channel(
    stream: trio.abc.Stream,
    *,
    windows: Windows = INNER,
    authority: str,
    peer: Peer | None = None,
    max_message: int = limits.MAX_MESSAGE,
    keepalive: float | None = limits.KEEPALIVE_INTERVAL,
) -> AsyncIterator[Channel]:
    """Run a client connection over ``stream``, which it owns and closes, for as long as the block lasts.

    The block is entered when the peer's SETTINGS have arrived. A connection that ends under it makes its calls
    raise; a block that waits for something else watches ``channel.connection.wait_closed``.

    Raises: LinkRefusedError — the peer refused our certificate. LinkLostError — it went away before SETTINGS.
    """
    connection = Connection(stream, client_side=True, windows=windows, peer=peer, keepalive=keepalive)
    failure: Exception | None = None
    async with trio.open_nursery() as connection_nursery:
        connection_nursery.start_soon(connection.run)
        try:
            await connection.wait_up()
            yield Channel(connection, authority=authority, max_message=max_message)
            connection.say_goodbye()
            connection_nursery.cancel_scope.deadline = trio.current_time() + _DRAIN_GRACE
        except Exception as error:  # noqa: BLE001 - raised again below, where no nursery wraps it in a group
            failure = error
            connection.close_now()
        except BaseException:
            connection.close_now()
            raise
    if failure is not None:
        raise failure


class _Dialled:
    """The part of grpclib's `H2Protocol` that its client stream reaches through."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def processor(self) -> _Dialled:
        return self

    @property
    def connection(self) -> _Dialled:
        return self

    def create_stream(self, *, wrapper: object) -> H2Stream:
        return self._connection.create_stream()


class _DeadlineScopes:
    """``with`` it, any number of times and in several tasks: cancels what is inside at the deadline.

    Raises: GRPCError — DEADLINE_EXCEEDED.
    """

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline
        self._scopes: dict[trio.lowlevel.Task, trio.CancelScope] = {}

    def __enter__(self) -> None:
        remaining = self._deadline.time_remaining()
        if not remaining:
            # What needs no waiting would still succeed.
            raise _too_late()
        scope = trio.move_on_after(remaining)
        self._scopes[trio.lowlevel.current_task()] = scope
        scope.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        scope = self._scopes.pop(trio.lowlevel.current_task())
        suppressed = scope.__exit__(kind, error, trace)
        if scope.cancelled_caught:
            raise _too_late()
        return suppressed


def _too_late() -> GRPCError:
    return GRPCError(Status.DEADLINE_EXCEEDED, "the deadline has passed")


class _PeersMetadata:
    """``with`` it, a ``-bin`` header that is no base64 becomes the error that it is: the peer's."""

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, ValueError):
            raise GRPCError(Status.INTERNAL, "the peer's metadata does not decode") from error
