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
from pharos.caravel.cli.common import fleet_option, json_option, run, state_option, unlocking, with_client
from pharos.caravel.cli.doctor import doctor_
from pharos.caravel.cli.exports import export, key
from pharos.caravel.cli.fleets import fleets, protect
from pharos.caravel.cli.links import conf_facts, import_, link_facts
from pharos.caravel.cli.links import forget as forget_kept
from pharos.caravel.cli.login import confirm, devices_, login_
from pharos.caravel.cli.managed import managed
from pharos.caravel.cli.open import open_
from pharos.caravel.cli.posture import PostureGroup, refuse_if_locked
from pharos.caravel.cli.proxy import proxy_
from pharos.caravel.cli.status import STALE, status_, switch_, watch_
from pharos.caravel.cli.up import down_, up_
from pharos.caravel.client import Client, KnownNode
from pharos.caravel.enrolment import ENROLMENT_TIMEOUT, enroll
from pharos.caravel.errors import CaravelError, NoAnswerError, NotEnrolledError
from pharos.caravel.profiles.confs import ConfStore
from pharos.caravel.profiles.fleets import Fleets
from pharos.caravel.profiles.links import LinkStore
from pharos.caravel.profiles.store import Enrolled, ProfileStore
from pharos.wire.console import completion_command, print_json, reports_errors
from pharos.wire.profile import AMNEZIAWG, VLESS_REALITY, Access, AmneziaWgAccess
from pharos.wire.seal.ticket import TicketLink


@click.group(cls=PostureGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(pharos.__version__, prog_name="caravel")
@fleet_option
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
main.add_command(key)
main.add_command(open_)
main.add_command(managed)
main.add_command(up_)
main.add_command(down_)
main.add_command(status_)
main.add_command(watch_)
main.add_command(switch_)
main.add_command(doctor_)
main.add_command(proxy_)
main.add_command(admin)
main.add_command(login_)
main.add_command(devices_)
main.add_command(confirm)
main.add_command(fleets)
main.add_command(protect)


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
    # Beside the fleets that this device is in already.
    store = Fleets(state, unlocking()).store_for(ticket.fleet)

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
@click.option("--forget", help="Forget the share link or configuration of this name.")
@json_option
@reports_errors
def profiles(state: Path, *, sync: bool, confirm: str | None, forget: str | None, as_json: bool) -> None:
    """List the nodes this device may use and what it makes of each, and the links and configurations it keeps.

    \b
    Example:
      caravel profiles --json
      caravel profiles --confirm amsterdam
      caravel profiles --forget cafe
    """
    store = LinkStore(state, unlocking=unlocking())
    if confirm is not None:
        refuse_if_locked("confirm a node")
    if forget is not None:
        forget_kept(state, forget)
    links = [link_facts(kept) for kept in store.all()]
    confs = [conf_facts(kept) for kept in ConfStore(state, unlocking()).all()]
    # Links need no fleet around them.
    fleet = (
        _fleet_facts(state, sync=sync, confirm=confirm)
        if _in_fleet(state) or not (links or confs or forget)
        else _NO_FLEET
    )
    if as_json:
        print_json({**fleet, "links": links, "configurations": confs})
        return
    console = Console()
    if fleet["nodes"] or not (links or confs):
        table = Table("node", "standing", "tags", "access", box=None, pad_edge=False)
        for node in fleet["nodes"]:
            table.add_row(node["name"], node["standing"], ", ".join(node["tags"]), ", ".join(node["access"]))
        console.print(table)
    if links:
        table = Table("link", "address", "server name", "fingerprint", box=None, pad_edge=False)
        for link in links:
            table.add_row(link["name"], link["address"], link["server_name"], link["fingerprint"])
        console.print(table)
    if confs:
        table = Table("configuration", "node", "protocol", box=None, pad_edge=False)
        for conf in confs:
            table.add_row(conf["name"], f"{conf['host']} port {conf['port']}", conf["protocol"])
        console.print(table)


_NO_FLEET: Final[dict[str, Any]] = {"fleet": None, "device": None, "synced": False, "stale": False, "nodes": []}


def _in_fleet(state: Path) -> bool:
    try:
        ProfileStore(state, unlocking=unlocking()).enrolled()
    except NotEnrolledError:
        return False
    return True


def _fleet_facts(state: Path, *, sync: bool, confirm: str | None) -> dict[str, Any]:
    async def read(client: Client) -> tuple[str | None, tuple[KnownNode, ...]]:
        trouble = await _try_sync(client) if sync else None
        if confirm is not None:
            client.confirm(confirm)
        return trouble, client.profiles()

    trouble, known = with_client(state, read)
    if trouble is not None:
        click.echo(f"{trouble}; this is the kept profile", err=True)
    now, store = datetime.datetime.now(datetime.UTC), ProfileStore(state, unlocking=unlocking())
    profile, stale = store.profile(now), store.is_stale(now)
    _warn_if(stale=stale)
    nodes = [
        {
            "id": one.node.id,
            "name": one.node.name,
            "tags": list(one.node.tags),
            "addresses": list(one.node.addresses),
            "access": list(dict.fromkeys(map(_named, one.node.access))),
            "standing": one.standing.value,
            "refused": list(one.refused),
        }
        for one in known
    ]
    synced = trouble is None
    return {"fleet": profile.fleet, "device": profile.device_id, "synced": synced, "stale": stale, "nodes": nodes}


def _warn_if(*, stale: bool) -> None:
    if stale:
        click.echo(f"{STALE}; connect as usual, and ask whoever runs the fleet", err=True)


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
