"""Begin a fleet, and run its helm."""

from __future__ import annotations

import datetime
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import click
import trio

from pharos.helm.accounts.admins import make_first_admin
from pharos.helm.ca.authority import create_fleet
from pharos.helm.ca.vault import Vault, create_vault
from pharos.helm.cli.options import how_to_run, json_option, state_option, yes_option
from pharos.helm.config import WEB_PORT, HelmConfig
from pharos.helm.errors import AlreadyInitialisedError
from pharos.helm.live.board import now_us
from pharos.helm.model.admins import OPERATOR
from pharos.helm.model.fleet import Fleet, Posture
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database, Store, open_store
from pharos.helm.store.fleet import get_fleet, has_fleet
from pharos.wire.config import read_config
from pharos.wire.console import print_json, reports_errors
from pharos.wire.daemon import run_daemon, set_up_logging
from pharos.wire.files import lock_state_directory, open_state_directory

# The owner's name until it is changed: `helm admins` knows no nameless ones.
FIRST_ADMIN = "owner"


@click.command()
@state_option
@click.option("--personal", "posture", flag_value="personal", default="personal", help="One owner, a few machines.")
@click.option("--enterprise", "posture", flag_value="enterprise", help="Several admins, many users.")
@yes_option
@json_option
@reports_errors
def init(state: Path, posture: str, *, yes: bool, as_json: bool) -> None:
    """Make a fleet: its certificate authority, helm's own keys, and the recovery kit.

    \b
    Example:
      helm init --personal
      helm init --enterprise --state /srv/pharos --yes
    """
    # The kit and the link are shown once: somebody who only looked around should not find a fleet afterwards.
    if not yes and sys.stdin.isatty() and sys.stdout.isatty():
        click.confirm(f"Make a {posture} fleet in {state}? Its recovery kit is shown once", default=True, abort=True)
    directory = open_state_directory(state)
    with lock_state_directory(directory), open_store(directory, create=True) as store:
        show = functools.partial(_print_facts, directory) if as_json else _print_kit
        begun = trio.run(begin_fleet, store, directory, Posture(posture), show)
    if as_json:
        return
    click.echo(f"\nFleet {begun.fleet.id} is in {directory}.")
    click.echo(f"\nNext: {how_to_run(directory)}")
    click.echo("Then sign in, once, within 24 hours (helm admins link makes another):\n")
    click.echo(f"    {begun.link}")


@attrs.frozen(kw_only=True)
class Begun:
    """A fleet, and what is shown of it once."""

    fleet: Fleet
    kit: str
    """The recovery kit as it is printed."""
    link: str
    """Where the first owner signs in."""


def _print_facts(directory: Path, begun: Begun) -> None:
    print_json(
        {
            "fleet": begun.fleet.id,
            "state": str(directory),
            "posture": begun.fleet.posture.value,
            "recovery_kit": begun.kit,
            "admin_link": begun.link,
        }
    )


def _print_kit(begun: Begun) -> None:
    click.echo("Recovery kit: print it and keep it off this machine. It alone opens a backup, and the root key.\n")
    groups = begun.kit.split("-")
    for start in range(0, len(groups), 7):
        click.echo("    " + "-".join(groups[start : start + 7]))


async def begin_fleet(store: Store, directory: Path, posture: Posture, show: Callable[[Begun], object]) -> Begun:
    """Make a fleet, with its first owner. A database without a fleet is what an interrupted init left.

    ``show`` is called before the fleet is there: no fleet has a kit that nobody saw, and where that cannot be shown
    there is none. It runs in a thread.

    Raises: AlreadyInitialisedError.
    """
    if await store.run(has_fleet):
        raise AlreadyInitialisedError(f"{directory} holds a fleet already; choose another --state directory")
    vault, data_key = create_vault(directory)
    return await store.run(_begin, vault, data_key, posture, show)


def _begin(db: Database, vault: Vault, data_key: bytes, posture: Posture, show: Callable[[Begun], object]) -> Begun:
    kit = create_fleet(db, vault, data_key, posture, now=datetime.datetime.now(datetime.UTC))
    first = make_first_admin(db, Act(actor=OPERATOR.name, at=now_us()), FIRST_ADMIN)
    link = f"http://localhost:{WEB_PORT}/#link={first.secret}"
    begun = Begun(fleet=get_fleet(db), kit=kit.printed(), link=link)
    show(begun)
    return begun


@click.command()
@state_option
@click.option(
    "--config", "config_file", type=click.Path(path_type=Path), help="TOML file with the keys of the options."
)
@click.option("--web-host", help="Loopback address of the admin page.")
@click.option("--web-port", type=int, help="Port of the admin page.")
@click.option("--web-tls/--no-web-tls", default=None, help="Serve the page over TLS, to browsers with a certificate.")
@click.option("--beacon", type=click.Choice(["on", "off"]), help="Carry a beacon aboard, or none.")
@click.option("--beacon-address", help="Where devices reach it, HOST or HOST:PORT; tickets name it.")
@click.option("--verbose", is_flag=True, help="Log more.")
@reports_errors
def run(config_file: Path | None, *, verbose: bool, **options: Any) -> None:
    """Drive the fleet until stopped; tunnels go on without helm.

    The beacon aboard listens on loopback; another address takes the key beacon_host in the file. The file has further
    keys: web_origins, beacon_port, geoip.

    \b
    Example:
      helm run --web-port 8440
      helm run --beacon on --beacon-address vpn.example.org:443
    """
    # The web stack and the links take a second to import; no other command needs them.
    from pharos.helm.app import run_helm

    config = read_config(HelmConfig, config_file, options)
    set_up_logging(verbose=verbose)
    run_daemon(functools.partial(run_helm, config))
