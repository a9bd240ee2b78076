"""Where the two witnesses of Xray's connections are read: the pipe of its access log, and Linux's socket monitor."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Final

import trio

from pharos.buoy.dataplane.base import EngineError
from pharos.buoy.roothelper.acts import SocketPair
from pharos.buoy.xray.accesslog import AccessLog, Connected
from pharos.buoy.xray.sockdiag import FAMILIES, RequestDone, SocketSeen, ask_sockets, parse_messages
from pharos.wire.units import KIB, SECONDS

LOOK_EVERY: Final = 2 * SECONDS
"""A look at 4,000 connections takes some tens of milliseconds; who has gone is told of ten seconds later anyway."""
ANSWER_TIMEOUT: Final = 5 * SECONDS
_READ_BYTES: Final = 64 * KIB
_PIPE_MODE: Final = 0o660
_SOCK_DIAG: Final = 4
"""NETLINK_SOCK_DIAG."""


@asynccontextmanager
async def open_access_log(path: Path) -> AsyncIterator[AsyncIterator[Connected]]:
    """Make the pipe, if it is not there, and yield who is let through while the block lasts.

    A pipe is a file that keeps nothing. We hold both of its ends: Xray's opening never waits for us, and its end is not
    ours.

    Raises: EngineError — it cannot be made or opened.
    """
    try:
        make_pipe(path)
        descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        raise EngineError(f"{path} cannot be opened: {error.strerror}") from error
    async with trio.lowlevel.FdStream(descriptor) as pipe, aclosing(_read(pipe)) as connections:
        yield connections


async def _read(pipe: trio.lowlevel.FdStream) -> AsyncGenerator[Connected, None]:
    log = AccessLog()
    # It has no end: one of its writers are we.
    while data := await pipe.receive_some(_READ_BYTES):
        for connected in log.feed(bytes(data)):
            yield connected


def make_pipe(path: Path) -> None:
    """Make the pipe, if it is not there. Raises: OSError."""
    try:
        if stat.S_ISFIFO(path.lstat().st_mode):
            return
        # An Xray that was started by itself made a file there, which holds what is not to be kept.
        path.unlink()
    except FileNotFoundError:
        pass
    os.mkfifo(path, _PIPE_MODE)
    path.chmod(_PIPE_MODE)


async def list_sockets(ports: Iterable[int]) -> list[SocketPair]:
    """Return the open TCP connections at some ports of this machine; it takes no right.

    Raises: EngineError — Linux does not say.
    """
    found: list[SocketPair] = []
    try:
        with trio.fail_after(ANSWER_TIMEOUT):
            for port in ports:
                for family in FAMILIES:
                    found += await _ask(ask_sockets(family, port))
    except OSError as error:
        raise EngineError(f"the socket monitor does not answer: {error.strerror}") from error
    except trio.TooSlowError:
        raise EngineError("the socket monitor does not answer") from None
    return found


async def _ask(request: bytes) -> list[SocketPair]:
    """Raises: OSError."""
    found: list[SocketPair] = []
    with trio.socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _SOCK_DIAG) as monitor:
        await monitor.send(request)
        while True:
            for message in parse_messages(await monitor.recv(_READ_BYTES)):
                if isinstance(message, SocketSeen):
                    found.append(message.pair)
                elif isinstance(message, RequestDone):
                    if message.error:
                        raise OSError(message.error, os.strerror(message.error))
                    return found
