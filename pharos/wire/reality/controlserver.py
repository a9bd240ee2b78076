"""The control socket: whoever may open it tells the node what it is, and hears who comes and goes."""

from __future__ import annotations

import functools
import logging
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

import trio

from pharos.wire.localsocket import listen_local, report_to, serve_managers
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

log = logging.getLogger(__name__)

SOCKET: Final = Path("/run/pharos-reality/control.sock")


def spare_socket(path: Path, number: int) -> Path:
    """Return the control socket of a process's further server, by its number from 1."""
    return path.with_name(f"{path.stem}-{number}{path.suffix}")


def listen_control(path: Path) -> AbstractContextManager[trio.SocketListener]:
    """Listen while the block lasts; owner and group alone get in.

    Raises: OSError — another node is told there, or we may not write there.
    """
    return listen_local(path, directory_mode=0o750)


async def serve_control(
    engine: RealityEngine,
    listener: trio.SocketListener,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer managers until cancelled; whatever one of them sends ends its own connection at most."""
    await serve_managers(functools.partial(_converse, engine), [listener], task_status=task_status)


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
    async with engine.server.users.watch() as events:
        # The first thing a watcher hears is that it hears everything from here on.
        await stream.send_all(render_errno(0).encode())
        await report_to(stream, (render_event(event) async for event in events))
