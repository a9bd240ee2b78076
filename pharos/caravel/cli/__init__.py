"""The `caravel` command: a shim over the library."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import trio
from rich.console import Console
from rich.table import Table

import pharos
from pharos.caravel.client import Client, find_node, open_client
from pharos.caravel.config import DEFAULT_STATE
from pharos.caravel.enroll import ENROLMENT_TIMEOUT, enroll
from pharos.caravel.errors import CaravelError, HelmRefusedError, NoAnswerError
from pharos.caravel.profiles.pins import Standing
from pharos.caravel.profiles.store import Enrolled, ProfileStore
from pharos.caravel.profiles.ways import Examined
from pharos.caravel.tunnel.amnezia import FIRST_LOOK
from pharos.wire.console import CommandError, Exit, completion_command, print_facts, print_json, reports_errors
from pharos.wire.ids import NodeId
from pharos.wire.profile import AMNEZIAWG, VLESS_REALITY, Access, AmneziaWgAccess
from pharos.wire.seal.ticket import TicketLink
from pharos.wire.units import SECONDS

HANDSHAKE_TIMEOUT = 5 * SECONDS

state_option = click.option(
    "--state", type=click.Path(path_type=Path), default=DEFAULT_STATE, show_default=True, help="State directory."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(pharos.__version__, prog_name="caravel")
def main() -> None:
    """Connect this device to a Pharos fleet.

    \b
    Example:
      caravel enroll 'pharosvpn://enroll?…'    join, with the link you were given
      caravel doctor                           see whether every node answers
    """


main.add_command(completion_command("caravel"))


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

    enrolled = _run(join)
    profile = store.profile(datetime.datetime.now(datetime.UTC))
    facts = {
        "device": enrolled.device_id,
        "fleet": profile.fleet,
        "addresses": list(profile.addresses),
        "nodes": [node.name for node in profile.nodes],
    }
    if as_json:
        print_json(facts)
    else:
        click.echo(f"This device is {enrolled.device_id} in fleet {profile.fleet}.")
        click.echo(f"It can reach: {', '.join(node.name for node in profile.nodes) or 'no node yet'}.")


@main.command()
@state_option
@click.option("--sync/--no-sync", default=True, help="Ask helm for the newest profile first.")
@click.option("--confirm", help="Trust this node, by id or name, with the keys that it has: you have asked its owner.")
@json_option
@reports_errors
def profiles(state: Path, *, sync: bool, confirm: str | None, as_json: bool) -> None:
    """List the nodes this device may use, and what it makes of each.

    \b
    Example:
      caravel profiles --json
      caravel profiles --confirm amsterdam
    """

    async def read(client: Client) -> tuple[str | None, dict[NodeId, Standing], dict[NodeId, Examined]]:
        trouble = await _try_sync(client) if sync else None
        if confirm is not None:
            client.confirm(confirm)
        return trouble, client.standings(), client.examined()

    trouble, standings, examined = _with_client(state, read)
    if trouble is not None:
        click.echo(f"{trouble}; this is the kept profile", err=True)
    profile = ProfileStore(state).profile(datetime.datetime.now(datetime.UTC))
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
    if as_json:
        print_json({"fleet": profile.fleet, "device": profile.device_id, "synced": trouble is None, "nodes": nodes})
        return
    table = Table("node", "standing", "tags", "access", box=None, pad_edge=False)
    for node in nodes:
        table.add_row(str(node["name"]), str(node["standing"]), ", ".join(node["tags"]), ", ".join(node["access"]))
    Console().print(table)


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
    kept = store.bundle()
    print_facts(
        {
            "device": enrolled.device_id,
            "fleet": enrolled.root_hash.hex()[:16],
            "certificate_ends": enrolled.credentials().certificate.not_valid_after_utc.isoformat(),
            "bundle": "none" if kept is None else f"{kept[0][0]}.{kept[0][1]}",
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
                async with client.connect(node.id) as tunnel:
                    await tunnel.wait_up(HANDSHAKE_TIMEOUT + FIRST_LOOK * (len(node.amneziawg) - 1))
                    report = await tunnel.ping(count)
            except CaravelError as error:
                findings.append({"what": node.name, "ok": False, "detail": str(error)})
                continue
            middle = report.median
            detail = f"{report.received} of {count} echoes" + ("" if middle is None else f", {middle * 1000:.1f} ms")
            findings.append({"what": node.name, "ok": report.received == count, "detail": detail})
        return findings

    findings = _with_client(state, examine)
    if as_json:
        print_json(findings)
    else:
        for finding in findings:
            click.echo(f"{'ok' if finding['ok'] else 'no':<4}{finding['what']:<20}{finding['detail']}")
    # helm may be away, and that harms nothing; a node that does not answer is why one calls the doctor.
    if not all(finding["ok"] for finding in findings[1:]):
        raise CommandError("a node did not answer", Exit.UNREACHABLE)


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


def _with_client(state: Path, act: Callable[[Client], Any]) -> Any:
    async def main_task() -> Any:
        async with open_client(state) as client:
            return await act(client)

    return _run(main_task)


def _run(act: Callable[[], Any]) -> Any:
    try:
        return trio.run(act)
    except HelmRefusedError as error:
        raise CommandError(str(error), Exit.REFUSED) from error
    except NoAnswerError as error:
        raise CommandError(str(error), Exit.UNREACHABLE) from error
