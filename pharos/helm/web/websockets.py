"""hypercorn's WebSocket with its leaks closed (row 42); the server around it is `pharos.helm.web.server`."""

from __future__ import annotations

from typing import Any

import trio
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.events import StreamClosed
from hypercorn.protocol.ws_stream import FrameTooLargeError, WSStream
from wsproto.connection import ConnectionState as WebSocketState
from wsproto.events import CloseConnection, Message, Ping
from wsproto.frame_protocol import CloseReason


class WebSocketStream(WSStream):
    """A WebSocket that ends with the message that breaks its rules, and says why (RFC 6455 §7.1.7)."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._ended = trio.Event()

    async def handle(self, event: StreamEvent) -> None:
        if isinstance(event, StreamClosed):
            self._ended.set()
        await super().handle(event)

    async def _handle_events(self) -> None:
        for event in self.connection.events():
            if isinstance(event, Message):
                try:
                    self.buffer.extend(event)
                except FrameTooLargeError:
                    self.buffer.clear()
                    await self._end(CloseReason.MESSAGE_TOO_BIG)
                    return
                if event.message_finished:
                    message = self.buffer.to_message()
                    self.buffer.clear()
                    assert self.app_put is not None, "the handshake is over"
                    await self.app_put(message)
            elif isinstance(event, Ping):
                await self._send_wsproto_event(event.response())
            elif isinstance(event, CloseConnection):
                if self.connection.state is WebSocketState.REMOTE_CLOSING:
                    await self._send_wsproto_event(event.response())
                    await self.send(StreamClosed(stream_id=self.stream_id))
                else:
                    # What came could not be read; or the other end answers our own CLOSE.
                    await self._end(event.code)
                return

    async def _end(self, code: int) -> None:
        await self._send_wsproto_event(CloseConnection(code=code))
        await self.send(StreamClosed(stream_id=self.stream_id))

    async def _send_pings(self) -> None:
        interval = self.config.websocket_ping_interval
        assert interval is not None, "hypercorn asks for pings only then"
        while True:
            # hypercorn's own would begin with one, and hold a connection that has ended for one more interval.
            with trio.move_on_after(interval):
                await self._ended.wait()
                return
            await self._send_wsproto_event(Ping())
