"""One HTTP/2 connection over any Trio stream, in either role, as one supervised task.

`Connection.run` is the task. Inside it the reader feeds the machine and hands its events to the streams, a
writer task alone calls ``send_all`` (so that cancelling an RPC can never tear a TLS record), and each accepted stream
has a task for its handler. Whatever a peer does ends in `error` and in the streams' errors, never in an
exception out of `run`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from typing import Any, Final

import trio
from h2 import events as h2_events
from h2.errors import ErrorCodes
from h2.exceptions import DenialOfServiceError, NoAvailableStreamIDError, ProtocolError
from h2.settings import SettingCodes

from pharos.wire.errors import LinkRefusedError, WireError
from pharos.wire.rpc import limits
from pharos.wire.rpc.flow import INNER, Credit, Gate, Wakeup, Windows
from pharos.wire.rpc.h2stream import H2Stream, Headers
from pharos.wire.rpc.hotpath import HotMachine
from pharos.wire.rpc.peer import Peer
from pharos.wire.rpc.status import ConnectionLostError, StreamResetError, is_peer_fault
from pharos.wire.rpc.transport import TlsAlertError
from pharos.wire.units import KIB

log = logging.getLogger(__name__)

_RECEIVE_SIZE: Final = 64 * KIB
_NOBODY: Final = Peer()

Accept = Callable[[H2Stream], Awaitable[None]]


class Connection:
    """An HTTP/2 connection. It owns ``stream`` from `run` on, and closes it.

    The HTTP/2 role is independent of who dialled or of the TLS role: ``client_side`` opens streams, the other
    side runs ``accept`` for each, in the stream's own cancel scope. With a ``keepalive`` (seconds of silence
    until a PING) a ``receive_some`` of the stream is cancelled now and then, which must lose nothing.
    """

    __slots__ = (
        "__weakref__",
        "_accept",
        "_doomed",
        "_ended",
        "_keepalive",
        "_last_words",
        "_leaving",
        "_max_streams",
        "_parting",
        "_peer_slots",
        "_receipts",
        "_scope",
        "_stream",
        "_unsent",
        "_up",
        "client_side",
        "closed",
        "credit",
        "error",
        "heard_at",
        "last_message_received",
        "last_message_sent",
        "machine",
        "messages_received",
        "messages_sent",
        "peer",
        "room",
        "slots",
        "streams",
        "windows",
    )

    def __init__(
        self,
        stream: trio.abc.Stream,
        *,
        client_side: bool,
        windows: Windows = INNER,
        accept: Accept | None = None,
        peer: Peer | None = None,
        max_streams: int = limits.MAX_STREAMS,
        keepalive: float | None = limits.KEEPALIVE_INTERVAL,
    ) -> None:
        self.client_side: Final = client_side
        self.windows: Final = windows
        self.peer: Final = peer or _NOBODY
        self.machine: Final = HotMachine(client_side=client_side, windows=windows, max_streams=max_streams)
        self.streams: Final[dict[int, H2Stream]] = {}
        """Streams somebody still holds, by id; on a server, each has a running handler."""
        self.error: WireError | None = None
        """Why the connection ended; None while it lives, and after an end that we asked for."""
        self.closed = False
        self.heard_at = 0.0
        """When the last bytes arrived, on Trio's clock."""
        # What senders wait for: room in the output buffer, the connection's credit, and the peer's leave to
        # open one more stream.
        self.room: Final = Gate(self._has_room)
        self.credit: Final = Gate(self._has_credit)
        self.slots: Final = Gate(self._has_slot)
        # Counted by grpclib's streams.
        self.messages_sent = 0
        self.messages_received = 0
        self.last_message_sent: float | None = None
        self.last_message_received: float | None = None

        self._stream = stream
        self._accept = accept
        self._max_streams = max_streams
        self._keepalive = math.inf if keepalive is None else keepalive
        self._peer_slots = self.machine.remote_settings.max_concurrent_streams
        self._receipts = Credit(windows.connection // 4)
        self._unsent = Wakeup()
        self._up = trio.Event()
        self._ended = trio.Event()
        self._scope: trio.CancelScope | None = None
        # How it ends: at once; or when the last stream has; with a word to the peer before, or without.
        self._doomed = False
        self._leaving = False
        self._parting: WireError | None = None
        self._last_words = False

    # -- life

    async def run(self, *, task_status: trio.TaskStatus[Connection] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the connection until it ends; ``started`` is called at once, see `wait_up`.

        Cancelling it is an abrupt end: handlers are cancelled, the stream is closed.
        """
        try:
            async with trio.open_nursery() as handlers:
                self._scope = handlers.cancel_scope
                if self._doomed:
                    self._scope.cancel()
                self.heard_at = trio.current_time()
                self.machine.initiate_connection()
                handlers.start_soon(self._write)
                task_status.started(self)
                await self._read(handlers)
                if self._last_words:
                    # The writer cancels this when all is said.
                    self._unsent.wake()
                    await trio.sleep(limits.CLOSE_GRACE)
                handlers.cancel_scope.cancel()
        finally:
            self._end(self._parting)
            with trio.move_on_after(limits.CLOSE_GRACE, shield=True) as closing:
                if not self._last_words:
                    closing.cancel()
                await self._close_stream()
            self._ended.set()

    async def wait_up(self) -> None:
        """Wait until the peer's SETTINGS have arrived: only then has it accepted our certificate.

        Raises: LinkRefusedError — it refused us. LinkLostError — the connection ended before.
        """
        await self._up.wait()
        if self.closed:
            raise self.error or ConnectionLostError("the connection was closed")

    async def wait_closed(self) -> None:
        """Wait until the connection has ended, whyever; see `error`."""
        await self._ended.wait()

    async def drain(self, grace: float) -> None:
        """Say goodbye (GOAWAY, RFC 9113 §6.8), let open streams finish for ``grace`` seconds, and close.

        No stream is accepted or opened from now on. Returns when the connection has ended.
        """
        with trio.move_on_after(grace):
            if not self.closed and not self._leaving:
                self.machine.say_goodbye(self.machine.highest_inbound_stream_id)
                self.flush()
            self._leave()
            await self._ended.wait()
            return
        self.close_now()
        await self._ended.wait()

    def close_now(self) -> None:
        """End the connection without ado."""
        self._doomed = True
        if self._scope is not None:
            self._scope.cancel()

    def lose(self, reason: str) -> None:
        """End the connection because the peer failed us."""
        self._end(ConnectionLostError(reason))
        self.close_now()

    def get_peer(self) -> Peer:
        return self.peer

    # -- for streams

    def create_stream(self) -> H2Stream:
        """Make a stream for `H2Stream.send_request`; the caller must close it."""
        return H2Stream(self)

    def check_open(self) -> None:
        """Raises: ConnectionLostError — no stream can be opened any more."""
        if self.closed or self._leaving:
            raise self._lost()

    def next_stream_id(self) -> int:
        """Raises: ConnectionLostError — no stream can be opened any more, also after 2^30 of them."""
        self.check_open()
        try:
            return self.machine.get_next_available_stream_id()
        except NoAvailableStreamIDError:
            self._leave(ConnectionLostError("the connection has used up its stream ids"))
            raise self._lost() from None

    def flush(self) -> None:
        """Let the writer know of output. A peer that lets it pile up is not reading: the end."""
        pending = self.machine.pending
        if pending:
            if pending > limits.OUTPUT_CAP and not self.closed:
                self.lose("the peer does not read what it asks for")
            self._unsent.wake()

    def forget(self, stream: H2Stream) -> None:
        """Free the HTTP/2 state of a stream if it has ended on both sides."""
        if self.machine.forget(stream.id):
            self.slots.leave()

    def release(self, stream: H2Stream) -> None:
        """Forget a stream that nobody holds any more."""
        if self.streams.pop(stream.id, None) is not None:
            self._finish_leaving()

    def ping(self) -> None:
        """Ask for a sign of life."""
        self.machine.ping(b"pharosvp")
        self.flush()

    # -- tasks

    async def _read(self, handlers: trio.Nursery) -> None:
        """Receive until the peer ends, breaks or has been silent for too long."""
        misses = 0
        try:
            while misses < limits.KEEPALIVE_MISSES:
                heard_at = self.heard_at
                with trio.CancelScope(deadline=heard_at + (misses + 1) * self._keepalive):
                    await self._receive(handlers)
                    return
                misses = 0 if self.heard_at > heard_at else misses + 1
                if 0 < misses < limits.KEEPALIVE_MISSES:
                    self.ping()
            self._end(ConnectionLostError(f"the peer has been silent for {misses * self._keepalive:g} s"))
        except ProtocolError as error:
            self._last_words = True
            self._end(ConnectionLostError(f"the peer broke the protocol: {error}"))
        except TlsAlertError as error:
            refused = not self._up.is_set()
            self._end(LinkRefusedError(str(error)) if refused else ConnectionLostError(str(error)))
        except (trio.BrokenResourceError, trio.ClosedResourceError, WireError) as error:
            self._end(ConnectionLostError(f"the connection broke: {error}"))

    async def _receive(self, handlers: trio.Nursery) -> None:
        """Receive until the peer ends. May be cancelled: it waits in ``receive_some`` only."""
        while data := await self._stream.receive_some(_RECEIVE_SIZE):
            self.heard_at = trio.current_time()
            while True:
                for event in self._parse(data):
                    on_event = _ON_EVENT.get(event.__class__)
                    if on_event is not None:
                        on_event(self, event, handlers)
                self.flush()
                if not self.machine.unparsed:
                    break
                data = b""
                await trio.lowlevel.cancel_shielded_checkpoint()
        self._end(self._parting or ConnectionLostError("the peer closed the connection"))

    def _parse(self, data: bytes | bytearray) -> list[h2_events.Event]:
        try:
            return self.machine.receive_data(data)
        except ProtocolError:
            raise
        # Whatever else h2 and hpack stumble over, the peer's bytes brought it about.
        except Exception as error:
            if not isinstance(error, ValueError):
                log.warning("bytes of %s made the parser fail", self.peer.address, exc_info=True)
            self.machine.close_connection(ErrorCodes.PROTOCOL_ERROR)
            raise ProtocolError(f"unparsable: {error!r}") from error

    async def _write(self) -> None:
        machine = self.machine
        try:
            while True:
                while not machine.pending:
                    if self._last_words:
                        self.close_now()
                        return
                    await self._unsent.wait()
                data = machine.data_to_send()
                self.room.leave()
                await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError, WireError):
            # What the peer said last, a TLS alert for instance, tells more than that it stopped listening:
            # the reader has a moment to find it.
            await trio.sleep(limits.CLOSE_GRACE)
            self.lose("the peer stopped listening")

    async def _serve(self, stream: H2Stream, scope: trio.CancelScope, accept: Accept) -> None:
        try:
            with scope:
                await accept(stream)
        # Cancelled may come along in the group, when the connection ends while the handler fails.
        except* Exception as errors:
            if is_peer_fault(errors):
                log.info("stream ended: %r", errors)
            else:
                log.exception("a stream handler failed")
        finally:
            stream.close()

    # -- ending

    def _leave(self, reason: WireError | None = None) -> None:
        """Open and accept no more; end when the last stream has ended."""
        if not self._leaving:
            self._leaving = True
            self._parting = reason
            self.slots.release_all()
            self._finish_leaving()

    def _finish_leaving(self) -> None:
        if self._leaving and not self.streams and not self.closed:
            self._last_words = True
            self._unsent.wake()

    def _end(self, error: WireError | None = None) -> None:
        if self.closed:
            return
        self.closed = True
        self.error = error
        if error is not None:
            log.info("connection with %s ended: %s", self.peer.address, error)
        for stream in list(self.streams.values()):
            stream.fail(self._lost())
        self._up.set()
        for gate in (self.room, self.credit, self.slots):
            gate.release_all()

    def _lost(self) -> ConnectionLostError:
        return ConnectionLostError(str(self.error or self._parting or "the connection was closed"))

    async def _close_stream(self) -> None:
        try:
            await self._stream.aclose()
        except (trio.BrokenResourceError, WireError) as error:
            log.debug("closing: %r", error)

    # -- what senders wait for

    def _has_room(self) -> bool:
        return self.machine.pending < limits.OUTPUT_HIGH or self.closed

    def _has_credit(self) -> bool:
        return self.machine.outbound_flow_control_window > 0 or self.closed

    def _has_slot(self) -> bool:
        return self.machine.open_outbound_streams < self._peer_slots or self._leaving or self.closed

    # -- events

    def _on_request(self, event: h2_events.RequestReceived, handlers: trio.Nursery) -> None:
        stream = H2Stream(self, event.stream_id)
        stream.headers = self._check_headers(event.headers)
        # A handler counts until it has really ended, however soon the peer resets (row 36). h2 bounds the open
        # streams by max_streams; as many again may be ending.
        if self._accept is None or self._leaving or len(self.streams) >= 2 * self._max_streams:
            stream.reset_nowait(ErrorCodes.REFUSED_STREAM)
            return
        self.streams[stream.id] = stream
        stream.ended = event.stream_ended is not None
        stream.scope = scope = trio.CancelScope()
        handlers.start_soon(self._serve, stream, scope, self._accept)

    def _on_response(self, event: h2_events.ResponseReceived, _handlers: trio.Nursery) -> None:
        headers = self._check_headers(event.headers)
        if (stream := self.streams.get(event.stream_id)) is not None:
            stream.on_headers(headers)

    def _on_data(self, event: h2_events.DataReceived, _handlers: trio.Nursery) -> None:
        size = event.flow_controlled_length
        if increment := self._receipts.add(size):
            self.machine.increment_flow_control_window(increment)
        if (stream := self.streams.get(event.stream_id)) is not None:
            stream.on_data(event.data, padding=size - len(event.data))

    def _on_trailers(self, event: h2_events.TrailersReceived, _handlers: trio.Nursery) -> None:
        trailers = self._check_headers(event.headers)
        if (stream := self.streams.get(event.stream_id)) is not None:
            stream.on_trailers(trailers)

    def _on_end(self, event: h2_events.StreamEnded, _handlers: trio.Nursery) -> None:
        if (stream := self.streams.get(event.stream_id)) is not None:
            stream.on_end()
            self.forget(stream)

    def _on_reset(self, event: h2_events.StreamReset, _handlers: trio.Nursery) -> None:
        if (stream := self.streams.get(event.stream_id)) is not None:
            stream.on_reset(StreamResetError(event.error_code))
            self.forget(stream)

    def _on_window(self, event: h2_events.WindowUpdated, _handlers: trio.Nursery) -> None:
        if event.stream_id == 0:
            self.credit.leave()
        elif (stream := self.streams.get(event.stream_id)) is not None:
            stream.on_credit()

    def _on_settings(self, event: h2_events.RemoteSettingsChanged, _handlers: trio.Nursery) -> None:
        self._up.set()
        if SettingCodes.INITIAL_WINDOW_SIZE in event.changed_settings:
            for stream in self.streams.values():
                stream.on_credit()
        self._peer_slots = self.machine.remote_settings.max_concurrent_streams
        self.slots.leave()

    def _on_goaway(self, event: h2_events.ConnectionTerminated, _handlers: trio.Nursery) -> None:
        reason = ConnectionLostError(f"the peer said goodbye (code {event.error_code})")
        for stream in list(self.streams.values()):
            # Its own streams the peer will finish, and ours up to the last it has seen.
            if self.client_side and stream.id > (event.last_stream_id or 0):
                stream.fail(reason)
        self._leave(reason)

    def _check_headers(self, headers: list[Any]) -> Headers:
        if len(headers) > limits.MAX_HEADER_FIELDS:
            self.machine.close_connection(ErrorCodes.ENHANCE_YOUR_CALM)
            raise DenialOfServiceError(f"{len(headers)} header fields")
        return headers


_OnEvent = Callable[[Connection, Any, trio.Nursery], None]
_ON_EVENT: Final[dict[type[h2_events.Event], _OnEvent]] = {
    h2_events.RequestReceived: Connection._on_request,
    h2_events.ResponseReceived: Connection._on_response,
    h2_events.DataReceived: Connection._on_data,
    h2_events.TrailersReceived: Connection._on_trailers,
    h2_events.StreamEnded: Connection._on_end,
    h2_events.StreamReset: Connection._on_reset,
    h2_events.WindowUpdated: Connection._on_window,
    h2_events.RemoteSettingsChanged: Connection._on_settings,
    h2_events.ConnectionTerminated: Connection._on_goaway,
}
