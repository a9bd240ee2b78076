"""helm profiles …"""

from __future__ import annotations

from pathlib import Path

import click

from pharos.helm.cli.api import call
from pharos.helm.cli.devices import read_device
from pharos.helm.cli.options import json_option, state_option
from pharos.helm.cli.records import API, path_of, print_record, print_table, read_all
from pharos.wire.console import print_json, reports_errors


@click.group()
def profiles() -> None:
    """The sealed profiles of the devices; what is in them helm itself cannot read."""


@profiles.command("list")
@state_option
@click.option("--state-is", type=click.Choice(["synced", "stale"]), help="Only these.")
@json_option
@reports_errors
def list_(state: Path, *, state_is: str | None, as_json: bool) -> None:
    """List the profiles, and which devices hold the newest.

    \b
    Example:
      helm profiles list --state-is stale
    """
    found = read_all(state, "profiles", {"state": state_is})
    if as_json:
        print_json(found)
        return
    print_table(
        ("device", "state", "revision", "octets", "sealed", "synced"),
        [
            (p["name"], p["state"], f"{p['epoch']}.{p['revision']}", p["size"], p["sealed_at"], p["synced_at"])
            for p in found
        ],
    )


@profiles.command()
@click.argument("device")
@state_option
@json_option
@reports_errors
def show(device: str, state: Path, *, as_json: bool) -> None:
    """Show what is known of a device's profile, by the device's id or name.

    \b
    Example:
      helm profiles show laptop
    """
    found = call(state, "GET", path_of("profiles", read_device(state, device)["id"]))
    print_record(found, as_json=as_json)


@profiles.command()
@click.argument("device", required=False)
@state_option
@json_option
@reports_errors
def reseal(device: str | None, state: Path, *, as_json: bool) -> None:
    """Have profiles sealed anew though nothing in them changed: one device's, by its id or name, or everybody's.

    A running helm does it within seconds and tells the devices that are online. What changes is sealed without this.

    \b
    Example:
      helm profiles reseal laptop
      helm profiles reseal
    """
    body = {} if device is None else {"device": read_device(state, device)["id"]}
    found = call(state, "POST", f"{API}/profiles/reseal", body)
    if as_json:
        print_json(found)
    else:
        count = found["profiles"]
        click.echo(f"{count} profile{' is' if count == 1 else 's are'} being sealed anew.")
