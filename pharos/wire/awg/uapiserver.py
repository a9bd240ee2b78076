"""The UAPI's sockets: where an engine listens, and what it answers."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import trio

from pharos.wire.awg.engine import Engine
from pharos.wire.awg.uapi import BadRequest, DeviceChange, GetRequest, Request
from pharos.wire.awg.uapievents import render_event
from pharos.wire.awg.uapiread import UapiReader
from pharos.wire.awg.uapiwrite import render_errno, render_state
from pharos.wire.errors import RemoteProtocolError
from pharos.wire.units import KIB

log = logging.getLogger(__name__)

# Where wg(8) and awg(8) look for an interface that is a program.
DIRECTORIES: Final = (Path("/var/run/wireguard"), Path("/var/run/amneziawg"))
_BACKLOG: Final = 16
_READ_BYTES: Final = 64 * KIB


@contextmanager
def listen_uapi(name: str, directories: Sequence[Path] = DIRECTORIES) -> Iterator[list[trio.SocketListener]]:
    """Listen for an interface's manager in each directory while the block lasts; owner and group alone get in.

    Raises: OSError — another engine serves that interface, or we may not write there.
    """
    bound: list[tuple[Path, socket.socket]] = []
    try:
        for directory in directories:
            directory.mkdir(mode=0o755, parents=True, exist_ok=True)
            path = directory / f"{name}.sock"
            bound.append((path, _bind(path)))
        yield [trio.SocketListener(trio.socket.from_stdlib_socket(sock)) for _, sock in bound]
    finally:
        for path, sock in bound:
            sock.close()
            path.unlink(missing_ok=True)


def _bind(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        try:
            sock.bind(str(path))
        except OSError as error:
            if error.errno != errno.EADDRINUSE or _is_served(path):
                raise
            # What a killed engine left.
            path.unlink()
            sock.bind(str(path))
        path.chmod(0o660)
        sock.listen(_BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _is_served(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        try:
            sock.connect(str(path))
        except OSError:
            return False
    return True


async def serve_uapi(
    engine: Engine,
    listeners: Sequence[trio.SocketListener],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer managers until cancelled; whatever one of them sends ends its own connection at most."""

    async def handle(stream: trio.SocketStream) -> None:
        try:
            await _converse(engine, stream)
        except (RemoteProtocolError, trio.BrokenResourceError) as error:
            log.debug("a UAPI connection was closed: %s", error)

    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, handle, list(listeners))
        task_status.started()


async def _converse(engine: Engine, stream: trio.SocketStream) -> None:
    reader = UapiReader()
    async for data in stream:
        for request in reader.receive_data(bytes(data)):
            await stream.send_all(answer(engine, request).encode())
            if not isinstance(request, (GetRequest, DeviceChange, BadRequest)):
                await _report(engine, stream)
                return


def answer(engine: Engine, request: Request) -> str:
    """Return the reply to a request; to a watcher it is the events that come later."""
    match request:
        case GetRequest():
            return render_state(engine.state())
        case DeviceChange():
            return render_errno(engine.apply(request))
        case BadRequest(errno=number, reason=reason):
            log.info("a UAPI request was refused: %s", reason)
            return render_errno(number)
        case _:
            return ""


async def _report(engine: Engine, stream: trio.SocketStream) -> None:
    """Send events until the watcher goes, or falls too far behind."""
    async with engine.watch() as events, trio.open_nursery() as nursery:

        @nursery.start_soon
        async def _() -> None:
            # A watcher has nothing more to say; that it goes has to be noticed though no event comes.
            while await stream.receive_some(_READ_BYTES):
                pass
            nursery.cancel_scope.cancel()

        async for event in events:
            await stream.send_all(render_event(event).encode())
        nursery.cancel_scope.cancel()
