"""`caravel up` and `caravel down`: this whole machine in the tunnel."""

from __future__ import annotations

import datetime
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import click
import trio
from rich.console import Console

from pharos.caravel.cli.common import json_option, run, state_option, unlocking
from pharos.caravel.cli.picture import render_status
from pharos.caravel.cli.posture import managed_device
from pharos.caravel.config import ConnectConfig, config_file
from pharos.caravel.errors import ManagedError, NotRunningError
from pharos.caravel.profiles.store import ProfileStore
from pharos.caravel.running import SOCKET_NAME, ask_running, running_status, watch_running
from pharos.caravel.wholemachine import MachinePlan, open_machine
from pharos.wire.config import read_config
from pharos.wire.console import CommandError, Exit, print_json, reports_errors
from pharos.wire.files import open_state_directory
from pharos.wire.units import SECONDS

START_TIMEOUT: Final = 30 * SECONDS
"""For a node to let us in; it goes on behind the scenes if none has."""
LOG: Final = Path("/run/pharos-caravel/up.log")
"""Of one that was started from a terminal; in a directory of root's own."""
POLL: Final = 0.1 * SECONDS
_NAMES: Final[dict[str, tuple[str, ...]]] = {"caravel": (), "pharos": ("caravel",)}


@click.command("up")
@state_option
@click.option(
    "--config", "named", type=click.Path(path_type=Path), help="File of settings (default: connect.toml there)."
)
@click.option("--node", help="Id or name of the only node to use (default: whichever answers best).")
@click.option("--kill-switch/--no-kill-switch", default=None, help="Let nothing out beside the tunnel (default: on).")
@click.option("--lan/--no-lan", default=None, help="Reach the networks around this machine (default: yes).")
@click.option("--always", is_flag=True, help="Now, and after each start of this machine, before it has a network.")
@click.option("--foreground", is_flag=True, help="Stay, and log, until Ctrl-C or SIGTERM.")
@json_option
@reports_errors
def up_(
    state: Path,
    named: Path | None,
    *,
    node: str | None,
    kill_switch: bool | None,
    lan: bool | None,
    always: bool,
    foreground: bool,
    as_json: bool,
) -> None:
    """Lead everything of this machine through a node (Linux, as root): routes, names, and a kill switch.

    Other settings, such as what goes outside, are in the file; see docs/guide/system.md. Without root there is:
    caravel proxy.

    \b
    Example:
      sudo caravel up --state ~/.local/share/pharos/caravel
      sudo caravel up --node amsterdam --no-lan
      sudo caravel up --always
    """
    overrides = {"node": node, "kill_switch": kill_switch, "lan": lan}
    config = read_config(ConnectConfig, config_file(state, named), overrides)
    plan = MachinePlan(state=state, config=config, managed=managed_device(), unlocking=unlocking())
    # What is wrong with it is said here, and not in a log.
    plan.split  # noqa: B018
    if sys.platform != "linux" or os.geteuid() != 0:
        raise CommandError("caravel up changes this machine's routes: run it as root, on Linux; without: caravel proxy")
    if foreground:
        _stay(plan)
        return
    ProfileStore(state, unlocking=plan.unlocking).enrolled()
    words = _words(state, named, overrides)
    process = None
    if always:
        run(lambda: _install(plan, words))
    else:
        process = _spawn(state, words)
    _tell(run(lambda: _wait_up(state, process)), state, as_json=as_json)


@click.command("down")
@state_option
@click.option("--force", is_flag=True, help="Put back whatever one that was killed has left, the kill switch too.")
@click.option("--always", is_flag=True, help="Do not bring it up with this machine any more, either.")
@json_option
@reports_errors
def down_(state: Path, *, force: bool, always: bool, as_json: bool) -> None:
    """End this machine's connection, and put back what it changed.

    \b
    Example:
      sudo caravel down
      sudo caravel down --force
    """
    managed = managed_device()
    if managed is not None:
        try:
            managed.check_down()
        except ManagedError as error:
            raise CommandError(str(error), Exit.REFUSED) from error
    done = run(lambda: _end(state, force=force, always=always))
    if as_json:
        print_json(done)
    else:
        click.echo("This machine goes its own ways again." if any(done.values()) else "Nothing was up.")


async def _end(state: Path, *, force: bool, always: bool) -> dict[str, Any]:
    from pharos.caravel.system import restore_system
    from pharos.caravel.system.unit import remove

    units = [str(path) for path in await remove()] if always else []
    ended = True
    try:
        async with watch_running(state / SOCKET_NAME) as lines:
            await ask_running(state / SOCKET_NAME, "down")
            with trio.move_on_after(START_TIMEOUT):
                async for _ in lines:
                    pass
    except NotRunningError:
        ended = False
        if not (force or always):
            return {"ended": False, "restored": [], "units": units}
    return {"ended": ended, "restored": await restore_system() if force or always else [], "units": units}


def _stay(plan: MachinePlan) -> None:
    """Run in this process until somebody ends it."""

    async def main(*, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with open_machine(plan) as machine:
            task_status.started()
            try:
                await trio.sleep_forever()
            except trio.Cancelled:
                # systemd starts it again, and nothing gets out meanwhile; anybody else means the end.
                if not supervised:
                    machine.release()
                raise

    # Of POSIX, as all that is done here; the other commands do without.
    from pharos.wire.daemon import is_supervised, run_daemon, set_up_logging

    supervised = is_supervised()
    set_up_logging()
    if plan.managed is not None:
        logging.getLogger("pharos").setLevel(plan.managed.log.name)
    run_daemon(main)


def _words(state: Path, named: Path | None, overrides: dict[str, Any]) -> list[str]:
    """Return the command that stays, with the same choices and whole paths."""
    words = [*_program(), "up", "--foreground", "--state", str(state.resolve())]
    if named is not None:
        words += ["--config", str(named.resolve())]
    if overrides["node"] is not None:
        words += ["--node", overrides["node"]]
    for name in ("kill_switch", "lan"):
        if overrides[name] is not None:
            words.append(f"--{'' if overrides[name] else 'no-'}{name.replace('_', '-')}")
    return words


def _program() -> list[str]:
    """Return how this program is called again: a packaged one has its libraries by its own name alone."""
    program = Path(sys.argv[0]).absolute()
    if program.name in _NAMES and os.access(program, os.X_OK):
        return [str(program), *_NAMES[program.name]]
    return [sys.executable, "-m", "pharos", "caravel"]


def _spawn(state: Path, words: list[str]) -> subprocess.Popen[bytes]:
    """Start it as a program of its own, which outlives this terminal."""
    if run(lambda: running_status(state)) is not None:
        raise CommandError("it is up already; see: caravel status, caravel down", Exit.CONFLICT)
    open_state_directory(LOG.parent)
    with LOG.open("wb") as log:
        return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)  # noqa: S603 -- our own


async def _install(plan: MachinePlan, words: list[str]) -> None:
    from pharos.caravel.system.commands import run_command
    from pharos.caravel.system.unit import UP, install

    store = ProfileStore(plan.state, unlocking=plan.unlocking)
    system = plan.system_plan(store.profile(datetime.datetime.now(datetime.UTC)))
    await install(words, system, boot=system.kill_switch, writable=[plan.state.resolve()])
    await run_command("systemctl", "restart", UP)


async def _wait_up(state: Path, process: subprocess.Popen[bytes] | None) -> dict[str, Any]:
    """Return the status once it is up, or as it is when the patience ends.

    Raises: CommandError — it did not begin, or has ended.
    """
    status: dict[str, Any] | None = None
    with trio.move_on_after(START_TIMEOUT):
        while status is None or status["phase"] != "up":
            status = await running_status(state) or status
            if process is not None and process.poll() is not None:
                raise CommandError(_last_words(), Exit.FAILED)
            await trio.sleep(POLL)
    if status is None:
        raise CommandError(f"it did not begin; see {LOG}, or: journalctl -u caravel-up", Exit.FAILED)
    return status


def _last_words() -> str:
    """Return what one that has ended said last."""
    lines = LOG.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return (lines[-1] if lines else "it ended and said nothing").removeprefix("Error: ")


def _tell(status: dict[str, Any], state: Path, *, as_json: bool) -> None:
    if as_json:
        print_json(status)
    else:
        Console(highlight=False).print(render_status(status))
    if status["phase"] != "up":
        raise CommandError(
            f"no node has let this machine in yet; it goes on trying: caravel status --live --state {state}",
            Exit.UNREACHABLE,
        )
