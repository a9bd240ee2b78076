"""Taking a node or relay back that belongs to the fleet."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TextIO

import click

from pharos.helm.cli.byssh import deb_option, readopt_by_ssh
from pharos.helm.cli.options import json_option, request_file_type, state_option
from pharos.helm.cli.records import do, read_one
from pharos.wire.console import print_json, reports_errors

NODE_HELP = """Take a node back whose certificate has ended, over ssh: by the way it joined, or to DESTINATION.

It keeps its name and its place in profiles. A node that lost its tunnel keys needs --new-keys, and unless its old
keys signed the new ones, each device asks before it uses it. With --request nothing is dialled: it prints the grant
that `buoy csr --install` takes there.

\b
Example:
  helm nodes readopt amsterdam
  helm nodes readopt amsterdam root@203.0.113.8 --new-keys
  ssh root@203.0.113.7 buoy csr > request.json
  helm nodes readopt amsterdam --request request.json > grant.json
  ssh root@203.0.113.7 buoy csr --install - < grant.json
"""
RELAY_HELP = """Take a relay back whose certificate has ended, over ssh: by the way it joined, or to DESTINATION.

With --request nothing is dialled: it prints the grant that `beacon csr --install` takes there.

\b
Example:
  helm relays readopt gate
  ssh root@203.0.113.7 beacon csr > request.json
  helm relays readopt gate --request request.json > grant.json
  ssh root@203.0.113.7 beacon csr --install - < grant.json
"""


def add_readopt_command(group: click.Group, noun: str) -> None:
    """Give nodes or relays their ``readopt``."""
    nodes = noun == "nodes"

    @click.command("readopt", help=NODE_HELP if nodes else RELAY_HELP)
    @click.argument("record")
    @click.argument("destination", required=False)
    @click.option("--request", "request_file", type=request_file_type, help="What `csr` printed there.")
    @deb_option
    @state_option
    @json_option
    @reports_errors
    def command(
        record: str,
        destination: str | None,
        request_file: TextIO | None,
        deb: Path | None,
        state: Path,
        *,
        as_json: bool,
        new_keys: bool = False,
    ) -> None:
        if request_file is None:
            known = read_one(state, noun, record)
            readopt_by_ssh(state, noun, known, destination, new_keys=new_keys, deb=deb, as_json=as_json)
            return
        if destination is not None:
            raise click.UsageError("a request comes by file, and a destination by ssh: name one of them")
        body: dict[str, Any] = {"request": request_file.read(), "new_keys": new_keys}
        answer = do(state, noun, read_one(state, noun, record), "readopt", body)
        if as_json:
            print_json(answer)
            return
        click.echo(answer["grant"], nl=False)
        if answer["keys_changed"]:
            what = "its old keys signed them" if answer["proven"] else "each device will ask before it uses the node"
            click.echo(f"{answer['name']} has new tunnel keys: {what}", err=True)

    flag = click.option("--new-keys", is_flag=True, help="It lost its tunnel keys and made new ones.")
    group.add_command(flag(command) if nodes else command)
