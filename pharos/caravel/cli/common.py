"""What the commands share: their options, and how they run."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import click
import trio

from pharos.caravel.client import Client, open_client
from pharos.caravel.config import DEFAULT_STATE
from pharos.caravel.errors import HelmRefusedError, NoAnswerError
from pharos.wire.console import CommandError, Exit

state_option = click.option(
    "--state", type=click.Path(path_type=Path), default=DEFAULT_STATE, show_default=True, help="State directory."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def with_client(state: Path, act: Callable[[Client], Awaitable[Any]]) -> Any:
    """Run ``act`` with the device of that directory."""

    async def main_task() -> Any:
        async with open_client(state) as client:
            return await act(client)

    return run(main_task)


def run(act: Callable[[], Awaitable[Any]]) -> Any:
    """Run ``act`` to its end.

    Raises: CommandError — for what has an exit code of its own in here; the rest is for `reports_errors`.
    """
    try:
        return trio.run(act)
    except HelmRefusedError as error:
        raise CommandError(str(error), Exit.REFUSED) from error
    except NoAnswerError as error:
        raise CommandError(str(error), Exit.UNREACHABLE) from error


async def stop_on_signal(
    scope: trio.CancelScope, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Cancel ``scope`` at SIGINT or SIGTERM, which are the ordinary end of a command that serves."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for _ in signals:
            scope.cancel()
