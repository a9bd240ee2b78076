"""helm relays …"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TextIO

import click
from rich.console import Console
from rich.table import Table

from pharos.helm.cli.api import call
from pharos.helm.cli.options import json_option, request_file_type, state_option
from pharos.wire.console import print_json, reports_errors


@click.group()
def relays() -> None:
    """The relays of the fleet (beacons): the way in for clients."""


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
def add(state: Path, request_file: TextIO, *, as_json: bool, **values: Any) -> None:
    """Bring a relay into the fleet; prints the grant that `beacon csr --install` takes on the relay.

    \b
    Example:
      ssh root@203.0.113.9 beacon csr > request.json
      helm relays add --request request.json --address 203.0.113.9 --name gate > grant.json
      ssh root@203.0.113.9 beacon csr --install - < grant.json
    """
    answer = call(state, "POST", "/api/v1/relays", values | {"request": request_file.read()})
    if as_json:
        print_json(answer)
    else:
        click.echo(answer["grant"], nl=False)


@relays.command("list")
@state_option
@json_option
@reports_errors
def list_(state: Path, *, as_json: bool) -> None:
    """List the relays and how they are.

    \b
    Example:
      helm relays list
    """
    found = call(state, "GET", "/api/v1/status")["relays"]
    if as_json:
        print_json(found)
        return
    table = Table("name", "address", "state", "link", "passages", box=None, pad_edge=False)
    for relay in found:
        link = relay["link"] + (f": {relay['detail']}" if relay["detail"] else "")
        table.add_row(relay["name"], relay["address"], relay["state"], link, str(relay["passages"]))
    Console().print(table)
