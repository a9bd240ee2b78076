"""Onboarding a machine from this process: the operator's own ssh, keys and terminal, and helm's word by REST."""

from __future__ import annotations

import functools
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pharos.helm.cli.api import ask
from pharos.helm.cli.progress import Printer, printing
from pharos.helm.config import SOCKET_NAME
from pharos.wire.console import CommandError, Exit

# ssh, trio and the steps take half a second to import, and `--help` needs none of them.
if TYPE_CHECKING:
    from pharos.helm.onboard.join.desk import RestDesk
    from pharos.helm.onboard.join.engine import OpenRemote
    from pharos.helm.onboard.join.wish import Wish
    from pharos.helm.onboard.remote import Destination

Work = Callable[["Wish", "RestDesk", "OpenRemote", Printer], Awaitable[Any]]


def run_join(state: Path, wish: Wish, *, host_key: str | None, dry_run: bool, as_json: bool) -> None:
    """Make a machine a member, or tell what that would take; blocks.

    Raises: CommandError — a step did not come to its end.
    """
    from pharos.helm.onboard.join.engine import join, rehearse, undo

    stopped = False
    try:
        _run(state, wish, rehearse if dry_run else join, host_key=host_key, as_json=as_json)
    except* KeyboardInterrupt:
        stopped = True
    if not stopped:
        return
    command = f"helm {wish.parts[0].agent.noun} undo {wish.destination}"
    if dry_run or wish.readopts or not at_terminal() or not _wants_undone():
        says = "" if dry_run else " What is done is kept: the same command goes on from there."
        says += "" if dry_run or wish.readopts else f" To take it back: {command}"
        raise CommandError(f"Stopped.{says}", Exit.FAILED)
    _run(state, wish, undo, host_key=host_key, as_json=as_json)


def run_undo(state: Path, wish: Wish, *, as_json: bool) -> None:
    """Take back an onboarding that did not come to its end; blocks. Raises: CommandError."""
    from pharos.helm.onboard.join.engine import undo

    if not _run(state, wish, undo, host_key=None, as_json=as_json):
        noun = wish.parts[0].agent.noun
        raise CommandError(
            f"nothing of an onboarding is left to be undone on {wish.destination}; to take out a member:"
            f" helm {noun} revoke NAME",
            Exit.CONFLICT,
        )


def at_terminal() -> bool:
    """Tell whether there is somebody to ask."""
    return sys.stdin.isatty()


def _wants_undone() -> bool:
    try:
        click.echo(err=True)
        return click.confirm("Take back what was done on the machine and in the record?", default=False, err=True)
    except click.Abort:
        return False


def _run(state: Path, wish: Wish, work: Work, *, host_key: str | None, as_json: bool) -> Any:
    import trio

    from pharos.helm.onboard.errors import OnboardError
    from pharos.wire.rpc.status import leaves

    failure: OnboardError | None = None
    with printing(as_json=as_json) as printer:
        try:
            return trio.run(_work, state, wish, work, host_key, printer)
        except* OnboardError as group:
            failure = next(leaf for leaf in leaves(group) if isinstance(leaf, OnboardError))
    raise CommandError(str(failure), _code_of(failure)) from failure


async def _work(state: Path, wish: Wish, work: Work, host_key: str | None, printer: Printer) -> Any:
    from pharos.helm.onboard.join.desk import RestDesk

    desk = RestDesk(functools.partial(_ask, state), running=(state / SOCKET_NAME).is_socket())
    return await work(wish, desk, opener(state, wish.destination, printer, host_key=host_key), printer)


async def _ask(state: Path, method: str, path: str, body: dict[str, Any] | None, version: int | None) -> dict[str, Any]:
    from pharos.helm.onboard.join.errors import StepError

    try:
        return await ask(state, method, path, body, version)
    except CommandError as error:
        raise StepError(f"helm says: {error.message}") from error


def _code_of(error: BaseException) -> Exit:
    from pharos.helm.onboard.errors import ConnectionLostError, HostKeyError
    from pharos.helm.onboard.join.errors import RefusedMachineError

    causes = [error, error.__cause__]
    if any(isinstance(each, ConnectionLostError) for each in causes):
        return Exit.UNREACHABLE
    if any(isinstance(each, HostKeyError | RefusedMachineError) for each in causes):
        return Exit.REFUSED
    return Exit.FAILED


def opener(state: Path, destination: Destination, printer: Printer, *, host_key: str | None = None) -> OpenRemote:
    """Return what connects with the operator's ssh, asking at the terminal if there is one."""
    from pharos.helm.onboard.ssh import open_remote
    from pharos.helm.onboard.ssh.keys import SshKeys
    from pharos.helm.onboard.ssh.prompts import NobodyToAsk, TerminalPrompts
    from pharos.wire.files import open_state_directory

    keys = SshKeys.open_keys(open_state_directory(state))
    prompts = TerminalPrompts() if at_terminal() else NobodyToAsk()
    return functools.partial(open_remote, destination, keys=keys, prompts=printer.quiet(prompts), host_key=host_key)
