"""helm backup, helm restore."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any, Final, TextIO

import click

from pharos.helm.backup.archive import Made, make_backup
from pharos.helm.backup.restore import check_empty, restore_backup
from pharos.helm.backup.scratch import open_scratch
from pharos.helm.backup.targets import parse_target
from pharos.helm.ca.vault import RecoveryKit
from pharos.helm.cli.api import call
from pharos.helm.cli.options import how_to_run, json_option, state_option
from pharos.helm.cli.records import API
from pharos.helm.errors import BackupError
from pharos.helm.live.board import now_us
from pharos.helm.model.admins import OPERATOR
from pharos.helm.store.changes import Act
from pharos.helm.store.times import moment, rfc3339
from pharos.wire.console import CommandError, Exit, print_json, reports_errors
from pharos.wire.files import lock_state_directory, open_state_directory
from pharos.wire.units import MIB, SECONDS

kit_option = click.option(
    "--kit", "kit_file", type=click.File("r"), help="File with the recovery kit; - is standard input."
)


@click.command()
@state_option
@click.option(
    "--to", default=".", show_default="here", help="A folder, sftp:USER@HOST:/PATH, or cmd:COMMAND, which reads it."
)
@click.option("--with-root", is_flag=True, help="The root's key, too: needed to rotate authorities after a restore.")
@click.option("--with-telemetry", is_flag=True, help="The history of charts and sessions, too.")
@kit_option
@json_option
@reports_errors
def backup(
    state: Path, to: str, kit_file: TextIO | None, *, with_root: bool, with_telemetry: bool, as_json: bool
) -> None:
    """Write a backup: one file, encrypted, that the recovery kit opens on any machine.

    It works while helm runs, and while it does not.

    \b
    Example:
      helm backup --to /media/stick
      helm backup --to sftp:me@nas.example:/backups
      helm backup --to 'cmd:rclone rcat remote:pharos/{name}'
    """
    directory = open_state_directory(state)
    target = parse_target(to)
    kit = None if kit_file is None else RecoveryKit.parse(kit_file.read())
    # First, so that nothing is written for a fleet that is not there, or by a helm that cannot note it.
    call(directory, "GET", f"{API}/backups")

    def make(folder: Path) -> Made:
        return make_backup(directory, folder, at=now_us(), with_root=with_root, with_telemetry=with_telemetry, kit=kit)

    if isinstance(target, Path):
        if not target.is_dir():
            raise BackupError(f"{target} is not a folder; make it, or name another with --to")
        made = make(target.resolve())
        place = str(made.path)
    else:
        with open_scratch(directory) as scratch:
            made = make(scratch)
            place = target.deliver(made)
    note = {"at": made.header.at, "sha256": made.sha256, "with_root": with_root, "to": _told(place)}
    call(directory, "POST", f"{API}/backups", note)
    facts = {"file": place, "fleet": made.header.fleet, "size": made.size, "sha256": made.sha256, "root": with_root}
    if as_json:
        print_json(facts)
        return
    root = "with the root's key" if with_root else "without the root's key"
    click.echo(f"{place}: {made.size / MIB:.1f} MiB {root}, read back and whole")
    click.echo("To open it: helm restore FILE --state DIR, and the recovery kit that helm init printed.")


@click.command()
@click.argument("file", type=click.File("rb"))
@state_option
@kit_option
@json_option
@reports_errors
def restore(file: Any, state: Path, kit_file: TextIO | None, *, as_json: bool) -> None:
    """Make a helm of a backup, in an empty state directory; the recovery kit is asked for.

    The old helm must not run any more. Devices that came after the backup keep their tunnels, and wait for your word:
    helm adoptions list.

    \b
    Example:
      helm restore pharos-1f0c….backup --state /srv/pharos
      helm restore pharos-1f0c….backup --state /srv/pharos --kit kit.txt
    """
    directory = open_state_directory(state)
    with lock_state_directory(directory):
        # Before somebody types a kit in vain.
        check_empty(directory)
        kit = RecoveryKit.parse(_asked() if kit_file is None else kit_file.read())
        act = Act(actor=OPERATOR.name, at=now_us())
        restored = restore_backup(file, directory, kit, act)
        _outlast(restored.fleet.epoch)
    facts = {
        "fleet": restored.fleet.id,
        "state": str(directory),
        "backup_made_at": rfc3339(restored.made_at),
        "epoch": restored.fleet.epoch,
        "tickets_withdrawn": restored.tickets,
        "root": restored.with_root,
    }
    if as_json:
        print_json(facts)
        return
    click.echo(f"Fleet {restored.fleet.id} is in {directory}, as of {moment(restored.made_at):%Y-%m-%d %H:%M} UTC.")
    click.echo(f"Withdrawn: {restored.tickets} open tickets, all sign-in links and sessions.\n")
    click.echo(f"Next: {how_to_run(directory)}")
    click.echo("Each node is read before it is told anything. Then see: helm adoptions list, helm doctor")
    click.echo("To sign in: helm admins link owner")


# The epoch is the second of now, or the one behind it; and so the wait is at most so long.
_AHEAD: Final = 2 * SECONDS


def _told(place: str) -> str:
    """Return a place as the audit takes it."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in place)[:300]


def _asked() -> str:
    if not sys.stdin.isatty():
        raise CommandError(
            "the recovery kit is needed: --kit FILE, or --kit - and the kit on standard input", Exit.USAGE
        )
    kit: str = click.prompt("Recovery kit (case, spaces and hyphens do not matter)")
    return kit


def _outlast(epoch: int) -> None:
    """Wait for the end of the second that the epoch is named by: the next restore on this clock gets another one.

    A fleet that is not a second old has the next one. Where the clock was set back, the nodes tell (`raise_epoch`).
    """
    while 0 < (left := epoch + 1 - time.time()) <= _AHEAD:
        time.sleep(left)
