"""helm nodes …"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, TextIO

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
from pharos.helm.cli.control import log_level, restart
from pharos.helm.cli.options import json_option, request_file_type, state_option
from pharos.helm.cli.places import add_place_command
from pharos.helm.cli.readopt import add_readopt_command
from pharos.helm.cli.records import API, change, do, path_of, print_table, read_all, read_one
from pharos.helm.cli.states import Verb, add_remove_command, add_show_command, add_state_commands, print_shown
from pharos.helm.cli.targets import check_target
from pharos.helm.cli.upgrade import add_upgrade_command
from pharos.helm.model.users import Protocol
from pharos.wire.console import CommandError, Exit, print_json, reports_errors

# Certificates allow for five minutes (security.md §2a), and helm's alert `clock_skewed` begins there.
MOST_SKEW_MS: Final = 300_000
PROTOCOLS = tuple(protocol.value for protocol in Protocol)
STATES = ("joining", "active", "draining", "disabled", "revoked")


@click.group()
def nodes() -> None:
    """The VPN nodes of the fleet (buoys)."""


@nodes.command()
@click.argument("destination")
@click.option("--name", help="What you call it (default: as it calls itself).")
@click.option("--address", help="By which helm and devices reach it (default: as ssh does).")
@click.option("--with-beacon", is_flag=True, help="Make it a relay, too, at TCP 8443: one machine is a whole fleet.")
@deb_option
@host_key_option
@dry_run_option
@state_option
@json_lines_option
@reports_errors
def add(destination: str, state: Path, *, with_beacon: bool, **options: Any) -> None:
    """Make a bare machine a node, over ssh: [USER@]HOST[:PORT] or a name of your ssh configuration.

    It is done again where it did not come to its end, and goes on from there; `helm nodes undo` takes it back.

    \b
    Example:
      helm nodes add root@203.0.113.7 --name amsterdam
      helm nodes add admin@203.0.113.7 --with-beacon --dry-run
    """
    join_by_ssh(state, destination, ("buoy", "beacon") if with_beacon else ("buoy",), **options)


@nodes.command()
@click.argument("destination")
@state_option
@json_lines_option
@reports_errors
def undo(destination: str, state: Path, *, as_json: bool) -> None:
    """Take back a `helm nodes add` that did not come to its end: certificate, record, keys, and what it installed.

    \b
    Example:
      helm nodes undo root@203.0.113.7
    """
    undo_by_ssh(state, destination, ("buoy", "beacon"), as_json=as_json)


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
def admit(state: Path, request_file: TextIO, *, as_json: bool, tags: tuple[str, ...], **values: Any) -> None:
    """Bring a node into the fleet by files; prints the grant that `buoy csr --install` takes on the node.

    \b
    Example:
      ssh root@203.0.113.7 buoy csr > request.json
      helm nodes admit --request request.json --address 203.0.113.7 --name amsterdam > grant.json
      ssh root@203.0.113.7 buoy csr --install - < grant.json
    """
    body = values | {"request": request_file.read(), "tags": list(tags)}
    answer = call(state, "POST", f"{API}/nodes", body)
    if as_json:
        print_json(answer)
    else:
        click.echo(answer["grant"], nl=False)


@nodes.command("list")
@state_option
@click.option("--state-is", "node_state", type=click.Choice(STATES), help="Only these.")
@click.option("--tag", help="Only nodes with this tag.")
@json_option
@reports_errors
def list_(state: Path, *, node_state: str | None, tag: str | None, as_json: bool) -> None:
    """List the nodes and how they are.

    \b
    Example:
      helm nodes list --json
      helm nodes list --tag eu
    """
    seen = {node["id"]: node for node in call(state, "GET", f"{API}/status")["nodes"]}
    found = [seen.get(r["id"], {}) | r for r in read_all(state, "nodes", {"state": node_state, "tag": tag})]
    if as_json:
        print_json(found)
        return
    print_table(
        ("name", "address", "state", "link", "peers", "applied", "runs", "tags", "place"),
        [
            (
                node["name"],
                node["address"],
                node["state"],
                link_of(node),
                node.get("peers"),
                f"{node.get('applied_revision')} of {node.get('desired_revision')}",
                node.get("agent_version"),
                node["tags"],
                node["place"],
            )
            for node in found
        ],
    )


@nodes.command()
@click.argument("node")
@click.argument("name")
@state_option
@json_option
@reports_errors
def rename(node: str, name: str, state: Path, *, as_json: bool) -> None:
    """Call a node something else.

    \b
    Example:
      helm nodes rename amsterdam amsterdam-1
    """
    print_shown(change(state, "nodes", read_one(state, "nodes", node), {"name": name}), as_json=as_json)


@nodes.command()
@click.argument("node")
@click.argument("tags", nargs=-1, required=True)
@state_option
@click.option("--remove", "removes", is_flag=True, help="Take the tags away.")
@json_option
@reports_errors
def tag(node: str, tags: tuple[str, ...], state: Path, *, removes: bool, as_json: bool) -> None:
    """Give a node tags, by which groups grant access.

    \b
    Example:
      helm nodes tag amsterdam eu fast
      helm nodes tag amsterdam fast --remove
    """
    record = read_one(state, "nodes", node)
    wanted = set(record["tags"]) - set(tags) if removes else set(record["tags"]) | set(tags)
    print_shown(change(state, "nodes", record, {"tags": sorted(wanted)}), as_json=as_json)


@nodes.command()
@click.argument("node")
@click.argument("ports", nargs=-1, type=click.IntRange(1, 65535))
@state_option
@json_option
@reports_errors
def spare(node: str, ports: tuple[int, ...], state: Path, *, as_json: bool) -> None:
    """Say on which other ports, UDP and TCP, a node may serve; profiles list them, and devices try them in turn.

    \b
    Example:
      helm nodes spare amsterdam 2053 4500
    """
    print_shown(change(state, "nodes", read_one(state, "nodes", node), {"spare_ports": list(ports)}), as_json=as_json)


@nodes.command()
@click.argument("node")
@state_option
@json_option
@reports_errors
def push(node: str, state: Path, *, as_json: bool) -> None:
    """Dial a node anew at once, read what it holds, and tell it what it lacks.

    Changes arrive without this. It is for a machine that was mended, or whose link was refused.

    \b
    Example:
      helm nodes push amsterdam
    """
    pushed = do(state, "nodes", read_one(state, "nodes", node), "push")
    if as_json:
        print_json(pushed)
    else:
        click.echo(f"{pushed['name']} is dialled anew; how it is then: helm nodes list")


@nodes.command()
@click.argument("node")
@state_option
@json_option
@reports_errors
def policy(node: str, state: Path, *, as_json: bool) -> None:
    """Show the rules of a node's firewall for devices, as nft lists them there. Settings `policy.…` make them.

    \b
    Example:
      helm nodes policy amsterdam
    """
    shown = call(state, "GET", path_of("nodes", read_one(state, "nodes", node)["id"], "policy"))
    if as_json:
        print_json(shown)
        return
    click.echo(shown["rules"], nl=False)
    if shown["assumed"]:
        click.echo(f"These are those of a machine as the package sets it up: {shown['assumed']}", err=True)


@nodes.command()
@click.argument("node")
@click.argument("target")
@click.argument("names", nargs=-1)
@state_option
@json_option
@reports_errors
def target(node: str, target: str, names: tuple[str, ...], state: Path, *, as_json: bool) -> None:
    """Say which site, HOST:PORT, a node's REALITY stands before, and by which names if not by the host's own.

    It takes hold at once. A device that has not heard of it comes in by AmneziaWG, or syncs first.

    \b
    Example:
      helm nodes target amsterdam www.example.org:443
      helm nodes target amsterdam 203.0.113.9:443 www.example.org
    """
    body = {"target": target, "server_names": list(names)}
    print_shown(do(state, "nodes", read_one(state, "nodes", node), "target", body), as_json=as_json)


@nodes.command()
@click.argument("node", required=False)
@click.option("--all", "everywhere", is_flag=True, help="Every node of the fleet.")
@click.option(
    "--protocol", "protocols", multiple=True, type=click.Choice(PROTOCOLS), help="Only of this one (default: of both)."
)
@state_option
@json_option
@reports_errors
def reissue(node: str | None, state: Path, *, everywhere: bool, protocols: tuple[str, ...], as_json: bool) -> None:
    """Give a node, or all of them, new parameters of AmneziaWG and REALITY, and another REALITY key.

    The old ones stay served on a spare port until every device has heard of the new ones, or for 14 days.

    \b
    Example:
      helm nodes reissue amsterdam
      helm nodes reissue --all
      helm nodes reissue --all --protocol reality
    """
    if everywhere == (node is not None):
        raise click.UsageError("name one node, or say --all")
    if node is not None:
        found = [read_one(state, "nodes", node)]
    else:
        found = [record for record in read_all(state, "nodes", {}) if record["state"] != "revoked"]
    done, left = [], []
    for record in found:
        try:
            done.append(do(state, "nodes", record, "reissue", {"protocols": list(protocols)} if protocols else None))
        except CommandError as error:
            if node is not None:
                raise
            left.append({"name": record["name"], "why": error.message})
    if as_json:
        print_json({"reissued": done, "left": left})
    else:
        for record in done:
            click.echo(f"{record['name']} has new parameters; the old ones stay served until devices know")
        for entry in left:
            click.echo(f"{entry['name']} was left as it is: {entry['why']}")
    if left:
        raise CommandError(f"{len(left)} of {len(found)} nodes were left as they are", Exit.CONFLICT)


def link_of(member: dict[str, Any]) -> str | None:
    """Return how the link to a node or relay is, and why; and what else was seen that somebody should look at."""
    link: str | None = member.get("link")
    if member.get("unreachable"):
        link = "unreachable"
    if member.get("detail"):
        link = f"{link}: {member['detail']}"
    said = [] if link is None else [link]
    skew = member.get("clock_skew_ms") or 0
    if abs(skew) > MOST_SKEW_MS:
        said.append(clock_of(skew))
    said += [f"trouble with {engine['protocol']}" for engine in member.get("engines", ()) if engine["trouble"]]
    return ", ".join(said) or None


def clock_of(skew_ms: int) -> str:
    """Return in words how a clock differs from helm's."""
    return f"clock {abs(skew_ms) / 60_000:.0f} min {'ahead' if skew_ms > 0 else 'behind'}"


nodes.add_command(check_target)
nodes.add_command(restart)
nodes.add_command(log_level)
add_show_command(nodes, "nodes", "amsterdam")
add_place_command(nodes, "nodes", "amsterdam")
add_upgrade_command(nodes, "nodes", "amsterdam")
add_readopt_command(nodes, "nodes")
add_state_commands(
    nodes,
    "nodes",
    "amsterdam",
    Verb(name="drain", says="Leave a node out of new profiles; it serves who is there."),
    Verb(name="resume", says="End draining a node."),
    Verb(name="disable", says="Let a node serve nobody, until it is enabled."),
    Verb(name="enable", says="Let a node serve again."),
    Verb(name="revoke", says="Put a node out of the fleet for ever.", final=True),
)
add_remove_command(nodes, "nodes", "amsterdam", "Remove a node that is revoked from the record.")
