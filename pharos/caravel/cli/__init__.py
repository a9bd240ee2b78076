"""The `caravel` command: a shim over the library."""

from __future__ import annotations

import datetime
import sys
from pathlib import Path
from typing import Any, Final

import click
import trio
from rich.console import Console
from rich.table import Table

import pharos
from pharos.caravel.cli.admin import admin
from pharos.caravel.cli.common import json_option, run, state_option, with_client
from pharos.caravel.cli.links import export, import_, link_facts
from pharos.caravel.cli.login import confirm, devices_, login_
from pharos.caravel.cli.proxy import proxy_
from pharos.caravel.client import Client, find_node
from pharos.caravel.enroll import ENROLMENT_TIMEOUT, enroll
from pharos.caravel.errors import CaravelError, NoAnswerError, NotEnrolledError
from pharos.caravel.profiles.links import LinkStore
from pharos.caravel.profiles.pins import Standing
from pharos.caravel.profiles.store import Enrolled, ProfileStore
from pharos.caravel.profiles.ways import Examined
from pharos.caravel.tunnel.amnezia import FIRST_LOOK
from pharos.wire.console import CommandError, Exit, completion_command, print_facts, print_json, reports_errors
from pharos.wire.errors import WireError
from pharos.wire.ids import NodeId
from pharos.wire.profile import AMNEZIAWG, VLESS_REALITY, Access, AmneziaWgAccess, ProfileNode
from pharos.wire.seal.ticket import TicketLink
from pharos.wire.units import SECONDS

HANDSHAKE_TIMEOUT = 5 * SECONDS
STALE = "helm was not heard for more than seven days: this profile may be stale, or somebody keeps a newer one from us"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(pharos.__version__, prog_name="caravel")
def main() -> None:
    """Connect this device to a Pharos fleet.

    \b
    Example:
      caravel enroll 'pharosvpn://enroll?…'    join, with the link you were given
      caravel doctor                           see whether every node answers
      caravel proxy                            carry programs' connections through a node
    """


main.add_command(completion_command("caravel"))
main.add_command(import_)
main.add_command(export)
main.add_command(proxy_)
main.add_command(admin)
main.add_command(login_)
main.add_command(devices_)
main.add_command(confirm)


@main.command("enroll")
@click.argument("link")
@state_option
@click.option("--name", default="", help="What to call this device (default: as the ticket says).")
@json_option
@reports_errors
def enroll_(link: str, state: Path, name: str, *, as_json: bool) -> None:
    """Join a fleet with a ticket link. '-' reads the link from standard input, out of other users' sight.

    \b
    Example:
      caravel enroll 'pharosvpn://enroll?v=1&b=…'
    """
    text = sys.stdin.readline().strip() if link == "-" else link
    ticket = TicketLink.parse(text)
    store = ProfileStore(state)

    async def join() -> Enrolled:
        with trio.move_on_after(ENROLMENT_TIMEOUT):
            return await enroll(store, ticket, device_name=name)
        raise NoAnswerError(f"no relay of the fleet let us in within {ENROLMENT_TIMEOUT:.0f} s; try again")

    enrolled = run(join)
    profile = store.profile(datetime.datetime.now(datetime.UTC))
    facts = {
        "device": enrolled.device_id,
        "safety_words": enrolled.words,
        "fleet": profile.fleet,
        "addresses": list(profile.addresses),
        "nodes": [node.name for node in profile.nodes],
    }
    if as_json:
        print_json(facts)
    else:
        click.echo(f"This device is {enrolled.device_id} in fleet {profile.fleet}.")
        click.echo(f"Its safety words, as helm's page shows them: {enrolled.words}")
        click.echo(f"It can reach: {', '.join(node.name for node in profile.nodes) or 'no node yet'}.")


@main.command()
@state_option
@click.option("--sync/--no-sync", default=True, help="Ask helm for the newest profile first.")
@click.option("--confirm", help="Trust this node, by id or name, with the keys that it has: you have asked its owner.")
@click.option("--forget", help="Forget the share link of this name.")
@json_option
@reports_errors
def profiles(state: Path, *, sync: bool, confirm: str | None, forget: str | None, as_json: bool) -> None:
    """List the nodes this device may use and what it makes of each, and the share links it keeps.

    \b
    Example:
      caravel profiles --json
      caravel profiles --confirm amsterdam
      caravel profiles --forget cafe
    """
    store = LinkStore(state)
    if forget is not None:
        store.remove(forget)
    links = [link_facts(kept) for kept in store.all()]
    # Links need no fleet around them.
    fleet = _fleet_facts(state, sync=sync, confirm=confirm) if _in_fleet(state) or not (links or forget) else _NO_FLEET
    if as_json:
        print_json({**fleet, "links": links})
        return
    console = Console()
    if fleet["nodes"] or not links:
        table = Table("node", "standing", "tags", "access", box=None, pad_edge=False)
        for node in fleet["nodes"]:
            table.add_row(node["name"], node["standing"], ", ".join(node["tags"]), ", ".join(node["access"]))
        console.print(table)
    if links:
        table = Table("link", "address", "server name", "fingerprint", box=None, pad_edge=False)
        for link in links:
            table.add_row(link["name"], link["address"], link["server_name"], link["fingerprint"])
        console.print(table)


_NO_FLEET: Final[dict[str, Any]] = {"fleet": None, "device": None, "synced": False, "stale": False, "nodes": []}


def _in_fleet(state: Path) -> bool:
    try:
        ProfileStore(state).enrolled()
    except NotEnrolledError:
        return False
    return True


def _fleet_facts(state: Path, *, sync: bool, confirm: str | None) -> dict[str, Any]:
    async def read(client: Client) -> tuple[str | None, dict[NodeId, Standing], dict[NodeId, Examined]]:
        trouble = await _try_sync(client) if sync else None
        if confirm is not None:
            client.confirm(confirm)
        return trouble, client.standings(), client.examined()

    trouble, standings, examined = with_client(state, read)
    if trouble is not None:
        click.echo(f"{trouble}; this is the kept profile", err=True)
    now, store = datetime.datetime.now(datetime.UTC), ProfileStore(state)
    profile, stale = store.profile(now), store.is_stale(now)
    _warn_if(stale=stale)
    nodes = [
        {
            "id": node.id,
            "name": node.name,
            "tags": list(node.tags),
            "access": list(dict.fromkeys(map(_named, examined[node.id].node.access))),
            "standing": standings[node.id].value,
            "refused": list(examined[node.id].refused),
        }
        for node in profile.nodes
    ]
    synced = trouble is None
    return {"fleet": profile.fleet, "device": profile.device_id, "synced": synced, "stale": stale, "nodes": nodes}


def _warn_if(*, stale: bool) -> None:
    if stale:
        click.echo(f"{STALE}; connect as usual, and ask whoever runs the fleet", err=True)


@main.command()
@state_option
@json_option
@reports_errors
def status(state: Path, *, as_json: bool) -> None:
    """Show who this device is and how fresh its profile is.

    \b
    Example:
      caravel status
    """
    store = ProfileStore(state)
    enrolled = store.enrolled()
    kept, heard_at = store.bundle(), store.heard_at()
    stale = store.is_stale(datetime.datetime.now(datetime.UTC))
    _warn_if(stale=stale)
    print_facts(
        {
            "device": enrolled.device_id,
            "fleet": enrolled.root_hash.hex()[:16],
            "certificate_ends": enrolled.credentials().certificate.not_valid_after_utc.isoformat(),
            "bundle": "none" if kept is None else f"{kept[0][0]}.{kept[0][1]}",
            "helm_heard": "never" if heard_at is None else heard_at.isoformat(timespec="seconds"),
            "stale": stale,
        },
        as_json=as_json,
    )


@main.command()
@state_option
@click.option("--node", "wanted", help="Id or name of one node (default: all of them).")
@click.option("--count", type=click.IntRange(1, 1000), default=5, show_default=True, help="Echoes per node.")
@json_option
@reports_errors
def doctor(state: Path, wanted: str | None, count: int, *, as_json: bool) -> None:
    """Try helm, and send echoes through a tunnel to each node; fails if a node does not answer.

    A node that is open by REALITY alone is asked whether it lets this device in.

    \b
    Example:
      caravel doctor
      caravel doctor --node amsterdam --count 20 --json
    """

    async def examine(client: Client) -> list[dict[str, Any]]:
        trouble = await _try_sync(client)
        findings: list[dict[str, Any]] = [{"what": "helm", "ok": trouble is None, "detail": trouble or "in sync"}]
        profile = client.profile()
        nodes = profile.nodes if wanted is None else (find_node(profile, wanted),)
        for node in nodes:
            try:
                # A node that has REALITY alone answers no echoes.
                if node.reality and not node.amneziawg:
                    ok, detail = await _look_by_reality(client, node)
                else:
                    ok, detail = await _echo(client, node, count)
            except WireError as error:
                ok, detail = False, str(error)
            findings.append({"what": node.name, "ok": ok, "detail": detail})
        return findings

    findings = with_client(state, examine)
    if as_json:
        print_json(findings)
    else:
        for finding in findings:
            click.echo(f"{'ok' if finding['ok'] else 'no':<4}{finding['what']:<20}{finding['detail']}")
    # helm may be away, and that harms nothing; a node that does not answer is why one calls the doctor.
    if not all(finding["ok"] for finding in findings[1:]):
        raise CommandError("a node did not answer", Exit.UNREACHABLE)


async def _echo(client: Client, node: ProfileNode, count: int) -> tuple[bool, str]:
    async with client.connect(node.id) as tunnel:
        await tunnel.wait_up(HANDSHAKE_TIMEOUT + FIRST_LOOK * (len(node.amneziawg) - 1))
        report = await tunnel.ping(count)
    middle = report.median
    detail = f"{report.received} of {count} echoes" + ("" if middle is None else f", {middle * 1000:.1f} ms")
    return report.received == count, detail


async def _look_by_reality(client: Client, node: ProfileNode) -> tuple[bool, str]:
    async with client.connect_reality(node.id) as tunnel:
        seconds = await tunnel.wait_up(HANDSHAKE_TIMEOUT)
    return True, f"REALITY lets this device in, {seconds * 1000:.1f} ms"


def _named(way: Access) -> str:
    kind = AMNEZIAWG if isinstance(way, AmneziaWgAccess) else VLESS_REALITY
    return f"{kind} {way.host}:{way.port}"


async def _try_sync(client: Client) -> str | None:
    """Sync, and return what went wrong: a kept profile is as good as a fresh one to connect with."""
    try:
        await client.sync()
    except CaravelError as error:
        return str(error)
    return None
