"""The four frames that calls are made of, without h2's object per frame. Sans-IO.

Nine frames in ten are DATA and HEADERS in their plainest form on an open stream. h2 makes a frame object, a
validation pipeline and a state-table walk of each, which is two thirds of what a call costs. `HotMachine` does
those by hand on h2's own state, and gives every other frame, and every odd one, to h2 whole. That both do the
same is shown by running them against each other (tests/wire/rpc/test_hotpath.py).
"""

from typing import Any, Final, NoReturn

from h2.connection import AllowedStreamIDs, ConnectionInputs
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    InformationalResponseReceived,
    RequestReceived,
    ResponseReceived,
    TrailersReceived,
)
from h2.exceptions import DenialOfServiceError, FrameDataMissingError, FrameTooLargeError, ProtocolError
from h2.stream import H2Stream as H2StreamState
from h2.stream import StreamInputs, StreamState

from pharos.wire.rpc import limits
from pharos.wire.rpc.flow import Windows
from pharos.wire.rpc.plainframes import HEADER, OPEN, READY, RST_STREAM, PlainMachine

_HEADER_SIZE: Final = HEADER.size
_DATA: Final = 0x0
_HEADERS: Final = 0x1
_SETTINGS: Final = 0x4
_CONTINUATION: Final = 0x9
_END_STREAM: Final = 0x1
_ACK: Final = 0x1
_END_HEADERS: Final = 0x4
_PREFACE_SIZE: Final = 24

# A burst of calls is taken in by the dozen, so that the first are answered while the next are read, and no
# peer's burst holds up the others. A call makes two or three frames.
_FRAMES_PER_TURN: Final = 32

_RECEIVING: Final = (StreamState.OPEN, StreamState.HALF_CLOSED_LOCAL)
_SENDING: Final = (StreamState.OPEN, StreamState.HALF_CLOSED_REMOTE)
_HEADER_EVENTS: Final = (RequestReceived, ResponseReceived, TrailersReceived)


class HotMachine(PlainMachine):
    """A `Machine` with shortcuts."""

    def __init__(self, *, client_side: bool, windows: Windows, max_streams: int) -> None:
        super().__init__(client_side=client_side, windows=windows, max_streams=max_streams)
        self._preface_left = 0 if client_side else _PREFACE_SIZE
        self._partial = bytearray()
        self.unparsed = False
        """Whole frames are left over from the last `receive_data`."""
        self.frames = 0
        """Frames received so far."""
        self.missing = 0
        """Octets that the frame begun last still lacks, as far as is known; 0 between frames."""
        self.header_known = False
        """Whether the header of that frame is whole, and with it its length."""
        self.header_blocks = 0
        """Header blocks begun that were not whole in their first frame."""
        self._block_size = 0
        self._first = True
        # The DATA frame at the very end of the output, to which more data of its stream may still be added.
        self._last_data = (0, 0, 0)

    # -- receiving

    def receive_data(self, data: Any) -> list[Event]:
        """As h2's, but for a turn's worth of frames at a time: while `unparsed` is true, call again without data.

        A frame too large is refused by its header, before it comes.
        """
        if self._preface_left:
            preface, data = data[: self._preface_left], data[self._preface_left :]
            self._preface_left -= len(preface)
            super().receive_data(preface)
        if self._partial:
            self._partial += data
            data = self._partial
        events: list[Event] = []
        position, size = 0, len(data)
        frames_left = _FRAMES_PER_TURN
        self.unparsed = self.header_known = False
        self.missing = 0
        while size - position >= _HEADER_SIZE:
            high, low, kind, flags, stream_id = HEADER.unpack_from(data, position)
            length = high << 8 | low
            if length > self.max_inbound_frame_size:
                self._terminate_connection(ErrorCodes.FRAME_SIZE_ERROR)
                raise FrameTooLargeError(f"a frame of {length} bytes")
            end = position + _HEADER_SIZE + length
            if end > size:
                self.missing = end - size
                self.header_known = True
                break
            if not frames_left:
                self.unparsed = True
                break
            frames_left -= 1
            if kind > _HEADERS or not length or (kind and not flags & _END_HEADERS):
                self._check(kind, flags, length)
                self._count(kind, flags, length)
            elif self._first:
                self._refuse_first()
            if not self._shortcut(kind, flags, stream_id, data[position + _HEADER_SIZE : end], events):
                events += super().receive_data(data[position:end])
            position = end
        self.frames += _FRAMES_PER_TURN - frames_left
        if position < size or self._partial:
            self._partial = bytearray(data[position:])
            if self._partial and not self.missing and not self.unparsed:
                self.missing = _HEADER_SIZE - len(self._partial)
        return events

    @property
    def in_header_block(self) -> bool:
        """Whether a header block has begun that more frames have to end."""
        return bool(self.incoming_buffer._headers_buffer)

    def _check(self, kind: int, flags: int, length: int) -> None:
        """Refuse what h2 lets pass, or refuses with another code than RFC 9113 asks for."""
        acknowledges = kind == _SETTINGS and flags & _ACK
        if self._first:
            if kind != _SETTINGS or acknowledges:
                self._refuse_first()
            self._first = False
        if acknowledges and length:
            # §6.5
            self._terminate_connection(ErrorCodes.FRAME_SIZE_ERROR)
            raise FrameDataMissingError("an acknowledgement with settings in it")
        if kind == _CONTINUATION and not self.in_header_block:
            # §6.10
            self._terminate_connection(ErrorCodes.PROTOCOL_ERROR)
            raise ProtocolError("CONTINUATION of nothing")

    def _refuse_first(self) -> NoReturn:
        """RFC 9113 §3.4: a preface ends with SETTINGS, which are the peer's first frame."""
        self._terminate_connection(ErrorCodes.PROTOCOL_ERROR)
        raise ProtocolError("the first frame is not SETTINGS")

    def _count(self, kind: int, flags: int, length: int) -> None:
        """Note a frame that is no plain step of a call, for `pharos.wire.rpc.guard`."""
        if kind == _HEADERS:
            self.header_blocks += 1
            self._block_size = length
        elif kind == RST_STREAM:
            # A client is not hurt by resets: it has as many streams as it opened itself.
            self.tally.resets += not self.config.client_side
        elif kind != _DATA or not flags & _END_STREAM:
            self.tally.control += 1
            if kind == _CONTINUATION:
                self._block_size += length
                if self._block_size > limits.MAX_HEADER_BLOCK:
                    self._terminate_connection(ErrorCodes.ENHANCE_YOUR_CALM)
                    raise DenialOfServiceError(f"a header block of more than {limits.MAX_HEADER_BLOCK} bytes")

    def _shortcut(self, kind: int, flags: int, stream_id: int, payload: bytes, events: list[Event]) -> bool:
        """Do what h2 would, if it is plain; return whether it was."""
        # Between the frames of a header block nothing else may come: h2 will say so.
        if self.incoming_buffer._headers_buffer:
            return False
        if kind > _HEADERS:
            return self._receive_plain_control(kind, flags, stream_id, payload, events)
        if self.state_machine.state not in (OPEN if kind == _DATA or self.config.client_side else READY):
            return False
        stream = self.streams.get(stream_id)
        if kind == _DATA:
            if stream is None or flags & ~_END_STREAM:
                return False
            return self._receive_plain_data(stream, payload, flags, events)
        if flags & ~_END_STREAM != _END_HEADERS:
            return False
        return self._receive_plain_headers(stream, stream_id, bytes(payload), flags, events)

    def _receive_plain_data(self, stream: H2StreamState, payload: bytes, flags: int, events: list[Event]) -> bool:
        size = len(payload)
        ours, its = self._inbound_flow_control_window_manager, stream._inbound_window_manager
        if (
            stream.state_machine.state not in _RECEIVING
            or not stream.state_machine.headers_received
            or stream._expected_content_length is not None
            or size > ours.current_window_size
            or size > its.current_window_size
        ):
            return False
        ours.current_window_size -= size
        its.current_window_size -= size
        stream._actual_content_length += size
        event = DataReceived(stream_id=stream.stream_id, data=payload, flow_controlled_length=size)
        events.append(event)
        if flags:
            ended: list[Any] = stream.state_machine.process_input(StreamInputs.RECV_END_STREAM)
            event.stream_ended = ended[0]
            events += ended
        return True

    def _receive_plain_headers(
        self, stream: H2StreamState | None, stream_id: int, block: bytes, flags: int, events: list[Event]
    ) -> bool:
        kind: type[RequestReceived] | type[ResponseReceived] | type[TrailersReceived]
        ends = bool(flags & _END_STREAM)
        if stream is None:
            kind = RequestReceived
            fits = (
                not self.config.client_side
                and stream_id % 2 == 1
                and stream_id > self.highest_inbound_stream_id
                and len(self.streams) < self.local_settings.max_concurrent_streams
            )
        elif self.config.client_side and not stream.state_machine.headers_received:
            kind = ResponseReceived
            fits = stream.state_machine.state in _RECEIVING
        else:
            kind = TrailersReceived
            fits = (
                stream.state_machine.state in _RECEIVING
                and not stream.state_machine.trailers_received
                and stream._expected_content_length is None
                and ends
            )
        headers = self.decoder.recall(block, kind) if fits else None
        if headers is None:
            return self._receive_headers_whole(stream_id, block, flags, events)
        if stream is None:
            self.state_machine.process_input(ConnectionInputs.RECV_HEADERS)
            stream = self._begin_new_stream(stream_id, AllowedStreamIDs.ODD)
        received: list[Any] = stream.state_machine.process_input(StreamInputs.RECV_HEADERS)
        received[0].headers = list(headers)
        if ends:
            ended: list[Any] = stream.state_machine.process_input(StreamInputs.RECV_END_STREAM)
            received[0].stream_ended = ended[0]
            received += ended
        events += received
        return True

    def _receive_headers_whole(self, stream_id: int, block: bytes, flags: int, events: list[Event]) -> bool:
        """Let h2 receive a header block, and learn from it for the next time."""
        size = len(block)
        frame = HEADER.pack(size >> 8, size & 0xFF, _HEADERS, flags, stream_id) + block
        received = super().receive_data(frame)
        events += received
        if received and received[0].__class__ is InformationalResponseReceived:
            # Any number of them may come before the response (RFC 9113 §8.1).
            self.tally.control += 1
        if received and isinstance(event := received[0], _HEADER_EVENTS):
            headers: list[Any] = event.headers
            if not any(name == "content-length" for name, _ in headers):
                self.decoder.remember(block, event.__class__, headers)
        return True

    # -- sending

    def send_headers(self, stream_id: int, headers: Any, end_stream: bool = False, *args: Any, **kwargs: Any) -> None:
        stream = self.streams.get(stream_id)
        machine = None if stream is None else stream.state_machine
        if (
            args
            or kwargs
            or self.state_machine.state not in (OPEN if stream is not None else READY)
            or (machine is not None and machine.headers_sent and not end_stream)
            or headers[0][1].startswith("1")
            or (machine is None and not self._may_open(stream_id))
        ):
            super().send_headers(stream_id, headers, end_stream, *args, **kwargs)
            return
        if stream is None:
            self.state_machine.process_input(ConnectionInputs.SEND_HEADERS)
            stream = self._begin_new_stream(stream_id, AllowedStreamIDs.ODD)
        stream.state_machine.process_input(StreamInputs.SEND_HEADERS)
        block = self.encoder.encode_list(headers)
        if end_stream:
            stream.state_machine.process_input(StreamInputs.SEND_END_STREAM)
        self._send_block(stream_id, block, _END_STREAM if end_stream else 0)

    def _may_open(self, stream_id: int) -> bool:
        return (
            self.config.client_side
            and stream_id % 2 == 1
            and self.open_outbound_streams < self.remote_settings.max_concurrent_streams
        )

    def _send_block(self, stream_id: int, block: bytes, flags: int) -> None:
        """Queue HEADERS, and CONTINUATION for what does not fit."""
        kind = _HEADERS
        while True:
            part, block = block[: limits.MAX_FRAME], block[limits.MAX_FRAME :]
            if not block:
                flags |= _END_HEADERS
            size = len(part)
            self._data_to_send += HEADER.pack(size >> 8, size & 0xFF, kind, flags, stream_id)
            self._data_to_send += part
            if not block:
                return
            kind, flags = _CONTINUATION, 0

    def send_data(
        self, stream_id: int, data: bytes | memoryview, end_stream: bool = False, pad_length: Any = None
    ) -> None:
        """As h2's. Data that follows data of the same stream in the output joins its frame: a receiver parses
        one frame for a hundred small messages.
        """
        stream = self.streams.get(stream_id)
        size = len(data)
        self.tally.sent += size
        if (
            stream is None
            or pad_length is not None
            or stream.state_machine.state not in _SENDING
            or self.state_machine.state not in OPEN
            or size > limits.MAX_FRAME
            or size > self.outbound_flow_control_window
            or size > stream.outbound_flow_control_window
        ):
            super().send_data(stream_id, data, end_stream, pad_length)
            return
        self.outbound_flow_control_window -= size
        stream.outbound_flow_control_window -= size
        if end_stream:
            stream.state_machine.process_input(StreamInputs.SEND_END_STREAM)
        out = self._data_to_send
        flags = _END_STREAM if end_stream else 0
        last_id, start, end = self._last_data
        joined = end - start - _HEADER_SIZE + size
        if last_id == stream_id and end == len(out) and joined <= limits.MAX_FRAME:
            HEADER.pack_into(out, start, joined >> 8, joined & 0xFF, _DATA, flags, stream_id)
        else:
            start = len(out)
            out += HEADER.pack(size >> 8, size & 0xFF, _DATA, flags, stream_id)
        out += data
        self._last_data = (0 if end_stream else stream_id, start, len(out))

    def data_to_send(self, amount: int | None = None) -> Any:
        """As h2's, but without a copy when all is asked for."""
        self._last_data = (0, 0, 0)
        if amount is not None:
            return super().data_to_send(amount)
        data, self._data_to_send = self._data_to_send, bytearray()
        return data
