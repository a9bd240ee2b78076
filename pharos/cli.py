"""The `pharos` umbrella: every program under one name, and the demo."""

from __future__ import annotations

import importlib
from typing import Final

import click

import pharos

# A program is imported when it is asked for: `pharos beacon` does not pay for helm.
PROGRAMS: Final = {
    "helm": ("pharos.helm.cli", "The controller: commands the fleet."),
    "buoy": ("pharos.buoy.cli", "A VPN node."),
    "beacon": ("pharos.beacon.cli", "A relay: the way in for clients."),
    "caravel": ("pharos.caravel.cli", "The client."),
    "awg": ("pharos.wire.awg.cli", "Tunnel files of AmneziaWG."),
    "demo": ("pharos.demo.cli", "A whole fleet on this machine."),
}


class Programs(click.Group):
    """Finds the programs' own commands on demand."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the programs in the order of the table."""
        return list(PROGRAMS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a program's command."""
        if cmd_name not in PROGRAMS:
            return None
        command: click.Command = importlib.import_module(PROGRAMS[cmd_name][0]).main
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the programs without importing them."""
        with formatter.section("Programs"):
            formatter.write_dl([(name, text) for name, (_, text) in PROGRAMS.items()])


@click.command(cls=Programs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(pharos.__version__, prog_name="pharos")
def main() -> None:
    """PharosVPN: a self-hostable VPN fleet.

    \b
    Example:
      pharos demo              see a whole fleet run on this machine
      pharos helm init         make your own
    """
