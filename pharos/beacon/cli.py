"""The `beacon` command."""

from __future__ import annotations

import datetime
import functools
from pathlib import Path
from typing import Any, TextIO

import click

import pharos
from pharos.beacon.app import run_beacon
from pharos.beacon.config import DEFAULT_STATE, BeaconConfig
from pharos.wire.agent import AgentGrant, AgentKeys
from pharos.wire.config import read_config
from pharos.wire.console import print_facts, reports_errors
from pharos.wire.daemon import run_daemon, set_up_logging
from pharos.wire.files import open_state_directory
from pharos.wire.pki.roles import Role

state_option = click.option(
    "--state", type=click.Path(path_type=Path), default=None, help=f"State directory (default {DEFAULT_STATE})."
)
config_option = click.option(
    "--config", "config_file", type=click.Path(path_type=Path), help="TOML file with the keys of the options."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(pharos.__version__, prog_name="beacon")
def main() -> None:
    """Run a relay of a Pharos fleet: the way in for clients, which can read nothing.

    \b
    Example:
      beacon csr > request.json           make keys here, ask for a place in the fleet
      beacon csr --install grant.json     keep what helm answered
      beacon run                          serve
    """


@main.command()
@state_option
@config_option
@click.option("--host", help="Address to listen on.")
@click.option("--ingress-port", type=int, help="TCP port for clients.")
@click.option("--tunnel-port", type=int, help="TCP port for helm.")
@click.option("--verbose", is_flag=True, help="Log more.")
@reports_errors
def run(config_file: Path | None, *, verbose: bool, **options: Any) -> None:
    """Serve until stopped.

    \b
    Example:
      beacon run --state /var/lib/pharos-beacon --ingress-port 443 --tunnel-port 7444
    """
    config = read_config(BeaconConfig, config_file, options)
    set_up_logging(verbose=verbose)
    run_daemon(functools.partial(run_beacon, config))


@main.command()
@state_option
@click.option("--install", type=click.File("r"), help="Keep the grant in this file ('-' reads standard input).")
@reports_errors
def csr(state: Path | None, install: TextIO | None) -> None:
    """Print this relay's request for a place in a fleet, or keep helm's answer.

    The key is made here on first use and never leaves this machine.

    \b
    Example:
      beacon csr --state /var/lib/pharos-beacon > request.json
      beacon csr --state /var/lib/pharos-beacon --install grant.json
    """
    keys = AgentKeys(open_state_directory(state or DEFAULT_STATE), Role.RELAY)
    if install is None:
        click.echo(keys.make_request().render(), nl=False)
        return
    membership = keys.install(AgentGrant.parse(install.read()), now=datetime.datetime.now(datetime.UTC))
    click.echo(f"this relay is {membership.identity.uri}", err=True)


@main.command()
@state_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@reports_errors
def status(state: Path | None, *, as_json: bool) -> None:
    """Show who this relay is.

    \b
    Example:
      beacon status --json
    """
    directory = open_state_directory(state or DEFAULT_STATE)
    membership = AgentKeys(directory, Role.RELAY).membership(now=datetime.datetime.now(datetime.UTC))
    print_facts(membership.facts(), as_json=as_json)
