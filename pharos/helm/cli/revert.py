"""helm revert"""

from __future__ import annotations

from pathlib import Path

import click

from pharos.helm.backup.revert import revert as revert_to_copies
from pharos.helm.cli.options import how_to_run, json_option, state_option
from pharos.helm.live.board import now_us
from pharos.helm.model.admins import OPERATOR
from pharos.helm.store.changes import Act
from pharos.wire.console import print_json, reports_errors
from pharos.wire.files import lock_state_directory, open_state_directory


@click.command()
@state_option
@json_option
@reports_errors
def revert(state: Path, *, as_json: bool) -> None:
    """Put the databases back to how they were before a newer helm changed them, so that this one can run.

    What was changed since then is lost to helm, as with a backup: devices that came keep their tunnels, and wait for
    your word (helm adoptions list). The newer databases are kept beside.

    \b
    Example:
      helm revert --state /srv/pharos
    """
    directory = open_state_directory(state)
    with lock_state_directory(directory):
        done = revert_to_copies(directory, Act(actor=OPERATOR.name, at=now_us()))
    if as_json:
        print_json(
            {
                "fleet": done.fleet.id,
                "epoch": done.fleet.epoch,
                "copies": {name: str(path) for name, path in done.copies.items()},
                "kept": str(done.kept),
                "tickets_withdrawn": done.tickets,
            }
        )
        return
    for name, path in done.copies.items():
        click.echo(f"{name} is {path.name} now; the newer one is in {done.kept}")
    if done.tickets:
        click.echo(f"Withdrawn: {done.tickets} open tickets.")
    click.echo(f"\nNext: {how_to_run(directory)}")
    click.echo("Each node is read before it is told anything. Then see: helm adoptions list, helm doctor")
