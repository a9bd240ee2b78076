"""The `buoy` command."""

from __future__ import annotations

import collections
import datetime
import functools
from pathlib import Path
from typing import Any

import click

import pharos
from pharos.buoy.config import DEFAULT_STATE, BuoyConfig
from pharos.buoy.state import DesiredState
from pharos.wire.agent import AgentKeys
from pharos.wire.agent_cli import config_option, csr_command, state_option
from pharos.wire.config import read_config
from pharos.wire.console import completion_command, print_facts, reports_errors
from pharos.wire.daemon import run_daemon, set_up_logging
from pharos.wire.files import open_state_directory
from pharos.wire.kept import kept_facts
from pharos.wire.pki.roles import Role


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(pharos.__version__, prog_name="buoy")
def main() -> None:
    """Run a VPN node of a Pharos fleet.

    \b
    Example:
      buoy csr > request.json            make keys here, ask for a place in the fleet
      buoy csr --install grant.json      keep what helm answered
      buoy run                           serve
    """


@main.command()
@state_option(DEFAULT_STATE)
@config_option
@click.option("--host", help="Address to listen on.")
@click.option("--control-port", type=int, help="TCP port for helm.")
@click.option("--awg-port", type=int, help="UDP port for AmneziaWG.")
@click.option("--reality-port", type=int, help="TCP port for REALITY.")
@click.option("--verbose", is_flag=True, help="Log more.")
@reports_errors
def run(config_file: Path | None, *, verbose: bool, **options: Any) -> None:
    """Serve until stopped.

    \b
    Example:
      buoy run --state /var/lib/pharos-buoy --control-port 7443 --awg-port 443
    """
    # Engines and services take half a second to import; no other command needs them.
    from pharos.buoy.app import run_buoy

    config = read_config(BuoyConfig, config_file, options)
    set_up_logging(verbose=verbose)
    run_daemon(functools.partial(run_buoy, config))


@main.command()
@state_option(DEFAULT_STATE)
@config_option
@click.option("--awg", type=click.Path(path_type=Path), help="File for awg-quick, in a runtime directory.")
@click.option("--xray", type=click.Path(path_type=Path), help="File for Xray, likewise, named config.json.")
@reports_errors
def render(config_file: Path | None, awg: Path | None, xray: Path | None, **options: Any) -> None:
    """Write what engines read that systemd starts by itself: keys, peers and users as they are served now.

    Every secret in it is derived anew; name files that no reboot outlives.

    \b
    Example:
      buoy render --awg /run/pharos-buoy/awg0.conf
      buoy render --xray /run/pharos-xray/config.json
    """
    from pharos.buoy.render import read_plans, write_awg, write_xray

    if awg is None and xray is None:
        raise click.UsageError("name a file: --awg, --xray or both")
    config = read_config(BuoyConfig, config_file, options)
    plans = read_plans(config, now=datetime.datetime.now(datetime.UTC))
    if awg is not None:
        write_awg(awg, plans.awg)
        click.echo(f"{awg}: {len(plans.awg.peers)} peers" if plans.awg.endpoints else f"{awg}: nothing is ordered")
    if xray is not None:
        write_xray(xray, plans.reality, config)
        ordered = bool(plans.reality.endpoints)
        click.echo(f"{xray}: {len(plans.reality.users)} users" if ordered else f"{xray}: nothing is ordered")
    for reason, count in sorted(collections.Counter(plans.left_out.values()).items()):
        click.echo(f"left out, {reason}: {count}")


main.add_command(csr_command("buoy", Role.NODE, DEFAULT_STATE))
main.add_command(completion_command("buoy"))


@main.command()
@state_option(DEFAULT_STATE)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@reports_errors
def status(state: Path | None, *, as_json: bool) -> None:
    """Show who this node is, what helm last told it to serve, and whom it believes and denies.

    \b
    Example:
      buoy status --json
    """
    directory = open_state_directory(state or DEFAULT_STATE)
    keys = AgentKeys(directory, Role.NODE)
    membership = keys.membership(now=datetime.datetime.now(datetime.UTC))
    desired = DesiredState(directory).load()
    facts = membership.facts() | tunnel_keys(keys) | {"fence": str(desired.fence), "peers": len(desired.peers)}
    facts |= kept_facts(directory, membership.trust.fleet)
    print_facts(facts, as_json=as_json)


def tunnel_keys(keys: AgentKeys) -> dict[str, str]:
    """Return the public keys of this node's tunnels, spelt as `helm lock sign` shows them to be compared."""
    request = keys.make_request()
    assert request.awg_key is not None, "a node has one"
    assert request.derive_key is not None, "a node has one"
    return {"awg_key": request.awg_key.hex(), "derive_key": request.derive_key.hex()}
