"""helm pools …"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pharos.helm.cli.api import call
from pharos.helm.cli.options import json_option, state_option
from pharos.helm.cli.records import API, change, do, print_record, print_table, read_all, read_one
from pharos.helm.cli.states import add_remove_command, add_show_command
from pharos.wire.console import print_json, reports_errors


@click.group()
def pools() -> None:
    """The address pools: where devices' addresses inside the tunnel come from."""


@pools.command("list")
@state_option
@json_option
@reports_errors
def list_(state: Path, *, as_json: bool) -> None:
    """List the pools and how full they are.

    \b
    Example:
      helm pools list
    """
    found = read_all(state, "pools")
    if as_json:
        print_json(found)
        return
    print_table(
        ("name", "IPv4", "IPv6", "taken", "free", "preferred"),
        [(p["name"], p["network4"], p["network6"], p["taken"], p["free"], p["preferred"]) for p in found],
    )


@pools.command()
@click.argument("name")
@click.argument("network4")
@click.option("--network6", help="A ULA; without it the next free /64 of the fleet's own prefix.")
@state_option
@json_option
@reports_errors
def add(name: str, network4: str, state: Path, *, network6: str | None, as_json: bool) -> None:
    """Add a pool; devices get addresses in it when the others are used up, or once it is preferred.

    \b
    Example:
      helm pools add branch 10.87.0.0/16
    """
    _tell(call(state, "POST", f"{API}/pools", {"name": name, "network4": network4, "network6": network6}), as_json)


@pools.command("change")
@click.argument("pool")
@state_option
@click.option("--name", help="What you call it.")
@click.option("--network4", help="Begins where the old one does, once devices have addresses in it.")
@click.option("--network6", help="The same.")
@json_option
@reports_errors
def change_(pool: str, state: Path, *, as_json: bool, **values: str | None) -> None:
    """Change a pool's name or networks; an address that was given stays what it is.

    \b
    Example:
      helm pools change devices --network4 10.86.0.0/15
    """
    wanted = {name: value for name, value in values.items() if value is not None}
    _tell(change(state, "pools", read_one(state, "pools", pool), wanted), as_json)


@pools.command()
@click.argument("pool")
@state_option
@json_option
@reports_errors
def prefer(pool: str, state: Path, *, as_json: bool) -> None:
    """Let new devices come into this pool first.

    \b
    Example:
      helm pools prefer branch
    """
    _tell(do(state, "pools", read_one(state, "pools", pool), "prefer"), as_json)


def _tell(pool: dict[str, Any], as_json: bool) -> None:
    for warning in pool["warnings"]:
        click.echo(f"Warning: {warning}", err=True)
    print_record(pool, as_json=as_json)


add_show_command(pools, "pools", "devices")
add_remove_command(pools, "pools", "branch", "Remove a pool that no device is in any more.")
