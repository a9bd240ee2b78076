"""helm nodes upgrade, helm relays upgrade."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pharos.helm.cli.byssh import deb_option, dry_run_option, json_lines_option
from pharos.helm.cli.options import state_option
from pharos.wire.console import reports_errors


def add_upgrade_command(group: click.Group, noun: str, example: str) -> None:
    """Add ``upgrade`` to the commands of nodes or relays."""

    @group.command(
        help=f"""Bring {noun} to the version of the package that helm has with it, over ssh, and back if it is no good.

    Each has to answer helm afterwards with the new version, serve what was ordered, and keep its tunnels; else the old
    version is installed again, and nobody else's turn comes. The same command goes on where it was cut.
    NAME=[USER@]HOST says how ssh reaches one of which helm does not know it.

    \b
    Example:
      helm {noun} upgrade {example}
      helm {noun} upgrade --all --canary 1
      helm {noun} upgrade {example}=root@203.0.113.7 --dry-run
    """
    )
    @click.argument("names", nargs=-1, metavar="[NAME[=DESTINATION]]...")
    @click.option("--all", "everywhere", is_flag=True, help="All that ssh reaches.")
    @click.option("--canary", "canaries", type=click.IntRange(0), default=0, help="So many first, one at a time.")
    @click.option(
        "--at-once", type=click.IntRange(1, 16), default=2, show_default=True, help="So many beside each other."
    )
    @click.option("--allow-downgrade", is_flag=True, help="Also where the new version is an older one.")
    @deb_option
    @dry_run_option
    @state_option
    @json_lines_option
    @reports_errors
    def upgrade(state: Path, *, names: tuple[str, ...], everywhere: bool, **options: Any) -> None:
        if everywhere == bool(names):
            raise click.UsageError(f"name some {noun}, or say --all")
        from pharos.helm.cli.upgrading import run_upgrade

        run_upgrade(state, noun, names, **options)
