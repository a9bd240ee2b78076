"""helm devices …"""

from __future__ import annotations

import datetime
import re
import sys
from pathlib import Path

import click
import segno
from rich.console import Console
from rich.table import Table

from pharos.helm.cli.api import call
from pharos.helm.cli.options import json_option, state_option
from pharos.wire.console import print_json, reports_errors

_UNITS = {"m": 60, "h": 3600, "d": 86400}


class Lifetime(click.ParamType[datetime.timedelta]):
    """``15m``, ``2h``, ``7d``."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime.timedelta:
        """Read a duration; anything else is a usage error."""
        if isinstance(value, datetime.timedelta):
            return value
        match = re.fullmatch(r"([1-9][0-9]{0,4})([mhd])", str(value))
        if match is None:
            self.fail(f"{value!r} is not a duration such as 15m, 2h or 7d", param, ctx)
        return datetime.timedelta(seconds=int(match[1]) * _UNITS[match[2]])


@click.group()
def devices() -> None:
    """The devices of your users."""


@devices.command()
@click.argument("name")
@state_option
@click.option("--ttl", type=Lifetime(), default="15m", show_default=True, help="How long it can be used, up to 7d.")
@click.option("--qr/--no-qr", default=None, help="Show a QR code (default: on a terminal).")
@json_option
@reports_errors
def invite(name: str, state: Path, ttl: datetime.timedelta, *, qr: bool | None, as_json: bool) -> None:
    """Write a ticket for a new device: one link, shown once, good for one device.

    \b
    Example:
      helm devices invite "Ada's phone"
      helm devices invite laptop --ttl 2h --json
    """
    body = {"device_name": name, "seconds": int(ttl.total_seconds())}
    answer = call(state, "POST", "/api/v1/tickets", body)
    if as_json:
        print_json(answer)
        return
    click.echo(answer["link"])
    if sys.stdout.isatty() if qr is None else qr:
        segno.make(answer["link"], error="l").terminal(compact=True)
    click.echo(f"On the device: caravel enroll '<link>'   (until {answer['expires_at']})", err=True)


@devices.command("list")
@state_option
@json_option
@reports_errors
def list_(state: Path, *, as_json: bool) -> None:
    """List the devices.

    \b
    Example:
      helm devices list
    """
    found = call(state, "GET", "/api/v1/status")["devices"]
    if as_json:
        print_json(found)
        return
    table = Table("name", "state", "last handshake", "id", box=None, pad_edge=False)
    for device in found:
        table.add_row(device["name"], device["state"], device["last_handshake_at"] or "never", device["id"])
    Console().print(table)


@devices.command()
@click.argument("device")
@state_option
@json_option
@reports_errors
def revoke(device: str, state: Path, *, as_json: bool) -> None:
    """Revoke a device, by id or by name: every node drops it at once, and it can never come back.

    \b
    Example:
      helm devices revoke "Ada's phone"
    """
    answer = call(state, "POST", "/api/v1/devices/revoke", {"device": device})
    if as_json:
        print_json(answer)
    else:
        click.echo(f"{answer['name']} ({answer['id']}) is {answer['state']}")
