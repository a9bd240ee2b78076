"""What a connection begins and ends with, without h2's object per frame: SETTINGS, WINDOW_UPDATE, resets. Sans-IO.

A connection for one call spends as much on these as on the call, and a flood of resets is made of nothing else. As in
`pharos.wire.rpc.hotpath`, the plain form of each is done by hand on h2's own state, and every odd one is h2's.
"""

from __future__ import annotations

import functools
from struct import Struct
from typing import Any, Final

from h2.connection import ConnectionInputs, ConnectionState, H2Connection, H2ConnectionStateMachine
from h2.errors import ErrorCodes, _error_code_from_int
from h2.events import (
    ConnectionTerminated,
    Event,
    RemoteSettingsChanged,
    SettingsAcknowledged,
    StreamReset,
    WindowUpdated,
)
from h2.frame_buffer import FrameBuffer
from h2.settings import SettingCodes
from h2.stream import StreamInputs, StreamState
from h2.utilities import SizeLimitDict
from h2.windows import WindowManager
from hyperframe.frame import Frame

from pharos.wire.rpc import limits
from pharos.wire.rpc.flow import Windows
from pharos.wire.rpc.guard import Tally
from pharos.wire.rpc.headerblocks import RememberingDecoder, RememberingEncoder
from pharos.wire.rpc.machine import Machine
from pharos.wire.rpc.settings import parse_settings

# RFC 9113 §4.1: length in 24 bits, type, flags, stream id.
HEADER: Final = Struct(">HBBBL")
RST_STREAM: Final = 0x3
_SETTINGS: Final = 0x4
_GOAWAY: Final = 0x7
_WINDOW_UPDATE: Final = 0x8
_ACK: Final = 0x1
_WORD: Final = Struct(">L")
_RESET: Final = Struct(">HBBBLL")
_GOAWAY_BODY: Final = Struct(">LL")
_GOAWAY_FRAME: Final = Struct(">HBBBLLL")
_SETTINGS_ACK: Final = HEADER.pack(0, 0, _SETTINGS, _ACK, 0)
_LARGEST_WINDOW: Final = 2**31 - 1
_LARGEST_STREAM_ID: Final = 2**31 - 1

OPEN: Final = (ConnectionState.CLIENT_OPEN, ConnectionState.SERVER_OPEN)
READY: Final = (*OPEN, ConnectionState.IDLE)
_LIVE: Final = (StreamState.OPEN, StreamState.HALF_CLOSED_LOCAL, StreamState.HALF_CLOSED_REMOTE)


class PlainMachine(Machine):
    """A `Machine` with shortcuts for what surrounds the calls."""

    encoder: RememberingEncoder
    decoder: RememberingDecoder

    def __init__(self, *, client_side: bool, windows: Windows, max_streams: int) -> None:
        # What `Machine` and h2 make in their own constructors, with less ado: a copy of what they made once, each
        # mutable part new. That none is shared is for tests/wire/rpc/test_plainframes.py to say.
        model, self._opening = _model(client_side, windows, max_streams)
        self.__dict__.update(vars(model))
        del self.__dict__["_frame_dispatch_table"]
        self.tally = Tally()
        self.state_machine = H2ConnectionStateMachine()
        self.streams = {}
        self.encoder = RememberingEncoder()
        self.decoder = RememberingDecoder()
        self.decoder.max_header_list_size = limits.MAX_HEADER_LIST
        self.local_settings = model.local_settings.copy()
        self.remote_settings = model.remote_settings.copy()
        self.incoming_buffer = FrameBuffer(server=not client_side)
        self._header_frames = []
        self._data_to_send = bytearray()
        self._closed_streams = SizeLimitDict(size_limit=self.MAX_CLOSED_STREAMS)
        self._inbound_flow_control_window_manager = WindowManager(model.inbound_flow_control_window)

    @property
    def _frame_dispatch_table(self) -> Any:  # type: ignore[override]
        # h2 keeps twelve bound methods in each connection, which makes it a cycle that only the collector can free.
        return _Dispatch(self)

    def initiate_connection(self) -> None:
        self.state_machine.process_input(ConnectionInputs.SEND_SETTINGS)
        if increment := self._windows.connection_increment:
            self._inbound_flow_control_window_manager.window_opened(increment)
        self._data_to_send += self._opening

    def reset_stream(self, stream_id: int, error_code: ErrorCodes | int = 0) -> None:
        stream = self.streams.get(stream_id)
        if stream is None or stream.state_machine.state not in _LIVE or self.state_machine.state not in OPEN:
            super().reset_stream(stream_id, error_code)
            return
        stream.state_machine.process_input(StreamInputs.SEND_RST_STREAM)
        self.tally.resets += not self.config.client_side
        self._data_to_send += _RESET.pack(0, _WORD.size, RST_STREAM, 0, stream_id, error_code)

    def _receive_plain_control(
        self, kind: int, flags: int, stream_id: int, payload: bytes, events: list[Event]
    ) -> bool:
        """Do what h2 would with a frame that is neither DATA nor HEADERS, if it is plain; return whether it was."""
        if self.state_machine.state not in READY:
            return False
        if kind == _WINDOW_UPDATE:
            return len(payload) == _WORD.size and self._receive_plain_window(stream_id, payload, events)
        if kind == RST_STREAM:
            return len(payload) == _WORD.size and self._receive_plain_reset(stream_id, payload, events)
        if stream_id:
            return False
        if kind == _GOAWAY:
            return len(payload) == _GOAWAY_BODY.size and self._receive_plain_goaway(payload, events)
        if kind != _SETTINGS:
            return False
        if flags == _ACK and not payload:
            acknowledged = SettingsAcknowledged()
            acknowledged.changed_settings = self._local_settings_acked()
            events.append(acknowledged)
            return True
        return not flags and self._receive_plain_settings(payload, events)

    def _receive_plain_settings(self, payload: bytes, events: list[Event]) -> bool:
        # The windows of open streams would change too, and might overflow.
        changed = None if self.streams else parse_settings(payload, client=not self.config.client_side)
        if changed is None:
            return False
        event = RemoteSettingsChanged()
        event.changed_settings = {change.setting: change for change in self.remote_settings.receive(changed)}
        events.append(event)
        if SettingCodes.HEADER_TABLE_SIZE in changed:
            self.encoder.header_table_size = self.remote_settings.header_table_size
        if SettingCodes.MAX_FRAME_SIZE in changed:
            self.max_outbound_frame_size = self.remote_settings.max_frame_size
        self._data_to_send += _SETTINGS_ACK
        return True

    def _receive_plain_window(self, stream_id: int, payload: bytes, events: list[Event]) -> bool:
        (increment,) = _WORD.unpack(payload)
        if stream_id:
            stream = self.streams.get(stream_id)
            if stream is None or stream.state_machine.state not in _LIVE:
                return False
            window = stream.outbound_flow_control_window + increment
            if not increment or window > _LARGEST_WINDOW:
                return False
            stream.outbound_flow_control_window = window
        else:
            window = self.outbound_flow_control_window + increment
            if not increment or window > _LARGEST_WINDOW:
                return False
            self.outbound_flow_control_window = window
        events.append(WindowUpdated(stream_id=stream_id, delta=increment))
        return True

    def _receive_plain_reset(self, stream_id: int, payload: bytes, events: list[Event]) -> bool:
        stream = self.streams.get(stream_id)
        if stream is None or stream.state_machine.state not in _LIVE:
            return False
        received: list[Any] = stream.state_machine.process_input(StreamInputs.RECV_RST_STREAM)
        reset: StreamReset = received[0]
        reset.error_code = _error_code_from_int(_WORD.unpack(payload)[0])
        events.append(reset)
        return True

    def _receive_plain_goaway(self, payload: bytes, events: list[Event]) -> bool:
        last_stream_id, error_code = _GOAWAY_BODY.unpack(payload)
        if last_stream_id > _LARGEST_STREAM_ID:
            return False
        goodbye = ConnectionTerminated()
        goodbye.error_code, goodbye.last_stream_id = error_code, last_stream_id
        events.append(goodbye)
        return True


class _Dispatch:
    """A machine's methods by the class of frame."""

    def __init__(self, machine: PlainMachine) -> None:
        self._machine = machine

    def __getitem__(self, kind: type[Frame]) -> Any:
        return getattr(self._machine, _METHODS[kind])


# There are ten kinds of connections.
@functools.lru_cache(maxsize=32)
def _model(client_side: bool, windows: Windows, max_streams: int) -> tuple[Machine, bytes]:
    """Return a machine such as are all of this kind at first, and the octets that they begin with."""
    machine = Machine(client_side=client_side, windows=windows, max_streams=max_streams)
    talker = Machine(client_side=client_side, windows=windows, max_streams=max_streams)
    talker.initiate_connection()
    return machine, bytes(talker.data_to_send())


_METHODS: Final[dict[type[Frame], str]] = {
    kind: method.__name__ for kind, method in H2Connection()._frame_dispatch_table.items()
}
