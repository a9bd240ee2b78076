"""The `beacon` command."""

from __future__ import annotations

import datetime
import functools
from pathlib import Path
from typing import Any

import click

import pharos
from pharos.beacon.config import DEFAULT_STATE, BeaconConfig
from pharos.wire.agent import AgentKeys
from pharos.wire.agent_cli import config_option, csr_command, state_option
from pharos.wire.config import read_config
from pharos.wire.console import completion_command, print_facts, reports_errors
from pharos.wire.daemon import run_daemon, set_up_logging
from pharos.wire.files import open_state_directory
from pharos.wire.kept import kept_facts
from pharos.wire.pki.roles import Role


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
@state_option(DEFAULT_STATE)
@config_option
@click.option("--host", help="Address to listen on.")
@click.option("--ingress-port", type=int, help="TCP port for clients.")
@click.option(
    "--more-ingress-port", "ingress_ports", type=int, multiple=True, help="One more of them; may be repeated."
)
@click.option("--tunnel-port", type=int, help="TCP port for helm.")
@click.option("--decoy-site", help="Directory or file of the web site that strangers are shown.")
@click.option("--verbose", is_flag=True, help="Log more.")
@reports_errors
def run(config_file: Path | None, *, ingress_ports: tuple[int, ...], verbose: bool, **options: Any) -> None:
    """Serve until stopped. What strangers are shown besides has keys in the file: decoy_certificate and others.

    \b
    Example:
      beacon run --state /var/lib/pharos-beacon --ingress-port 443 --more-ingress-port 8443
    """
    # Engines and services take half a second to import; no other command needs them.
    from pharos.beacon.app import run_beacon

    config = read_config(BeaconConfig, config_file, options | {"ingress_ports": ingress_ports or None})
    set_up_logging(verbose=verbose)
    run_daemon(functools.partial(run_beacon, config))


main.add_command(csr_command("beacon", Role.RELAY, DEFAULT_STATE))
main.add_command(completion_command("beacon"))


@main.command()
@state_option(DEFAULT_STATE)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@reports_errors
def status(state: Path | None, *, as_json: bool) -> None:
    """Show who this relay is, and whom it believes and denies.

    \b
    Example:
      beacon status --json
    """
    directory = open_state_directory(state or DEFAULT_STATE)
    membership = AgentKeys(directory, Role.RELAY).membership(now=datetime.datetime.now(datetime.UTC))
    facts = membership.facts() | kept_facts(directory, membership.trust.fleet)
    print_facts(facts, as_json=as_json)
