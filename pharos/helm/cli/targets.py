"""helm nodes check-target"""

from __future__ import annotations

from pathlib import Path

import click

from pharos.helm.cli.api import call
from pharos.helm.cli.options import json_option, state_option
from pharos.helm.cli.records import API, print_table, read_one
from pharos.wire.console import CommandError, Exit, print_json, reports_errors

_PORT = 443
_FORBIDS = "forbids"


@click.command("check-target")
@click.argument("target", metavar="HOST[:PORT]")
@click.option("--name", "names", multiple=True, help="Name to ask for, if not the host's own; may be repeated.")
@click.option("--from", "node", help="The node that looks; without it, this machine.")
@state_option
@json_option
@reports_errors
def check_target(target: str, names: tuple[str, ...], node: str | None, state: Path, *, as_json: bool) -> None:
    """Look whether REALITY can stand before a site; exit code 0 if so, 1 if not. No page is fetched.

    \b
    Example:
      helm nodes check-target www.example.org
      helm nodes check-target 203.0.113.9:443 --name www.example.org --from amsterdam
    """
    body = {
        "target": with_port(target),
        "server_names": list(names),
        "node": None if node is None else read_one(state, "nodes", node)["id"],
    }
    found = call(state, "POST", f"{API}/nodes/check-target", body)
    if as_json:
        print_json(found)
    else:
        several = len(found["server_names"]) > 1
        print_table(
            ("", *(("name",) if several else ()), f"{found['target']} …"),
            [(one["verdict"], *((one["name"],) if several else ()), one["text"]) for one in found["findings"]],
        )
    if not found["usable"]:
        count = sum(one["verdict"] == _FORBIDS for one in found["findings"])
        reasons = "1 reason" if count == 1 else f"{count} reasons"
        raise CommandError(f"REALITY cannot stand before {found['target']}: {reasons} above", Exit.FAILED)
    if not as_json:
        click.echo(f"REALITY can stand before {found['target']}")


def with_port(target: str) -> str:
    """Return ``host:port``, with TLS's own port where none is said; an IPv6 address gets its brackets."""
    if target.startswith("["):
        return target if target.rpartition("]")[2] else f"{target}:{_PORT}"
    if target.count(":") > 1:
        return f"[{target}]:{_PORT}"
    return target if ":" in target else f"{target}:{_PORT}"
