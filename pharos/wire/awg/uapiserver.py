"""The UAPI's sockets: where an engine listens, and what it answers."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import trio

from pharos.wire.awg.engine import Engine
from pharos.wire.awg.uapi import BadRequest, DeviceChange, GetRequest, Request
from pharos.wire.awg.uapievents import render_event
from pharos.wire.awg.uapiread import UapiReader
from pharos.wire.awg.uapiwrite import render_errno, render_state
from pharos.wire.localsocket import listen_local, report_to, serve_managers

log = logging.getLogger(__name__)

# Where wg(8) and awg(8) look for an interface that is a program.
DIRECTORIES: Final = (Path("/var/run/wireguard"), Path("/var/run/amneziawg"))


@contextmanager
def listen_uapi(name: str, directories: Sequence[Path] = DIRECTORIES) -> Iterator[list[trio.SocketListener]]:
    """Listen for an interface's manager in each directory while the block lasts; owner and group alone get in.

    Raises: OSError — another engine serves that interface, or we may not write there.
    """
    with ExitStack() as stack:
        yield [
            stack.enter_context(listen_local(directory / f"{name}.sock", directory_mode=0o755))
            for directory in directories
        ]


async def serve_uapi(
    engine: Engine,
    listeners: Sequence[trio.SocketListener],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer managers until cancelled; whatever one of them sends ends its own connection at most."""
    await serve_managers(functools.partial(_converse, engine), listeners, task_status=task_status)


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
    async with engine.watch() as events:
        await report_to(stream, (render_event(event) async for event in events))
