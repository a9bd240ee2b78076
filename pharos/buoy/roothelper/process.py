"""The command `pharos-buoy-helper`: does for the node's agent the few acts that take root."""

from __future__ import annotations

import logging
import math
import os
import pwd
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click
import trio

from pharos.buoy.netkernel import NetworkPolicyError
from pharos.buoy.netpolicy import NetworkKeeper
from pharos.buoy.roothelper.perform import Performer
from pharos.buoy.roothelper.server import IDLE, activated_socket, serve_acts
from pharos.wire.daemon import run_daemon, set_up_logging
from pharos.wire.localsocket import listen_local

log = logging.getLogger(__name__)

AGENT: Final = "pharos-buoy"
"""The agent's user."""
STATE: Final = Path("/run/pharos-buoy-helper")


class _NothingToDoError(Exception):
    """Ends the process: a daemon goes on until it is told otherwise."""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--socket",
    "path",
    type=click.Path(path_type=Path),
    help="Where to be asked, without systemd; by root and this process's own user only.",
)
@click.option(
    "--state",
    type=click.Path(path_type=Path),
    default=STATE,
    show_default=True,
    help="Directory of what is to outlive this process, but no reboot.",
)
@click.option("--undo", is_flag=True, help="Take the network policy away, and end; for when the package is removed.")
def main(path: Path | None, state: Path, *, undo: bool) -> None:
    """Do for the agent of this node what takes root: a closed list of acts, and nothing else.

    systemd starts it when the agent asks for something, and it ends when there is nothing more to do: a network policy
    is kept in force until the agent has it removed.

    \b
    Example:
      pharos-buoy-helper --socket ./helper.sock
    """
    set_up_logging()
    if undo:
        _undo(state)
        return
    uids, idle = ({0, os.getuid()}, math.inf) if path is not None else ({0, _agent_uid()}, IDLE)

    async def run(*, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        keeper = NetworkKeeper(state)
        with _listen(path) as listener:
            async with trio.open_nursery() as nursery:
                await nursery.start(keeper.run)
                await serve_acts(
                    Performer(keeper).perform,
                    listener,
                    uids=uids,
                    idle=idle,
                    is_needed=lambda: keeper.plan is not None,
                    task_status=task_status,
                )
                raise _NothingToDoError

    try:
        run_daemon(run)
    except* _NothingToDoError:
        log.info("ending; systemd listens on")


def _undo(state: Path) -> None:
    try:
        trio.run(NetworkKeeper(state).remove)
    except NetworkPolicyError as error:
        sys.exit(str(error))


def _agent_uid() -> int:
    try:
        return pwd.getpwnam(AGENT).pw_uid
    except KeyError:
        sys.exit(f"there is no user {AGENT}, whom this would serve; install the package anew")


@contextmanager
def _listen(path: Path | None) -> Iterator[trio.SocketListener]:
    if path is not None:
        with listen_local(path, directory_mode=0o755) as listener:
            yield listener
        return
    sock = activated_socket()
    if sock is None:
        sys.exit("systemd starts this by pharos-buoy-helper.socket; by hand it takes --socket")
    yield trio.SocketListener(trio.socket.from_stdlib_socket(sock))


if __name__ == "__main__":
    main()
