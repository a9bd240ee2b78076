"""One REALITY server of ours under the agent's hand: in this process, or behind a control socket."""

from __future__ import annotations

import errno
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Protocol

import attrs
import trio

from pharos.buoy.dataplane.base import EngineError
from pharos.wire.errors import RemoteProtocolError
from pharos.wire.reality.control import Change, write_place
from pharos.wire.reality.controlwrite import (
    END,
    GET,
    MAX_REPLY,
    WATCH,
    Seen,
    UserCounters,
    parse_errno,
    parse_event,
    parse_state,
    render_change,
)
from pharos.wire.reality.engine import RealityEngine
from pharos.wire.reality.events import Event
from pharos.wire.reality.serving import RealityServer
from pharos.wire.units import KIB, SECONDS

ANSWER_TIMEOUT: Final = 10 * SECONDS
"""A server that is told of ten thousand users takes half a second on a slow machine."""
_READ_BYTES: Final = 64 * KIB


class Slot(Protocol):
    """One server."""

    async def tell(self, change: Change) -> int:
        """Return the errno, 0 if it was done. Raises: EngineError — it is away."""
        ...

    async def look(self) -> Seen:
        """Raises: EngineError — it is away."""
        ...

    def watch(self) -> AsyncGenerator[Event, None]:
        """Yield every event from now on, once it is seen that all are; ends when some were missed.

        Raises: EngineError — it is away, or went.
        """
        ...


@attrs.define
class EmbeddedSlot:
    """A server in this process, which its owner runs."""

    engine: RealityEngine = attrs.field(factory=lambda: RealityEngine(RealityServer()))

    async def tell(self, change: Change) -> int:
        return self.engine.apply(change)

    async def look(self) -> Seen:
        users = self.engine.server.users
        return Seen(
            started_ns=self.engine.started_ns,
            listening=tuple(map(write_place, self.engine.listening())),
            users=tuple(
                UserCounters(
                    name=user.account.name,
                    sessions=len(user.sessions),
                    received_bytes=user.received_bytes,
                    sent_bytes=user.sent_bytes,
                )
                for user in users
            ),
        )

    async def watch(self) -> AsyncGenerator[Event, None]:
        async with self.engine.server.users.watch() as events:
            async for event in events:
                yield event


@attrs.frozen
class SocketSlot:
    """A server behind its control socket; every request has a connection of its own, so that none waits for another."""

    path: Path

    async def tell(self, change: Change) -> int:
        return parse_errno(await self._ask(render_change(change)))

    async def look(self) -> Seen:
        reply = await self._ask(GET)
        if number := parse_errno(reply):
            raise EngineError(f"{self.path}: errno {number} instead of a state")
        return parse_state(reply)

    async def watch(self) -> AsyncGenerator[Event, None]:
        async with self._connected() as stream:
            await stream.send_all(WATCH)
            buffer = b""
            async for data in stream:
                *texts, buffer = (buffer + data).split(END)
                if len(buffer) > _READ_BYTES:
                    raise RemoteProtocolError("control: an event is too long")
                for text in texts:
                    if (event := parse_event(text)) is not None:
                        yield event
        raise EngineError(f"{self.path}: the server ended the connection")

    async def _ask(self, request: bytes) -> bytes:
        with trio.move_on_after(ANSWER_TIMEOUT):
            async with self._connected() as stream:
                await stream.send_all(request)
                reply = bytearray()
                async for data in stream:
                    reply += data
                    if reply.endswith(END) and b"errno=" in reply[-32:]:
                        return bytes(reply)
                    if len(reply) > MAX_REPLY:
                        break
            raise EngineError(f"{self.path}: the server gave no whole answer")
        raise EngineError(f"{self.path}: the server did not answer within {ANSWER_TIMEOUT:.0f} s")

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[trio.SocketStream]:
        try:
            async with await trio.open_unix_socket(str(self.path)) as stream:
                yield stream
        except (OSError, trio.BrokenResourceError, RemoteProtocolError) as error:
            reason = errno.errorcode.get(getattr(error, "errno", None) or 0, str(error) or type(error).__name__)
            raise EngineError(f"{self.path}: {reason}") from error
