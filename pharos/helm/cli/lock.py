"""helm lock …: the owner's offline key, which this command uses and helm never sees."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from pharos.helm.cli.api import call
from pharos.helm.cli.options import json_option, state_option, yes_option
from pharos.helm.cli.records import API, print_table
from pharos.wire.console import CommandError, Exit, print_json, reports_errors
from pharos.wire.ids import FleetId, NodeId
from pharos.wire.seal.lock import LockKey

LOCK = f"{API}/lock"


@click.group()
def lock() -> None:
    """The fleet lock: a key on paper that says which nodes there are, so that helm alone cannot add one."""


@lock.command()
@state_option
@yes_option
@json_option
@reports_errors
def init(state: Path, *, yes: bool, as_json: bool) -> None:
    """Make the key, print it once, and sign the nodes that there are.

    From their next sync on, devices refuse every node that is not signed. There is no way back: a device obeys the
    first lock that it sees.

    \b
    Example:
      helm lock init
    """
    status = call(state, "GET", LOCK)
    if status["key"] is not None:
        raise CommandError("the fleet has a lock already; see: helm lock status", Exit.CONFLICT)
    if not as_json:
        _show(status["nodes"])
    if not yes:
        click.confirm("Are these all of your nodes, and nobody else's", abort=True, err=True)
    key = LockKey.create()
    signatures = _sign(key, status, status["nodes"])
    call(state, "PUT", LOCK, {"key": key.public.hex(), "signatures": signatures})
    if as_json:
        print_json({"key": key.public.hex(), "lock": key.printed(), "signed": sorted(signatures)})
        return
    click.echo("\nThe key of the lock: print it and keep it off this machine. It is not stored, and not shown again.\n")
    groups = key.printed().split("-")
    for start in range(0, len(groups), 7):
        click.echo("    " + "-".join(groups[start : start + 7]))
    click.echo(f"\n{len(signatures)} nodes are signed. After each new node: helm lock sign")


@lock.command()
@state_option
@click.option("--offline", type=click.File("r"), help="Sign what 'lock status --json' said, and print the signatures.")
@click.option("--install", type=click.File("r"), help="Take the signatures that --offline printed.")
@yes_option
@json_option
@reports_errors
def sign(state: Path, *, offline: Any, install: Any, yes: bool, as_json: bool) -> None:
    """Sign the nodes that are not signed yet; asks for the key, or reads it from standard input.

    Whoever has this machine sees the key while it is typed. With --offline it is used on another one, which needs no
    fleet; compare what it shows with what 'buoy status' says on each node.

    \b
    Example:
      helm lock sign
      helm lock status --json > nodes.json
      helm lock sign --offline nodes.json > signatures.json      on another machine
      helm lock sign --install signatures.json
    """
    if install is not None:
        answer = call(state, "POST", f"{LOCK}/signatures", {"signatures": _read(install, "signatures")["signatures"]})
        _report(answer, as_json=as_json)
        return
    status = call(state, "GET", LOCK) if offline is None else _read(offline, "fleet", "key", "nodes")
    if status["key"] is None:
        raise CommandError("the fleet has no lock; run: helm lock init", Exit.CONFLICT)
    unsigned = [node for node in status["nodes"] if not node["signed"]]
    if unsigned:
        _show(unsigned, err=as_json or offline is not None)
        key = LockKey.parse(_ask_key())
        if key.public.hex() != status["key"]:
            raise CommandError("that is the key of another fleet's lock", Exit.REFUSED)
        if not yes and sys.stdin.isatty():
            click.confirm("Are these nodes yours", abort=True, err=True)
        signatures = _sign(key, status, unsigned)
    else:
        signatures = {}
    if offline is not None:
        print_json({"signatures": signatures})
        return
    _report(call(state, "POST", f"{LOCK}/signatures", {"signatures": signatures}), as_json=as_json)


@lock.command()
@state_option
@json_option
@reports_errors
def status(state: Path, *, as_json: bool) -> None:
    """Show whether there is a lock, and which nodes it has signed.

    \b
    Example:
      helm lock status
    """
    found = call(state, "GET", LOCK)
    if as_json:
        print_json(found)
        return
    click.echo("There is no fleet lock." if found["key"] is None else f"The fleet lock has the key {found['key']}.")
    _show(found["nodes"])


def _show(nodes: list[dict[str, Any]], *, err: bool = False) -> None:
    if err:
        for node in nodes:
            click.echo(f"{node['name']} {node['address']} {node['awg_key']} {node['derive_key']}", err=True)
        return
    print_table(
        ("node", "address", "signed", "AmneziaWG key", "derive key"),
        [(n["name"], n["address"], "yes" if n["signed"] else "no", n["awg_key"], n["derive_key"]) for n in nodes],
    )


def _report(status: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(status)
        return
    open_ones = [node["name"] for node in status["nodes"] if not node["signed"]]
    click.echo("Every node is signed." if not open_ones else f"Not signed: {', '.join(open_ones)}")


def _ask_key() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline()
    key: str = click.prompt("Key of the lock (case, spaces and hyphens do not matter)", hide_input=True, err=True)
    return key


def _sign(key: LockKey, status: dict[str, Any], nodes: list[dict[str, Any]]) -> dict[str, str]:
    return {
        node["id"]: key.sign_node(
            FleetId(status["fleet"]),
            NodeId(node["id"]),
            awg_key=bytes.fromhex(node["awg_key"]),
            derive_key=bytes.fromhex(node["derive_key"]),
        ).hex()
        for node in nodes
    }


def _read(file: Any, *members: str) -> dict[str, Any]:
    try:
        body = json.load(file)
        return {member: body[member] for member in members}
    except (ValueError, TypeError, KeyError) as error:
        raise CommandError(f"{file.name} is not what the other command printed") from error
