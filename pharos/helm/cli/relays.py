"""helm relays …"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TextIO

import click

from pharos.helm.cli.api import call
from pharos.helm.cli.byssh import (
    deb_option,
    dry_run_option,
    host_key_option,
    join_by_ssh,
    json_lines_option,
    undo_by_ssh,
)
from pharos.helm.cli.nodes import STATES, link_of
from pharos.helm.cli.options import json_option, request_file_type, state_option
from pharos.helm.cli.places import add_place_command
from pharos.helm.cli.readopt import add_readopt_command
from pharos.helm.cli.records import API, change, print_table, read_all, read_one
from pharos.helm.cli.states import Verb, add_remove_command, add_show_command, add_state_commands, print_shown
from pharos.helm.cli.upgrade import add_upgrade_command
from pharos.wire.console import print_json, reports_errors


@click.group()
def relays() -> None:
    """The relays of the fleet (beacons): the way in for clients."""


@relays.command()
@click.argument("destination")
@click.option("--name", help="What you call it (default: as it calls itself).")
@click.option("--address", help="By which helm and devices reach it (default: as ssh does).")
@deb_option
@host_key_option
@dry_run_option
@state_option
@json_lines_option
@reports_errors
def add(destination: str, state: Path, **options: Any) -> None:
    """Make a bare machine a relay, over ssh: [USER@]HOST[:PORT] or a name of your ssh configuration.

    It is done again where it did not come to its end, and goes on from there; `helm relays undo` takes it back.

    \b
    Example:
      helm relays add root@203.0.113.9 --name gate
    """
    join_by_ssh(state, destination, ("beacon",), **options)


@relays.command()
@click.argument("destination")
@state_option
@json_lines_option
@reports_errors
def undo(destination: str, state: Path, *, as_json: bool) -> None:
    """Take back a `helm relays add` that did not come to its end: certificate, record, keys, and what it installed.

    \b
    Example:
      helm relays undo root@203.0.113.9
    """
    undo_by_ssh(state, destination, ("beacon", "buoy"), as_json=as_json)


@relays.command()
@state_option
@click.option(
    "--request", "request_file", type=request_file_type, required=True, help="What `beacon csr` printed there."
)
@click.option("--address", required=True, help="Host name or IP address by which helm and devices reach it.")
@click.option("--name", required=True, help="What you call it.")
@click.option("--ingress-port", type=int, default=443, show_default=True, help="TCP, for clients.")
@click.option("--tunnel-port", type=int, default=7444, show_default=True, help="TCP, for helm.")
@json_option
@reports_errors
def admit(state: Path, request_file: TextIO, *, as_json: bool, **values: Any) -> None:
    """Bring a relay into the fleet by files; prints the grant that `beacon csr --install` takes on the relay.

    \b
    Example:
      ssh root@203.0.113.9 beacon csr > request.json
      helm relays admit --request request.json --address 203.0.113.9 --name gate > grant.json
      ssh root@203.0.113.9 beacon csr --install - < grant.json
    """
    answer = call(state, "POST", f"{API}/relays", values | {"request": request_file.read()})
    if as_json:
        print_json(answer)
    else:
        click.echo(answer["grant"], nl=False)


@relays.command("list")
@state_option
@click.option("--state-is", "relay_state", type=click.Choice(STATES), help="Only these.")
@json_option
@reports_errors
def list_(state: Path, *, relay_state: str | None, as_json: bool) -> None:
    """List the relays and how they are.

    \b
    Example:
      helm relays list
    """
    seen = {relay["id"]: relay for relay in call(state, "GET", f"{API}/status")["relays"]}
    found = [seen.get(record["id"], {}) | record for record in read_all(state, "relays", {"state": relay_state})]
    if as_json:
        print_json(found)
        return
    print_table(
        ("name", "address", "state", "link", "passages", "refused", "runs", "place"),
        [
            (
                *(r["name"], r["address"], r["state"], link_of(r)),
                *(r.get(key) for key in ("passages", "refused", "agent_version", "place")),
            )
            for r in found
        ],
    )


@relays.command()
@click.argument("relay")
@click.argument("name")
@state_option
@json_option
@reports_errors
def rename(relay: str, name: str, state: Path, *, as_json: bool) -> None:
    """Call a relay something else.

    \b
    Example:
      helm relays rename gate gate-1
    """
    print_shown(change(state, "relays", read_one(state, "relays", relay), {"name": name}), as_json=as_json)


add_show_command(relays, "relays", "gate")
add_place_command(relays, "relays", "gate")
add_upgrade_command(relays, "relays", "gate")
add_readopt_command(relays, "relays")
add_state_commands(
    relays,
    "relays",
    "gate",
    Verb(name="drain", says="Leave a relay out of new profiles and tickets; it carries who comes."),
    Verb(name="resume", says="End draining a relay."),
    Verb(name="disable", says="Let a relay carry nobody, until it is enabled."),
    Verb(name="enable", says="Let a relay carry devices again."),
    Verb(name="revoke", says="Put a relay out of the fleet for ever.", final=True),
)
add_remove_command(relays, "relays", "gate", "Remove a relay that is revoked from the record.")
