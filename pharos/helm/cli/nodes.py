"""helm nodes …"""

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
def nodes() -> None:
    """The VPN nodes of the fleet (buoys)."""


@nodes.command()
@state_option
@click.option("--request", "request_file", type=request_file_type, required=True, help="What `buoy csr` printed there.")
@click.option("--address", required=True, help="Host name or IP address by which helm and devices reach it.")
@click.option("--name", required=True, help="What you call it.")
@click.option("--control-port", type=int, default=7443, show_default=True, help="TCP, for helm.")
@click.option("--awg-port", type=int, default=443, show_default=True, help="UDP, for devices.")
@click.option("--tag", "tags", multiple=True, help="May be repeated.")
@json_option
@reports_errors
def add(state: Path, request_file: TextIO, *, as_json: bool, tags: tuple[str, ...], **values: Any) -> None:
    """Bring a node into the fleet; prints the grant that `buoy csr --install` takes on the node.

    \b
    Example:
      ssh root@203.0.113.7 buoy csr > request.json
      helm nodes add --request request.json --address 203.0.113.7 --name amsterdam > grant.json
      ssh root@203.0.113.7 buoy csr --install - < grant.json
    """
    body = values | {"request": request_file.read(), "tags": list(tags)}
    answer = call(state, "POST", "/api/v1/nodes", body)
    if as_json:
        print_json(answer)
    else:
        click.echo(answer["grant"], nl=False)


@nodes.command("list")
@state_option
@json_option
@reports_errors
def list_(state: Path, *, as_json: bool) -> None:
    """List the nodes and how they are.

    \b
    Example:
      helm nodes list --json
    """
    found = call(state, "GET", "/api/v1/status")["nodes"]
    if as_json:
        print_json(found)
        return
    table = Table("name", "address", "state", "link", "peers", "applied", box=None, pad_edge=False)
    for node in found:
        table.add_row(
            node["name"],
            node["address"],
            node["state"],
            node["link"] + (f": {node['detail']}" if node["detail"] else ""),
            str(node["peers"]),
            f"{node['applied_revision']} of {node['desired_revision']}",
        )
    Console().print(table)
