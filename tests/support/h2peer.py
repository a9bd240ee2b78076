"""A peer that speaks HTTP/2 with stock h2, frame by frame, as a test tells it to."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import h2.config
import h2.connection
import h2.events
import trio
import trio.testing

from pharos.wire.rpc.h2conn import Accept, Connection

_E = TypeVar("_E", bound=h2.events.Event)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
EMPTY_SETTINGS = b"\0\0\0\4\0\0\0\0\0"


class ScriptedPeer:
    """The other end of a connection of ours."""

    def __init__(self, stream: trio.abc.Stream, *, client_side: bool) -> None:
        self.stream = stream
        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=client_side, header_encoding="ascii", validate_outbound_headers=False)
        )
        self._events: list[h2.events.Event] = []
        self.seen: list[h2.events.Event] = []
        """Every event so far."""

    async def start(self) -> None:
        self.h2.initiate_connection()
        await self.flush()

    async def flush(self) -> None:
        await self.stream.send_all(self.h2.data_to_send())

    async def wait_for(self, kind: type[_E]) -> _E:
        """Receive until an event of ``kind`` comes, and return it; those before it are dropped."""
        while True:
            while self._events:
                event = self._events.pop(0)
                if isinstance(event, kind):
                    return event
            data = await self.stream.receive_some(65536)
            assert data, f"the connection ended before {kind.__name__}"
            self._events = self.h2.receive_data(data)
            self.seen += self._events
            await self.flush()

    async def receive_all(self) -> None:
        """Receive until our side closes."""
        while data := await self.stream.receive_some(65536):
            self.seen += self.h2.receive_data(data)


@asynccontextmanager
async def scripted(
    *, client_side: bool, accept: Accept | None = None, start: bool = True, **options: Any
) -> AsyncIterator[tuple[ScriptedPeer, Connection]]:
    """A scripted peer in the given role, and a connection of ours in the other, over memory streams."""
    theirs, ours = trio.testing.memory_stream_pair()
    options.setdefault("keepalive", None)
    connection = Connection(ours, client_side=not client_side, accept=accept, **options)
    peer = ScriptedPeer(theirs, client_side=client_side)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.run)
        if start:
            await peer.start()
            await connection.wait_up()
        yield peer, connection
        connection.close_now()
