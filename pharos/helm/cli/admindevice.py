"""helm admins device: from which devices an admin may use the desk."""

from __future__ import annotations

from pathlib import Path

import click

from pharos.helm.cli.api import call
from pharos.helm.cli.devices import read_device
from pharos.helm.cli.options import json_option, state_option
from pharos.helm.cli.records import path_of, plain, print_record, print_table, read_one
from pharos.wire.console import print_json, reports_errors


@click.command("device")
@click.argument("admin")
@click.argument("device", required=False)
@state_option
@click.option("--remove", is_flag=True, help="Take the device back instead; its open pages end at once.")
@json_option
@reports_errors
def device_(admin: str, device: str | None, state: Path, *, remove: bool, as_json: bool) -> None:
    """Let an admin use helm's page from a device, with caravel admin; without DEVICE, list theirs.

    Name and password are asked for there as they are here.

    \b
    Example:
      helm admins device ada laptop
      helm admins device ada laptop --remove
    """
    if device is None and remove:
        raise click.UsageError("--remove takes a device")
    record = read_one(state, "admins", admin)
    if device is not None:
        found = read_device(state, device)
        act = "take-device" if remove else "give-device"
        record = call(state, "POST", path_of("admins", record["id"], act), {"device": found["id"]})
        if as_json:
            print_record(record, as_json=True)
        else:
            said = "is no device of" if remove else "is now a device of"
            click.echo(f"{plain(found['name'])} {said} {plain(record['name'])}")
        return
    if as_json:
        print_json(record["devices"])
        return
    print_table(("name", "state", "id"), [(d["name"], d["state"], d["id"]) for d in record["devices"]])
