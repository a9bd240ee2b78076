"""Answering: generated grpclib bases on accepted streams."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import grpclib.const
import grpclib.server
import trio
from grpclib.const import Status
from grpclib.events import _DispatchServerEvents
from grpclib.exceptions import GRPCError
from grpclib.metadata import decode_metadata, decode_timeout
from h2.errors import ErrorCodes

from pharos.wire.errors import WireError
from pharos.wire.rpc import limits
from pharos.wire.rpc.flow import INNER, Windows
from pharos.wire.rpc.guard import Allowance
from pharos.wire.rpc.h2conn import Connection
from pharos.wire.rpc.h2stream import H2Stream
from pharos.wire.rpc.machine import Machine
from pharos.wire.rpc.messages import CODEC, TrioDeadline, decode, receive_message
from pharos.wire.rpc.peer import Peer
from pharos.wire.rpc.status import STATUSES, grpc_error, is_peer_fault

if TYPE_CHECKING:
    from grpclib._typing import IServable

log = logging.getLogger(__name__)

_SendType = TypeVar("_SendType")
_RecvType = TypeVar("_RecvType")

_CONTENT_TYPES: Final = frozenset({"application/grpc", "application/grpc+proto"})
# gRPC over HTTP/2 allows eight digits; more would overflow a float on the way to a clock.
_TIMEOUT: Final = re.compile(r"[0-9]{1,8}[HMSmun]")


class ServerStream(grpclib.server.Stream[_RecvType, _SendType]):
    """grpclib's server stream with its messages capped."""

    _stream: H2Stream  # type: ignore[assignment]
    max_message = limits.MAX_MESSAGE

    async def recv_message(self) -> _RecvType | None:
        data = await receive_message(self._stream, self.max_message)
        if data is None:
            return None
        self._messages_received += 1
        self._stream.connection.messages_received += 1
        return cast(_RecvType, decode(data, self._recv_type))


class Service:
    """What a connection does with the streams it accepts: dispatch by path to generated bases.

    A handler is cancelled when its peer resets the stream or goes away, and at the caller's deadline. What it
    raises becomes the call's status, by the table ``statuses``; anything else is logged as a bug and told the
    caller as UNKNOWN without a word about it.
    """

    def __init__(
        self,
        handlers: Collection[IServable],
        *,
        max_message: int = limits.MAX_MESSAGE,
        statuses: Mapping[type[Exception], Status] = STATUSES,
    ) -> None:
        self._methods: dict[str, grpclib.const.Handler] = {}
        for handler in handlers:
            self._methods.update(handler.__mapping__())
        self._max_message = max_message
        self._statuses = statuses
        self._dispatch = _DispatchServerEvents()

    async def __call__(self, stream: H2Stream) -> None:
        headers = stream.headers or []
        fields = dict(headers)
        if fields.get(":method") != "POST":
            await refuse(stream, http_status=405)
            return
        if fields.get("content-type") not in _CONTENT_TYPES:
            await refuse(stream, http_status=415)
            return
        method = self._methods.get(fields[":path"])
        if method is None:
            await refuse(stream, Status.UNIMPLEMENTED, "method not found")
            return
        try:
            timeout = _parse_timeout(fields.get("grpc-timeout"))
            metadata = decode_metadata(headers)
        except ValueError:
            await refuse(stream, Status.INTERNAL, "a header does not decode")
            return
        call: ServerStream[Any, Any] = ServerStream(
            cast(Any, stream),
            fields[":path"],
            method.cardinality,
            method.request_type,
            method.reply_type,
            codec=CODEC,
            status_details_codec=None,
            dispatch=self._dispatch,
            deadline=None if timeout is None else TrioDeadline.from_timeout(timeout),
            user_agent=fields.get("user-agent"),
        )
        call.max_message = self._max_message
        call.metadata = metadata
        async with call:
            await self._run(method.func, call)

    async def _run(self, method: Any, call: ServerStream[Any, Any]) -> None:
        """Raises: GRPCError — how the call ended if not well. Exception — the peer has gone."""
        deadline = call.deadline
        try:
            if deadline is None:
                await method(call)
                return
            with trio.move_on_after(deadline.time_remaining()) as until_deadline:
                await method(call)
        except Exception as error:
            status = grpc_error(error, self._statuses)
            if status is not None:
                raise status from error
            if is_peer_fault(error):
                raise
            log.exception("%s failed", call._method_name)
            raise GRPCError(Status.UNKNOWN, "internal error") from error
        if until_deadline.cancelled_caught:
            raise GRPCError(Status.DEADLINE_EXCEEDED, "the deadline has passed")


async def serve_connection(
    stream: trio.abc.Stream,
    service: Service,
    *,
    windows: Windows = INNER,
    peer: Peer | None = None,
    max_streams: int = limits.MAX_STREAMS,
    keepalive: float | None = limits.KEEPALIVE_INTERVAL,
    idle_timeout: float | None = None,
    allowance: Allowance | None = None,
) -> None:
    """Answer calls over ``stream``, which it owns and closes, until the peer goes away or we are cancelled."""
    await Connection(
        stream,
        client_side=False,
        windows=windows,
        accept=service,
        peer=peer,
        max_streams=max_streams,
        keepalive=keepalive,
        idle_timeout=idle_timeout,
        allowance=allowance,
    ).run()


async def turn_away(stream: trio.abc.Stream) -> None:
    """Tell a peer that its certificate is not welcome, and wait a moment for it to hear that; the caller closes.

    TLS 1.3 lets a client finish its handshake before the server has looked at its certificate in our way, and a
    connection that is only closed then looks like a network that fails, which one tries again. gRPC over HTTP/2 maps
    INADEQUATE_SECURITY to PERMISSION_DENIED.
    """
    machine = Machine(client_side=False, windows=INNER, max_streams=0)
    machine.initiate_connection()
    machine.close_connection(ErrorCodes.INADEQUATE_SECURITY)
    left = limits.LINGER_BYTES
    with trio.move_on_after(limits.LINGER_TIME), contextlib.suppress(trio.BrokenResourceError, WireError):
        await stream.send_all(machine.data_to_send())
        # To close with something unread would reset the connection, and take back what was said.
        while left > 0 and (heard := await stream.receive_some(left)):
            left -= len(heard)


def peer_of(stream: grpclib.server.Stream[Any, Any]) -> Peer:
    """Return who is calling; for handlers, whose ``stream.peer`` grpclib types as its own class."""
    return cast(Peer, stream.peer)


async def refuse(
    stream: H2Stream,
    status: Status = Status.UNKNOWN,
    message: str = "",
    *,
    http_status: int = 200,
    fields: Sequence[tuple[str, str]] = (),
) -> None:
    """Answer with trailers only, ``fields`` among them, before any response headers were sent."""
    headers = [
        (":status", str(http_status)),
        ("content-type", "application/grpc"),
        ("grpc-status", str(status.value)),
    ]
    if message:
        headers.append(("grpc-message", message))
    headers += fields
    await stream.send_headers(headers, end_stream=True)


def _parse_timeout(value: str | None) -> float | None:
    if value is None:
        return None
    if not _TIMEOUT.fullmatch(value):
        raise ValueError("invalid grpc-timeout")
    return decode_timeout(value)
