"""helm adoptions …"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pharos.helm.cli.options import json_option, state_option, yes_option
from pharos.helm.cli.records import confirm, do, plain, read_all
from pharos.wire.console import CommandError, Exit, print_json, reports_errors

STATES = ("waiting", "adopted", "refused")


@click.group()
def adoptions() -> None:
    """Devices that nodes serve and a restored record does not know."""


@adoptions.command("list")
@state_option
@click.option("--state-is", "adoption_state", type=click.Choice(STATES), help="Only these (default: those that wait).")
@click.option("--all", "everything", is_flag=True, help="Those that were decided, too.")
@json_option
@reports_errors
def list_(state: Path, *, adoption_state: str | None, everything: bool, as_json: bool) -> None:
    """List the unknown devices, which keep their tunnels until you decide.

    \b
    Example:
      helm adoptions list
      helm adoptions list --all --json
    """
    wanted = adoption_state or (None if everything else "waiting")
    found = read_all(state, "adoptions", {"state": wanted})
    if as_json:
        print_json(found)
        return
    names = {node["id"]: node["name"] for node in read_all(state, "nodes")}
    if not found:
        click.echo("No device waits for adoption." if wanted == "waiting" else "There is none.")
    # No table: ids are copied from here, and a narrow terminal would cut them.
    for adoption in found:
        node = names.get(adoption["node_id"], adoption["node_id"])
        addresses = ", ".join(network.partition("/")[0] for network in adoption["peer"]["addresses"])
        click.echo(plain(f"{adoption['device_id']}  {adoption['state']} at {node}  {addresses}"))


@adoptions.command()
@click.argument("device")
@state_option
@click.option("--name", help="What you call it.")
@json_option
@reports_errors
def adopt(device: str, state: Path, *, name: str | None, as_json: bool) -> None:
    """Make an unknown device one of the record again. Its tunnel goes on, at every node.

    The record has only the keys of its tunnel. For a new profile the device has to enrol again with a new ticket, as
    a device of its own; revoke this one then.

    \b
    Example:
      helm adoptions adopt 0190c5b2-… --name "Ada's phone"
    """
    adopted = do(state, "adoptions", _waiting(state, device), "adopt", {} if name is None else {"name": name})
    if as_json:
        print_json(adopted)
        return
    click.echo(f"{device} is a device again: helm devices show {device}")
    click.echo("Its tunnel goes on. To get profiles it has to enrol again: helm devices invite")


@adoptions.command()
@click.argument("device")
@state_option
@yes_option
@json_option
@reports_errors
def refuse(device: str, state: Path, *, yes: bool, as_json: bool) -> None:
    """Take an unknown device off every node, and deny it for ever.

    \b
    Example:
      helm adoptions refuse 0190c5b2-… --yes
    """
    found = _waiting(state, device)
    confirm(f"Refuse {device} for ever?", yes=yes)
    refused = do(state, "adoptions", found, "refuse")
    if as_json:
        print_json(refused)
    else:
        click.echo(f"{device} is refused")


def _waiting(state: Path, device: str) -> dict[str, Any]:
    """Return a row that waits, by its own id or by the device's."""
    found = read_all(state, "adoptions", {"state": "waiting"})
    matches = [adoption for adoption in found if device in (adoption["id"], adoption["device_id"])]
    if not matches:
        raise CommandError(f"no device {device!r} waits for adoption; see: helm adoptions list")
    keys = {(adoption["peer"]["awg_key"], adoption["peer"]["derive_key"]) for adoption in matches}
    if len(keys) > 1:
        ids = ", ".join(f"{adoption['id']} (node {adoption['node_id']})" for adoption in matches)
        raise CommandError(f"nodes tell different keys of {device!r}; name one: {ids}", Exit.CONFLICT)
    return matches[0]
