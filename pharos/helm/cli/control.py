"""helm nodes restart, helm nodes log-level"""

from __future__ import annotations

from pathlib import Path

import click

from pharos.helm.cli.api import call
from pharos.helm.cli.options import json_option, state_option
from pharos.helm.cli.records import path_of, read_one
from pharos.wire.console import print_json, reports_errors
from pharos.wire.profile import AMNEZIAWG, VLESS_REALITY


@click.command()
@click.argument("node")
@click.option("--protocol", type=click.Choice([AMNEZIAWG, VLESS_REALITY]), required=True, help="Whose engine.")
@state_option
@json_option
@reports_errors
def restart(node: str, protocol: str, state: Path, *, as_json: bool) -> None:
    """Have the engine of a protocol begin anew on a node. Its sessions end, and devices connect again.

    \b
    Example:
      helm nodes restart amsterdam --protocol vless-reality
    """
    done = call(
        state, "POST", path_of("nodes", read_one(state, "nodes", node)["id"], "restart"), {"protocol": protocol}
    )
    if as_json:
        print_json(done)
    else:
        click.echo(f"{protocol} of {done['name']} has begun anew")


@click.command("log-level")
@click.argument("node")
@click.argument("level", type=click.Choice(["debug", "info"]))
@state_option
@json_option
@reports_errors
def log_level(node: str, level: str, state: Path, *, as_json: bool) -> None:
    """Say how much a node writes to its own log, until it starts again.

    \b
    Example:
      helm nodes log-level amsterdam debug
    """
    done = call(state, "POST", path_of("nodes", read_one(state, "nodes", node)["id"], "log-level"), {"level": level})
    if as_json:
        print_json(done)
    else:
        click.echo(f"{done['name']} logs at {level}; there: journalctl -u pharos-buoy -f")
