"""The agent's side of the root helper: one act, one answer."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Protocol

import trio

from pharos.buoy.dataplane.base import EngineError
from pharos.buoy.roothelper.acts import Act, Answer
from pharos.buoy.roothelper.wire import FrameReader, Outcome, Reply, decode_reply, encode_act
from pharos.wire.errors import LocalProtocolError, RemoteProtocolError
from pharos.wire.units import KIB, SECONDS

SOCKET: Final = Path("/run/pharos-buoy-helper.sock")
# A unit may take systemd's own 90 s to stop; anything else takes well under one.
PERFORM_TIMEOUT: Final = 100 * SECONDS
_READ_BYTES: Final = 64 * KIB


class RootHelper(Protocol):
    """Whoever does what takes root."""

    async def perform(self, act: Act) -> Answer:
        """Do an act and return what it is answered with (`acts.ANSWERS`).

        Raises: EngineError — it was refused, it failed, or nobody is there to do it.
        """
        ...


class SocketRootHelper:
    """The root helper behind its socket: a connection for each act, so that it may end whenever it is idle."""

    def __init__(self, path: Path = SOCKET, *, timeout: float = PERFORM_TIMEOUT) -> None:
        self._path = path
        self._timeout = timeout

    async def perform(self, act: Act) -> Answer:
        """As `RootHelper.perform`; what was begun is done to its end there though the caller is cancelled."""
        name = type(act).__name__
        try:
            with trio.fail_after(self._timeout):
                reply = await self._ask(act)
        except (OSError, trio.BrokenResourceError) as error:
            raise EngineError(f"{name}: the root helper is not there at {self._path} ({error})") from error
        except trio.TooSlowError:
            raise EngineError(f"{name}: the root helper did not answer in {self._timeout:.0f} s") from None
        except (LocalProtocolError, RemoteProtocolError) as error:
            # Ours, too: an act that is too large is no reason for the agent to end.
            raise EngineError(f"{name}: {error}") from error
        if reply.answer is None:
            verdict = "refused it" if reply.outcome is Outcome.REFUSED else "could not do it"
            raise EngineError(f"{name}: the root helper {verdict}: {reply.text}")
        return reply.answer

    async def _ask(self, act: Act) -> Reply:
        reader = FrameReader()
        async with await trio.open_unix_socket(str(self._path)) as stream:
            await stream.send_all(encode_act(act))
            while data := await stream.receive_some(_READ_BYTES):
                for body in reader.receive_data(data):
                    return decode_reply(body, act)
        raise RemoteProtocolError("the root helper closed the connection without an answer")
