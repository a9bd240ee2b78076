"""The command `pharos-reality`: a node's REALITY as a process of its own, told by its control socket what to be."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NoReturn

import click
import trio

from pharos.wire.daemon import run_daemon, set_up_logging
from pharos.wire.reality.controlserver import SOCKET, listen_control, serve_control, spare_socket
from pharos.wire.reality.engine import RealityEngine
from pharos.wire.reality.serving import RealityServer

log = logging.getLogger(__name__)

MAX_PREVIOUS: Final = 2
"""Endpoints that were replaced, and are served until their devices have heard of it (`pharos.wire.desired`)."""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--socket",
    type=click.Path(path_type=Path),
    default=SOCKET,
    show_default=True,
    help="Where to be told what to be; for its user and group only.",
)
@click.option("-v", "--verbose", is_flag=True, help="Log what strangers do, too.")
def main(socket: Path, *, verbose: bool) -> None:
    """Serve VLESS with REALITY, as whoever speaks on the socket says.

    Keys and users are told there and nowhere else: none is in a file, an argument or the log. A node that starts knows
    none of them and serves nobody.

    \b
    Example:
      pharos-reality --socket ./control.sock
    """
    set_up_logging(verbose=verbose)

    async def run(*, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        await run_node(socket, task_status=task_status)

    run_daemon(run)


async def run_node(path: Path, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
    """Run a node until cancelled: a server, and further ones that are each told what to be on a socket of their own.

    Raises: OSError — a socket cannot be had.
    """
    with ExitStack() as stack:
        paths = (path, *(spare_socket(path, number) for number in range(1, 1 + MAX_PREVIOUS)))
        listeners = [stack.enter_context(listen_control(one)) for one in paths]
        async with trio.open_nursery() as nursery:
            for listener in listeners:
                engine = RealityEngine(RealityServer())
                nursery.start_soon(engine.run)
                await nursery.start(serve_control, engine, listener)
            log.info("ready to be told what to be at %s", path)
            task_status.started()
    raise AssertionError("a node ends by cancellation or an error only")


if __name__ == "__main__":
    main()
