"""The Unix sockets by which an engine's manager tells it what to be, and hears what happens."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import trio

from pharos.wire.errors import RemoteProtocolError
from pharos.wire.units import KIB

log = logging.getLogger(__name__)

PRIVATE: Final = 0o600
_BACKLOG: Final = 16
_READ_BYTES: Final = 64 * KIB


@contextmanager
def listen_local(path: Path, *, directory_mode: int, private: bool = False) -> Iterator[trio.SocketListener]:
    """Listen while the block lasts; owner and group alone get in. What a killed engine left there gives way.

    ``private``: its owner alone, and nothing is done to the path by name, for a directory that is somebody else's.

    Raises: OSError — another engine listens there, or we may not write there.
    """
    path.parent.mkdir(mode=directory_mode, parents=True, exist_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    bound = False
    if private:
        # What bind makes takes its mode from the socket (Linux; elsewhere the umask has to do).
        with contextlib.suppress(OSError):
            os.fchmod(sock.fileno(), PRIVATE)
    try:
        try:
            sock.bind(str(path))
        except OSError as error:
            if error.errno != errno.EADDRINUSE or _is_served(path):
                raise
            path.unlink()
            sock.bind(str(path))
        bound = True
        if not private:
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


async def serve_managers(
    converse: Callable[[trio.SocketStream], Awaitable[None]],
    listeners: Sequence[trio.SocketListener],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer managers until cancelled; whatever one of them sends ends its own connection at most."""

    async def handle(stream: trio.SocketStream) -> None:
        try:
            await converse(stream)
        except (RemoteProtocolError, trio.BrokenResourceError) as error:
            log.debug("a manager's connection was closed: %s", error)

    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, handle, list(listeners))
        task_status.started()


async def report_to(stream: trio.SocketStream, events: AsyncIterator[str]) -> None:
    """Send events until the watcher goes, or falls too far behind for ``events`` to go on."""
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def _() -> None:
            # A watcher has nothing more to say; that it goes has to be noticed though no event comes.
            while await stream.receive_some(_READ_BYTES):
                pass
            nursery.cancel_scope.cancel()

        async for event in events:
            await stream.send_all(event.encode())
        nursery.cancel_scope.cancel()
