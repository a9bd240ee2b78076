"""What a connection's streams and its machine do to each other; no task of its own, no transport.

Calls of streams come in on one side, events of the machine on the other. What a peer's event does is decided
here and nowhere else, in `ConnectionCore.handle`; `pharos.wire.rpc.h2conn` is the shell of tasks round it.
"""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

import trio
from h2 import events as h2_events
from h2.errors import ErrorCodes
from h2.exceptions import DenialOfServiceError, NoAvailableStreamIDError
from h2.settings import SettingCodes

from pharos.wire.errors import LinkRefusedError, WireError
from pharos.wire.rpc import limits
from pharos.wire.rpc.flow import Credit, Gate, Holdings, Wakeup, Windows
from pharos.wire.rpc.h2stream import H2Stream, Headers
from pharos.wire.rpc.hotpath import HotMachine
from pharos.wire.rpc.peer import Peer
from pharos.wire.rpc.status import ConnectionLostError, StreamResetError

log = logging.getLogger(__name__)

Accept = Callable[[H2Stream], Awaitable[None]]


class ConnectionCore(ABC):
    """The state of one HTTP/2 connection, in either role."""

    __slots__ = (
        "_accept",
        "_credited_at",
        "_fresh",
        "_idle_since",
        "_last_words",
        "_leaving",
        "_max_streams",
        "_parting",
        "_peer_slots",
        "_receipts",
        "_unsent",
        "_up",
        "client_side",
        "closed",
        "credit",
        "error",
        "held",
        "holdings",
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
        *,
        client_side: bool,
        windows: Windows,
        accept: Accept | None,
        peer: Peer,
        max_streams: int,
        holdings: Holdings | None,
    ) -> None:
        self.client_side: Final = client_side
        self.windows: Final = windows
        self.peer: Final = peer
        self.machine: Final = HotMachine(client_side=client_side, windows=windows, max_streams=max_streams)
        self.streams: Final[dict[int, H2Stream]] = {}
        """Streams somebody still holds, by id; on a server, each has a running handler."""
        self.error: WireError | None = None
        """Why the connection ended; None while it lives, and after an end that we asked for."""
        self.closed = False
        self.holdings: Final = holdings
        self.held = 0
        """Octets of output, where there are `Holdings`; what has arrived is held by the streams."""
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

        self._accept = accept
        # Accepted in this turn. Their handlers start at its end: what is reset by then costs no task (row 36).
        self._fresh: list[H2Stream] = []
        self._max_streams = max_streams
        self._peer_slots = self.machine.remote_settings.max_concurrent_streams
        self._receipts = Credit(windows.connection // 4)
        self._unsent = Wakeup()
        self._credited_at = -math.inf
        self._idle_since = 0.0
        self._up = trio.Event()
        # How it ends: when the last stream has, for what reason; with a word to the peer before, or without.
        self._leaving = False
        self._parting: WireError | None = None
        self._last_words = False

    @abstractmethod
    def lose(self, reason: str) -> None:
        """End the connection because the peer failed us."""

    @abstractmethod
    def _hold_output(self) -> None:
        """Tell the holdings how much output there is."""

    def get_peer(self) -> Peer:
        return self.peer

    # -- for streams

    def create_stream(self) -> H2Stream:
        """Make a stream for `H2Stream.send_request`; the caller must close it."""
        return H2Stream(self)

    @property
    def leaving(self) -> bool:
        """Whether it opens no more streams: it has ended, or one side has said goodbye."""
        return self.closed or self._leaving

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
            if self.holdings is not None:
                self._hold_output()
            self._unsent.wake()

    def evict(self) -> None:
        """Give the connection up for the output that it keeps."""
        self.lose("the peer does not read, and keeps too much waiting")

    def forget(self, stream: H2Stream) -> None:
        """Free the HTTP/2 state of a stream if it has ended on both sides."""
        if self.machine.forget(stream.id):
            self.slots.leave()

    def release(self, stream: H2Stream) -> None:
        """Forget a stream that nobody holds any more."""
        if self.streams.pop(stream.id, None) is not None:
            if not self.streams:
                self._idle_since = trio.current_time()
            self._finish_leaving()

    def credit_is_stale(self) -> bool:
        """Tell whether the peer has given no connection credit either for as long as one waits."""
        return trio.current_time() - self._credited_at >= limits.PROGRESS_TIMEOUT

    def ping(self) -> None:
        """Ask for a sign of life."""
        self.machine.ping(b"pharosvp")
        self.flush()

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
            # It holds for ever. A method of ours would keep us, and all that we hold, for the collector to find.
            gate.holds = _always

    def _lost(self) -> ConnectionLostError:
        return ConnectionLostError(str(self.error or self._parting or "the connection was closed"))

    # -- what senders wait for

    def _has_room(self) -> bool:
        return self.machine.pending < limits.OUTPUT_HIGH or self.closed

    def _has_credit(self) -> bool:
        return self.machine.outbound_flow_control_window > 0 or self.closed

    def _has_slot(self) -> bool:
        return self.machine.open_outbound_streams < self._peer_slots or self._leaving or self.closed

    # -- events

    def handle(self, events: Iterable[h2_events.Event]) -> None:
        """Do what the peer's events ask for.

        Raises: h2's ProtocolError — they break a limit; its GOAWAY is queued.
        """
        for event in events:
            on_event = _ON_EVENT.get(event.__class__)
            if on_event is not None:
                on_event(self, event)

    def _on_request(self, event: h2_events.RequestReceived) -> None:
        stream = H2Stream(self, event.stream_id)
        stream.headers = self._check_headers(event.headers)
        # A handler counts until it has really ended, however soon the peer resets (row 36). h2 bounds the open
        # streams by max_streams; as many again may be ending.
        if self._accept is None or self._leaving or len(self.streams) >= 2 * self._max_streams:
            stream.reset_nowait(ErrorCodes.REFUSED_STREAM)
            return
        self.streams[stream.id] = stream
        stream.ended = event.stream_ended is not None
        self._fresh.append(stream)

    def _on_response(self, event: h2_events.ResponseReceived) -> None:
        headers = self._check_headers(event.headers)
        if (stream := self.streams.get(event.stream_id)) is not None:
            stream.on_headers(headers)

    def _on_data(self, event: h2_events.DataReceived) -> None:
        size = event.flow_controlled_length
        if increment := self._receipts.add(size):
            self.machine.increment_flow_control_window(increment)
        if (stream := self.streams.get(event.stream_id)) is not None:
            stream.on_data(event.data, padding=size - len(event.data))

    def _on_trailers(self, event: h2_events.TrailersReceived) -> None:
        trailers = self._check_headers(event.headers)
        if (stream := self.streams.get(event.stream_id)) is not None:
            stream.on_trailers(trailers)

    def _on_end(self, event: h2_events.StreamEnded) -> None:
        if (stream := self.streams.get(event.stream_id)) is not None:
            stream.on_end()
            self.forget(stream)

    def _on_reset(self, event: h2_events.StreamReset) -> None:
        if (stream := self.streams.get(event.stream_id)) is not None:
            stream.on_reset(StreamResetError(event.error_code))
            self.forget(stream)

    def _on_window(self, event: h2_events.WindowUpdated) -> None:
        if event.stream_id == 0:
            self._credited_at = trio.current_time()
            self.credit.leave()
        elif (stream := self.streams.get(event.stream_id)) is not None:
            stream.on_credit()

    def _on_settings(self, event: h2_events.RemoteSettingsChanged) -> None:
        self._up.set()
        if SettingCodes.INITIAL_WINDOW_SIZE in event.changed_settings:
            for stream in self.streams.values():
                stream.on_credit()
        self._peer_slots = self.machine.remote_settings.max_concurrent_streams
        self.slots.leave()

    def _on_goaway(self, event: h2_events.ConnectionTerminated) -> None:
        if self.client_side and event.error_code == ErrorCodes.INADEQUATE_SECURITY:
            # Before anything waits for the SETTINGS that came with it (`pharos.wire.rpc.server.turn_away`).
            self._end(LinkRefusedError("the peer does not admit our certificate"))
            self.lose("the peer refused us")
            return
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


def _always() -> bool:
    return True


_OnEvent = Callable[[ConnectionCore, Any], None]
_ON_EVENT: Final[dict[type[h2_events.Event], _OnEvent]] = {
    h2_events.RequestReceived: ConnectionCore._on_request,
    h2_events.ResponseReceived: ConnectionCore._on_response,
    h2_events.DataReceived: ConnectionCore._on_data,
    h2_events.TrailersReceived: ConnectionCore._on_trailers,
    h2_events.StreamEnded: ConnectionCore._on_end,
    h2_events.StreamReset: ConnectionCore._on_reset,
    h2_events.WindowUpdated: ConnectionCore._on_window,
    h2_events.RemoteSettingsChanged: ConnectionCore._on_settings,
    h2_events.ConnectionTerminated: ConnectionCore._on_goaway,
}
