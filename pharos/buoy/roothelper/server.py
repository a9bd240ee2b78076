"""The root helper's side of its socket: who may ask, what is answered, and when it ends for want of work."""

from __future__ import annotations

import functools
import logging
import math
import os
import socket
from collections.abc import Awaitable, Callable, Collection
from struct import Struct
from typing import Final

import trio

from pharos.buoy.roothelper.acts import Act, Answer
from pharos.buoy.roothelper.errors import ActFailedError, ActRefusedError
from pharos.buoy.roothelper.wire import FrameReader, Outcome, Reply, decode_act, encode_reply, shorten
from pharos.wire.errors import RemoteProtocolError
from pharos.wire.units import KIB, SECONDS

log = logging.getLogger(__name__)

IDLE: Final = 60 * SECONDS
# The agent has a connection for each act that it waits for: one about the network, one a unit, some that cut devices.
MAX_CONNECTIONS: Final = 16
# An act of 8 MiB takes a fraction of a second on a local socket; the agent has nothing to say in between.
FRAME_TIMEOUT: Final = 10 * SECONDS
_READ_BYTES: Final = 64 * KIB
_CREDENTIALS: Final = Struct("=iII")
"""Of the peer: pid, uid, gid (unix(7))."""
_FIRST_DESCRIPTOR: Final = 3
"""That systemd passes (sd_listen_fds(3))."""

Perform = Callable[[Act], Awaitable[Answer]]


def activated_socket() -> socket.socket | None:
    """Return the socket that systemd listens on for us, if it does; the variables are dropped.

    Raises: ValueError — it is none, or there are several.
    """
    pid, count = os.environ.pop("LISTEN_PID", None), os.environ.pop("LISTEN_FDS", None)
    os.environ.pop("LISTEN_FDNAMES", None)
    if pid is None or count is None or pid != str(os.getpid()):
        return None
    sock = socket.socket(fileno=_FIRST_DESCRIPTOR)
    if count != "1" or sock.family != socket.AF_UNIX or sock.type != socket.SOCK_STREAM:
        raise ValueError("systemd has to pass one Unix stream socket, and passes another or several")
    sock.set_inheritable(False)
    return sock


async def serve_acts(
    perform: Perform,
    listener: trio.SocketListener,
    *,
    uids: Collection[int],
    idle: float = math.inf,
    is_needed: Callable[[], bool] = lambda: False,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer whom ``uids`` name, until there was nobody for ``idle`` seconds and ``is_needed`` says no.

    Acts that were begun are done first.
    """
    presence = _Presence()
    handle = functools.partial(_handle, perform, frozenset(uids), presence)
    # Whoever was accepted is answered: only the accepting ends, and who waits to be accepted waits for our successor.
    async with trio.open_nursery() as handlers, trio.open_nursery() as accepting:
        await accepting.start(functools.partial(trio.serve_listeners, handle, [listener], handler_nursery=handlers))
        task_status.started()
        while True:
            await presence.wait_nobody(idle)
            if not is_needed():
                break
        log.info("nobody asked for anything for %.0f s", idle)
        accepting.cancel_scope.cancel()


class _Presence:
    """How many are connected, and for how long nobody was."""

    def __init__(self) -> None:
        self.count = 0
        self._changed = trio.Event()

    def change(self, by: int) -> None:
        self.count += by
        self._changed.set()
        self._changed = trio.Event()

    async def wait_nobody(self, seconds: float) -> None:
        """Wait until nobody was there for so long."""
        while True:
            while self.count:
                await self._changed.wait()
            with trio.move_on_after(seconds):
                await self._changed.wait()
                continue
            return


async def _handle(perform: Perform, uids: frozenset[int], presence: _Presence, stream: trio.SocketStream) -> None:
    presence.change(1)
    try:
        async with stream:
            uid = peer_uid(stream)
            if not is_allowed(uid, uids):
                log.warning("uid %d may not ask for anything", uid)
            elif presence.count > MAX_CONNECTIONS:
                log.warning("more than %d ask at once", MAX_CONNECTIONS)
            else:
                await _converse(perform, stream)
    except trio.TooSlowError:
        log.warning("a connection was closed: it fell silent")
    except (RemoteProtocolError, trio.BrokenResourceError) as error:
        log.warning("a connection was closed: %s", error)
    finally:
        presence.change(-1)


def peer_uid(stream: trio.SocketStream) -> int:
    """The uid that the other end had when it connected, on the kernel's word."""
    raw = stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    assert isinstance(raw, bytes)
    return int(_CREDENTIALS.unpack(raw)[1])


def is_allowed(uid: int, uids: frozenset[int]) -> bool:
    """Whether somebody may ask."""
    return uid in uids


async def _converse(perform: Perform, stream: trio.SocketStream) -> None:
    reader = FrameReader()
    while True:
        with trio.fail_after(FRAME_TIMEOUT):
            bodies: list[dict[str, object]] = []
            while not bodies:
                data = await stream.receive_some(_READ_BYTES)
                if not data:
                    return
                bodies = reader.receive_data(bytes(data))
        for body in bodies:
            reply = await _reply(perform, body)
            with trio.fail_after(FRAME_TIMEOUT):
                await stream.send_all(encode_reply(reply))


async def _reply(perform: Perform, body: dict[str, object]) -> Reply:
    try:
        act = decode_act(body)
    except ValueError as error:
        return _no(Outcome.REFUSED, "an act", error)
    name = type(act).__name__
    try:
        answer = await perform(act)
    except ActRefusedError as error:
        return _no(Outcome.REFUSED, name, error)
    except ActFailedError as error:
        return _no(Outcome.FAILED, name, error)
    log.info("%s: done", name)
    return Reply(Outcome.OK, answer=answer)


def _no(outcome: Outcome, what: str, error: Exception) -> Reply:
    # Before it is logged, too: it may quote what was asked, and one line is to stay one.
    text = shorten(str(error))
    log.warning("%s: %s: %s", what, outcome.value, text)
    return Reply(outcome, text)
