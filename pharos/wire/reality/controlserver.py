"""The control socket: whoever may open it tells the node what it is, and hears who comes and goes."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import trio

from pharos.wire.errors import RemoteProtocolError
from pharos.wire.reality.control import (
    BadRequest,
    Change,
    GetRequest,
    Request,
    WatchRequest,
    render_errno,
    render_event,
    render_state,
)
from pharos.wire.reality.controlread import ControlReader
from pharos.wire.reality.engine import RealityEngine
from pharos.wire.units import KIB

log = logging.getLogger(__name__)

SOCKET: Final = Path("/run/pharos-reality/control.sock")
_BACKLOG: Final = 16
_READ_BYTES: Final = 64 * KIB


@contextmanager
def listen_control(path: Path) -> Iterator[trio.SocketListener]:
    """Listen while the block lasts; owner and group alone get in.

    Raises: OSError — another node is told there, or we may not write there.
    """
    path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    bound = False
    try:
        try:
            sock.bind(str(path))
        except OSError as error:
            if error.errno != errno.EADDRINUSE or _is_served(path):
                raise
            # What a killed node left.
            path.unlink()
            sock.bind(str(path))
        bound = True
        path.chmod(0o660)
        sock.listen(_BACKLOG)
        yield trio.SocketListener(trio.socket.from_stdlib_socket(sock))
    finally:
        sock.close()
        if bound:
            path.unlink(missing_ok=True)


def _is_served(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        try:
            sock.connect(str(path))
        except OSError:
            return False
    return True


async def serve_control(
    engine: RealityEngine,
    listener: trio.SocketListener,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer managers until cancelled; whatever one of them sends ends its own connection at most."""

    async def handle(stream: trio.SocketStream) -> None:
        try:
            await _converse(engine, stream)
        except (RemoteProtocolError, trio.BrokenResourceError) as error:
            log.debug("a control connection was closed: %s", error)

    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, handle, [listener])
        task_status.started()


async def _converse(engine: RealityEngine, stream: trio.SocketStream) -> None:
    reader = ControlReader()
    async for data in stream:
        for request in reader.receive_data(data):
            if isinstance(request, WatchRequest):
                await _report(engine, stream)
                return
            await stream.send_all(_answer(engine, request).encode())


def _answer(engine: RealityEngine, request: Request) -> str:
    match request:
        case GetRequest():
            return render_state(engine.state())
        case Change():
            return render_errno(engine.apply(request))
        case BadRequest(errno=number, reason=reason):
            log.info("a request was refused: %s", reason)
            return render_errno(number)
        case _:
            raise AssertionError("a watcher is answered by events")


async def _report(engine: RealityEngine, stream: trio.SocketStream) -> None:
    """Send events until the watcher goes, or falls too far behind."""
    async with engine.server.users.watch() as events, trio.open_nursery() as nursery:

        @nursery.start_soon
        async def _() -> None:
            # A watcher has nothing more to say; that it goes has to be noticed though no event comes.
            while await stream.receive_some(_READ_BYTES):
                pass
            nursery.cancel_scope.cancel()

        # The first thing a watcher hears is that it hears everything from here on.
        await stream.send_all(render_errno(0).encode())
        async for event in events:
            await stream.send_all(render_event(event).encode())
        nursery.cancel_scope.cancel()
