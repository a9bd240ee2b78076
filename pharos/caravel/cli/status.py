"""`caravel status` and `caravel watch`: who this device is, and how its connection is doing."""

from __future__ import annotations

import datetime
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.live import Live

from pharos.caravel.cli.common import json_option, run, state_option
from pharos.caravel.cli.picture import Rates, event_line, render_status
from pharos.caravel.errors import LockedStoreError, NotEnrolledError
from pharos.caravel.profiles.store import Enrolled, ProfileStore
from pharos.caravel.running import SOCKET_NAME, ask_running, running_status, watch_running
from pharos.wire.console import print_facts, print_json, reports_errors
from pharos.wire.units import SECONDS

SWITCH_TIMEOUT = 60 * SECONDS
"""For every way to a node to be tried."""
STALE = "helm was not heard for more than seven days: this profile may be stale, or somebody keeps a newer one from us"


@click.command("status")
@state_option
@click.option("--live", is_flag=True, help="Stay, and show what goes through, until Ctrl-C.")
@json_option
@reports_errors
def status_(state: Path, *, live: bool, as_json: bool) -> None:
    """Show who this device is, how fresh its profile is, and its connection if one is up.

    \b
    Example:
      caravel status
      caravel status --live
    """
    running = run(lambda: running_status(state))
    device = _device(state, needed=running is None)
    if device and device["stale"]:
        click.echo(f"{STALE}; connect as usual, and ask whoever runs the fleet", err=True)
    if as_json:
        print_json({**device, "connection": running})
        return
    if device:
        print_facts(device, as_json=False)
    console = Console(highlight=False)
    if running is None:
        console.print("\n[red]○[/] [bold]Not connected[/]")
        return
    console.print()
    if live and console.is_terminal:
        run(lambda: _show_live(state, console))
        return
    console.print(render_status(running))


@click.command("watch")
@state_option
@json_option
@reports_errors
def watch_(state: Path, *, as_json: bool) -> None:
    """Tell what happens to the connection, a line each, until it ends or Ctrl-C.

    \b
    Example:
      caravel watch
      caravel watch --json | jq -c 'select(.kind == "connected")'
    """

    async def follow() -> None:
        async with watch_running(state / SOCKET_NAME) as lines:
            async for line in lines:
                if "event" in line:
                    _say(line["event"], as_json=as_json)

    run(follow)


@click.command("switch")
@click.argument("node", required=False)
@state_option
@json_option
@reports_errors
def switch_(node: str | None, state: Path, *, as_json: bool) -> None:
    """Go over to another node, by id or name, or without one to the best; what is in use carries until that is up.

    \b
    Example:
      caravel switch oslo
    """
    status = run(lambda: ask_running(state / SOCKET_NAME, "switch", node=node, timeout=SWITCH_TIMEOUT))
    if as_json:
        print_json(status)
    else:
        Console(highlight=False).print(render_status(status))


def _say(event: Mapping[str, Any], *, as_json: bool) -> None:
    click.echo(json.dumps(event, ensure_ascii=False) if as_json else event_line(event))
    sys.stdout.flush()


async def _show_live(state: Path, console: Console) -> None:
    rates = Rates()
    with Live(console=console, auto_refresh=False) as picture:
        async with watch_running(state / SOCKET_NAME) as lines:
            async for line in lines:
                if "status" in line:
                    rates.take(line["status"])
                    picture.update(render_status(line["status"], rates), refresh=True)


def _device(state: Path, *, needed: bool) -> dict[str, Any]:
    """Return the facts of the device; none where a connection without a fleet is up."""
    # Nobody is asked for a passphrase to be shown that there is one.
    store = ProfileStore(state)
    try:
        enrolled: Enrolled | None = store.enrolled()
    except NotEnrolledError:
        if needed:
            raise
        return {}
    except LockedStoreError:
        enrolled = None
    member, keeping, kept, heard_at = store.member, store.vault.keeping(), store.bundle(), store.heard_at()
    assert member is not None, "it has an identity, locked or not"
    ends = None if enrolled is None else enrolled.credentials().certificate.not_valid_after_utc.isoformat()
    return {
        "device": member.device,
        "fleet": member.fleet,
        "certificate_ends": ends or "not known while the store is locked",
        "bundle": "none" if kept is None else f"{kept[0][0]}.{kept[0][1]}",
        "helm_heard": "never" if heard_at is None else heard_at.isoformat(timespec="seconds"),
        "stale": store.is_stale(datetime.datetime.now(datetime.UTC)),
        "protection": "none yet" if keeping is None else keeping.protection.value,
        "locked": enrolled is None,
    }
