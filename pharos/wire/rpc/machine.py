"""h2's connection machine, with what a long-lived connection of many streams needs besides. Sans-IO.

h2's methods overridden here are private to it; tests/wire/rpc/test_machine.py is the contract that tells when
a new release moves them.
"""

import logging
from typing import Final

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, Event
from h2.exceptions import InvalidBodyLengthError, ProtocolError, StreamClosedError
from h2.settings import SettingCodes
from hyperframe.frame import DataFrame, Frame, GoAwayFrame, HeadersFrame, RstStreamFrame

from pharos.wire.rpc import limits
from pharos.wire.rpc.flow import Windows
from pharos.wire.rpc.guard import Tally
from pharos.wire.rpc.settings import CompactSettings

# At DEBUG it writes every header's value, several lines each: no place for metadata, and ten times the cost.
logging.getLogger("hpack").setLevel(logging.INFO)

# RFC 9113 §5.1.1: streams that clients open have odd numbers. There are no others, for we refuse pushes.
_CLIENT_STREAMS: Final = 1


class Machine(H2Connection):
    """One HTTP/2 connection, in either role: bytes in, events out; calls in, bytes out."""

    MAX_CLOSED_STREAMS = limits.REMEMBERED_STREAMS

    def __init__(self, *, client_side: bool, windows: Windows, max_streams: int) -> None:
        super().__init__(
            H2Configuration(
                client_side=client_side,
                header_encoding="ascii",
                # What comes in is checked (RFC 9113 §8.2, §8.3). What goes out we made, or had checked.
                validate_inbound_headers=True,
                normalize_inbound_headers=False,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        self.local_settings: CompactSettings = CompactSettings(
            client=client_side,
            initial_values={
                SettingCodes.ENABLE_PUSH: 0,
                SettingCodes.INITIAL_WINDOW_SIZE: windows.stream,
                SettingCodes.MAX_CONCURRENT_STREAMS: max_streams,
                SettingCodes.MAX_HEADER_LIST_SIZE: limits.MAX_HEADER_LIST,
            },
        )
        self.remote_settings: CompactSettings = CompactSettings(client=not client_side)
        # The setting is advice to the peer; this is the bound, in force before it acknowledges.
        self.decoder.max_header_list_size = limits.MAX_HEADER_LIST
        self._windows = windows
        self.tally = Tally()

    def initiate_connection(self) -> None:
        """Queue the preface, our SETTINGS and the connection's window."""
        super().initiate_connection()
        if self._windows.connection_increment:
            self.increment_flow_control_window(self._windows.connection_increment)

    @property
    def pending(self) -> int:
        """Bytes of output that `data_to_send` would return."""
        return len(self._data_to_send)

    def say_goodbye(self, last_stream_id: int) -> None:
        """Queue a graceful GOAWAY; h2's own ends the connection for the streams in progress, too."""
        frame = GoAwayFrame(0, last_stream_id=last_stream_id, error_code=ErrorCodes.NO_ERROR)
        self._prepare_for_sending([frame])

    def _prepare_for_sending(self, frames: list[Frame]) -> None:
        # The one place that all resets pass, h2's own for a peer's mistakes included (security.md row 37).
        if not self.config.client_side:
            self.tally.resets += sum(frame.__class__ is RstStreamFrame for frame in frames)
        super()._prepare_for_sending(frames)

    def _handle_data_on_closed_stream(
        self, events: list[Event], exc: StreamClosedError, frame: DataFrame
    ) -> tuple[list[Frame], list[Event]]:
        # RFC 9113 §5.1: what was in flight when we reset a stream is ignored. h2 answers each frame with one more
        # reset, a thousand for an upload of small messages.
        # What the peer itself has ended it must not go on with: that is reset, once, and is in ``exc`` as an event.
        was_open = bool(exc._events)
        frames, events = super()._handle_data_on_closed_stream(events, exc, frame)
        if not was_open:
            frames = [answer for answer in frames if answer.__class__ is not RstStreamFrame]
        return frames, events

    def _receive_rst_stream_frame(self, frame: RstStreamFrame) -> tuple[list[Frame], list[Event]]:
        # RFC 9113 §6.4. h2 lets it pass once there has been a stream.
        ours = self._stream_id_is_outbound(frame.stream_id)
        if frame.stream_id > (self.highest_outbound_stream_id if ours else self.highest_inbound_stream_id):
            raise ProtocolError("RST_STREAM of an idle stream")
        return super()._receive_rst_stream_frame(frame)

    def _receive_headers_frame(self, frame: HeadersFrame) -> tuple[list[Frame], list[Event]]:
        stream = self.streams.get(frame.stream_id)
        expected = None if stream is None else stream._expected_content_length
        frames, events = super()._receive_headers_frame(frame)
        stream = self.streams.get(frame.stream_id)
        # RFC 9113 §8.1.1. h2 looks where DATA ends a stream, and not where HEADERS or trailers do. In a response the
        # field may tell of a body that is not sent.
        if "END_STREAM" in frame.flags and stream is not None and not self.config.client_side:
            # With trailers h2 forgets what the request said.
            expected = stream._expected_content_length if expected is None else expected
            if expected is not None and expected != stream._actual_content_length:
                raise InvalidBodyLengthError(expected, stream._actual_content_length)
        return frames, events

    # A stream may have ended in bytes that are parsed already, while the events before its end are handled.

    def reset(self, stream_id: int, error_code: ErrorCodes | int) -> None:
        """Queue RST_STREAM, unless the stream has ended."""
        if self._is_open(stream_id):
            self.reset_stream(stream_id, error_code)

    def give_credit(self, stream_id: int, size: int) -> None:
        """Queue WINDOW_UPDATE for a stream, unless it has ended."""
        if self._is_open(stream_id):
            self.increment_flow_control_window(size, stream_id)

    def _is_open(self, stream_id: int) -> bool:
        stream = self.streams.get(stream_id)
        return stream is not None and not stream.closed

    def forget(self, stream_id: int) -> bool:
        """Drop a stream's state if both sides are done with it; tell whether it was dropped."""
        stream = self.streams.get(stream_id)
        if stream is None or not stream.closed:
            return False
        del self.streams[stream_id]
        self._closed_streams[stream_id] = stream.closed_by
        return True

    def _open_streams(self, remainder: int) -> int:
        # h2 walks all streams for each new one, 340 us at 2,500 (passage.md §2). Their number is enough, unless
        # it reaches the limit: then some may have ended in the very bytes that are being parsed.
        if remainder != _CLIENT_STREAMS:
            return 0
        settings = self.remote_settings if self.config.client_side else self.local_settings
        known = len(self.streams)
        return known if known < settings.max_concurrent_streams else super()._open_streams(remainder)

    def _receive_goaway_frame(self, frame: GoAwayFrame) -> tuple[list[Frame], list[Event]]:
        # h2 treats GOAWAY as the end of the connection; RFC 9113 §6.8 lets the streams up to last_stream_id
        # finish, which is what a server that drains relies on.
        event = ConnectionTerminated()
        event.error_code = frame.error_code
        event.last_stream_id = frame.last_stream_id
        event.additional_data = frame.additional_data or None
        return [], [event]
