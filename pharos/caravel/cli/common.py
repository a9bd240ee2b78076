"""What the commands share: their options, and how they run."""

from __future__ import annotations

import getpass
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import click
import trio

from pharos.caravel.cli.posture import managed_device
from pharos.caravel.client import Client, open_client
from pharos.caravel.config import DEFAULT_STATE
from pharos.caravel.errors import HelmRefusedError, NoAnswerError
from pharos.caravel.profiles.fleets import Fleets
from pharos.caravel.profiles.unlocking import Unlocking
from pharos.wire.console import CommandError, Exit, exit_code_of
from pharos.wire.errors import WireError

_FLEET: Final = "pharos.caravel.fleet"
_UNLOCKING: Final = "pharos.caravel.unlocking"


def _remember_fleet(context: click.Context, _parameter: click.Parameter, wanted: str | None) -> None:
    context.meta[_FLEET] = wanted


def _in_fleet(context: click.Context, _parameter: click.Parameter, state: Path) -> Path:
    """Return the directory of the fleet that was named before the command, else the state directory itself."""
    wanted = context.meta.get(_FLEET)
    if wanted is None or context.resilient_parsing:
        return state
    try:
        fleet = Fleets(state, unlocking()).find(wanted)
    except WireError as error:
        raise CommandError(str(error), exit_code_of(error)) from error
    # The default one is the same by either name, its running connection above all.
    return state if fleet.default else fleet.path


fleet_option = click.option(
    "--fleet",
    metavar="FLEET",
    expose_value=False,
    callback=_remember_fleet,
    help="Which of several fleets is meant, by name or beginning of its id (default: the default one).",
)
"""Of the group: it says for every command where `state_option` leads."""
state_option = click.option(
    "--state",
    type=click.Path(path_type=Path),
    default=DEFAULT_STATE,
    show_default=True,
    callback=_in_fleet,
    help="State directory.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def named_fleet() -> str | None:
    """Return the fleet that was named before the command, if one was."""
    context = click.get_current_context(silent=True)
    return None if context is None else context.meta.get(_FLEET)


def unlocking() -> Unlocking:
    """Return how this command opens stores: it asks on the terminal, once, if there is somebody to ask."""
    context = click.get_current_context(silent=True)
    kept = {} if context is None else context.meta
    found: Unlocking = kept.setdefault(_UNLOCKING, Unlocking.of_process(ask=_ask if sys.stderr.isatty() else None))
    return found


def _ask(question: str) -> str:
    # From the terminal itself: standard input may be a link or a list.
    return getpass.getpass(f"{question}: ", stream=sys.stderr)


def with_client(state: Path, act: Callable[[Client], Awaitable[Any]]) -> Any:
    """Run ``act`` with the device of that directory."""
    managed = managed_device()

    async def main_task() -> Any:
        async with open_client(state, named_fleet(), unlocking=unlocking(), managed=managed) as client:
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
