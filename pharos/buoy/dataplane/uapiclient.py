"""The manager's end of an engine's UAPI socket: questions, orders, and the events of an engine of ours."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import trio

from pharos.buoy.dataplane.base import EngineError
from pharos.buoy.dataplane.glance import Glance, read_glance
from pharos.wire.awg.events import Event
from pharos.wire.awg.params import Generation
from pharos.wire.awg.uapi import DeviceChange, DeviceState, FaceChange
from pharos.wire.awg.uapievents import parse_event
from pharos.wire.awg.uapiwrite import parse_reply, render_change
from pharos.wire.errors import ParameterError, RemoteProtocolError
from pharos.wire.units import KIB, MIB, SECONDS

REPLY_TIMEOUT: Final = 15 * SECONDS
"""Ten thousand peers are told in 2 s on the slowest machine that was measured; an engine at its limit may be slower."""
MAX_REPLY_BYTES: Final = 64 * MIB
"""Of 65,536 peers, 1 kB each."""
MAX_EVENT_BYTES: Final = 4 * KIB
"""An event is some 200 bytes."""
_READ_BYTES: Final = 64 * KIB
_END: Final = b"\n\n"
# Of a face that is not there: nothing changes, and only our engine knows the word.
_PROBE: Final = DeviceChange(faces=(FaceChange(number=255, remove=True),))


class UapiClient:
    """Speaks to the engine at a socket, a connection for each question: it may have been replaced since the last."""

    def __init__(self, path: Path, *, generation: Generation = Generation.V3_1) -> None:
        self._path = path
        self._generation = generation

    async def read_state(self) -> DeviceState:
        """Return all that the engine says of itself.

        Raises: EngineError — it is away, or does not say it.
        """
        with _naming(self._path):
            text = await self._ask("get=1\n\n")
            state, number = parse_reply(text)
        if number:
            raise EngineError(f"the engine at {self._path} does not say what it is: {_errno_name(number)}")
        return state

    async def glance(self) -> Glance:
        """Return what moves at the engine.

        Raises: EngineError — it is away, or does not say it.
        """
        with _naming(self._path):
            glance = read_glance(await self._ask("get=1\n\n"))
        if glance.errno:
            raise EngineError(f"the engine at {self._path} does not say what it is: {_errno_name(glance.errno)}")
        return glance

    async def change(self, change: DeviceChange, *, ours: bool) -> None:
        """Have the engine changed; ``ours`` knows faces and rates.

        Raises: EngineError — it is away, it refused, or it cannot be told this: the message says what.
        """
        with _naming(self._path):
            _, number = parse_reply(await self._ask(render_change(change, self._generation, ours=ours)))
        if number:
            raise EngineError(f"the engine at {self._path} refused: {_errno_name(number)}")

    async def probe_ours(self) -> bool:
        """Tell whether the engine is one of ours, with faces, rates and events; nothing changes by it.

        Raises: EngineError — it is away.
        """
        with _naming(self._path):
            _, number = parse_reply(await self._ask(render_change(_PROBE, self._generation, ours=True)))
        return number == 0

    @asynccontextmanager
    async def open_watch(self) -> AsyncIterator[AsyncIterator[Event]]:
        """Watch an engine of ours: yield its events from now on, which end when the engine does or we lag too far.

        Raises: EngineError — it is away, here or while the events are read.
        """
        with _naming(self._path):
            stream = await trio.open_unix_socket(str(self._path))
        async with stream:
            with _naming(self._path):
                await stream.send_all(b"watch=1\n\n")
            async with aclosing(_read_events(stream, self._path)) as events:
                yield events

    async def _ask(self, request: str) -> str:
        with trio.fail_after(REPLY_TIMEOUT):
            async with await trio.open_unix_socket(str(self._path)) as stream:
                await stream.send_all(request.encode())
                reply = bytearray()
                while not reply.endswith(_END):
                    data = await stream.receive_some(_READ_BYTES)
                    if not data:
                        raise RemoteProtocolError("UAPI: the engine closed the connection without a reply")
                    reply += data
                    if len(reply) > MAX_REPLY_BYTES:
                        raise RemoteProtocolError("UAPI: the reply is too long")
        return reply.decode("ascii", "replace")


async def _read_events(stream: trio.SocketStream, path: Path) -> AsyncGenerator[Event, None]:
    buffer = bytearray()
    with _naming(path):
        async for data in stream:
            buffer += data
            *whole, rest = buffer.split(_END)
            buffer = rest
            if len(rest) > MAX_EVENT_BYTES:
                raise RemoteProtocolError("UAPI: an event is too long")
            for text in whole:
                event = parse_event(text.decode("ascii", "replace"))
                if event is not None:
                    yield event


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Make of whatever keeps an engine from being spoken to an EngineError that names it."""
    try:
        yield
    except (OSError, trio.BrokenResourceError) as error:
        raise EngineError(f"no engine answers at {path} ({error})") from error
    except trio.TooSlowError:
        raise EngineError(f"the engine at {path} did not answer in {REPLY_TIMEOUT:.0f} s") from None
    except (ParameterError, RemoteProtocolError) as error:
        raise EngineError(f"the engine at {path}: {error}") from error


def _errno_name(number: int) -> str:
    return f"{errno.errorcode.get(number, number)} ({os.strerror(number)})"
