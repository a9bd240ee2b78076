"""helm devices …"""

from __future__ import annotations

import datetime
import sys
from pathlib import Path
from typing import Any

import click

from pharos.helm.cli.api import call
from pharos.helm.cli.lifetimes import Lifetime
from pharos.helm.cli.options import json_option, state_option
from pharos.helm.cli.qrcodes import check_qr_file, print_qr, save_qr
from pharos.helm.cli.records import API, change, do, path_of, print_record, print_table, read_all, read_one
from pharos.helm.cli.states import print_moved, print_shown
from pharos.helm.cli.ticketfiles import ask_passphrase, check_ticket_file, save_ticket
from pharos.wire.console import CommandError, Exit, print_json, reports_errors
from pharos.wire.seal.ticket import FleetLink, TicketLink
from pharos.wire.seal.words import fleet_words


def read_device(state: Path, id_or_name: str) -> dict[str, Any]:
    """Return the device with that id, or the only one with that name that is not revoked, or was.

    Raises: CommandError — none, or several; the message lists their ids.
    """
    matches = read_all(state, "devices", {"id": id_or_name}) or read_all(state, "devices", {"name": id_or_name})
    live = [device for device in matches if device["state"] != "revoked"] or matches
    if not live:
        raise CommandError(f"there is no device {id_or_name!r}; see: helm devices list")
    if len(live) > 1:
        ids = ", ".join(device["id"] for device in live)
        raise CommandError(f"{id_or_name!r} is the name of {len(live)} devices: {ids}", Exit.CONFLICT)
    return call(state, "GET", path_of("devices", live[0]["id"]))


@click.group()
def devices() -> None:
    """The devices of your users."""


@devices.command()
@click.argument("name")
@state_option
@click.option("--user", help="Whose device it will be, by id or name.")
@click.option("--ttl", type=Lifetime(), default="15m", show_default=True, help="How long it can be used, up to 7d.")
@click.option("--qr/--no-qr", default=None, help="Show a QR code (default: on a terminal).")
@click.option("--qr-file", type=click.Path(path_type=Path), help="Write the QR code to this .png or .svg, too.")
@click.option("--file", "ticket_file", type=click.Path(path_type=Path), help="Write it to this .pharos file, too.")
@click.option("--lock", is_flag=True, help="Close the file with a passphrase, asked for or a line of standard input.")
@json_option
@reports_errors
def invite(
    name: str,
    state: Path,
    ttl: datetime.timedelta,
    *,
    user: str | None,
    qr: bool | None,
    qr_file: Path | None,
    ticket_file: Path | None,
    lock: bool,
    as_json: bool,
) -> None:
    """Write a ticket for a new device: one link, shown once, good for one device.

    \b
    Example:
      helm devices invite "Ada's phone" --user ada
      helm devices invite laptop --ttl 2h --json
      helm devices invite tablet --qr-file tablet.png
      helm devices invite desktop --file desktop.pharos --lock
    """
    if lock and ticket_file is None:
        raise click.UsageError("--lock closes a file; say --file")
    # Before the ticket is made: its link is shown once.
    passphrase = ask_passphrase() if lock else None
    if ticket_file is not None:
        check_ticket_file(ticket_file)
    if qr_file is not None:
        check_qr_file(qr_file)
    body: dict[str, Any] = {"device_name": name, "seconds": int(ttl.total_seconds())}
    if user is not None:
        body["user"] = read_one(state, "users", user)["id"]
    answer = call(state, "POST", f"{API}/tickets", body)
    if qr_file is not None:
        save_qr(answer["link"], qr_file)
    if ticket_file is not None:
        save_ticket(answer["link"], ticket_file, passphrase)
    if as_json:
        print_json(answer)
        return
    click.echo(answer["link"])
    if sys.stdout.isatty() if qr is None else qr:
        print_qr(answer["link"])
    click.echo(f"The fleet's words: {fleet_words(TicketLink.parse(answer['link']).root_hash)}", err=True)
    click.echo(f"On the device: caravel enroll '<link>'   (until {answer['expires_at']})", err=True)


@devices.command("link")
@state_option
@click.option("--qr/--no-qr", default=None, help="Show a QR code (default: on a terminal).")
@json_option
@reports_errors
def link_(state: Path, *, qr: bool | None, as_json: bool) -> None:
    """Print the fleet's link, with which users log in on their devices; it is no secret.

    \b
    Example:
      helm devices link --qr
    """
    answer = call(state, "GET", f"{API}/fleet/link")
    if as_json:
        print_json(answer)
        return
    click.echo(answer["link"])
    if sys.stdout.isatty() if qr is None else qr:
        print_qr(answer["link"])
    click.echo(f"The fleet's words: {fleet_words(FleetLink.parse(answer['link']).root_hash)}", err=True)
    click.echo("On a device: caravel login '<link>'", err=True)


@devices.command()
@state_option
@click.option("--state-is", type=click.Choice(["open", "used", "withdrawn", "expired"]), help="Only these.")
@json_option
@reports_errors
def tickets(state: Path, *, state_is: str | None, as_json: bool) -> None:
    """List the tickets that were written; their links were shown once.

    \b
    Example:
      helm devices tickets --state-is open
    """
    found = read_all(state, "tickets", {"state": state_is})
    if as_json:
        print_json(found)
        return
    print_table(
        ("for", "state", "until", "by", "id"),
        [(t["device_name"], t["state"], t["expires_at"], t["created_by"], t["id"]) for t in found],
    )


@devices.command()
@click.argument("ticket")
@state_option
@json_option
@reports_errors
def withdraw(ticket: str, state: Path, *, as_json: bool) -> None:
    """Make a ticket worthless that nobody has used, by its id.

    \b
    Example:
      helm devices withdraw 0123456789abcdef
    """
    record = do(state, "tickets", call(state, "GET", path_of("tickets", ticket)), "withdraw")
    if as_json:
        print_json(record)
    else:
        click.echo(f"the ticket for {record['device_name']} is {record['state']}")


@devices.command("list")
@state_option
@click.option("--state-is", type=click.Choice(["active", "disabled", "revoked"]), help="Only these.")
@click.option("--user", help="Only this user's, by id or name.")
@click.option("--search", help="Part of the name.")
@json_option
@reports_errors
def list_(state: Path, *, state_is: str | None, user: str | None, search: str | None, as_json: bool) -> None:
    """List the devices.

    \b
    Example:
      helm devices list
      helm devices list --user ada --state-is active
    """
    user_id = None if user is None else read_one(state, "users", user)["id"]
    seen = {device["id"]: device for device in call(state, "GET", f"{API}/status")["devices"]}
    filters = {"state": state_is, "user": user_id, "q": search}
    found = [seen.get(record["id"], {}) | record for record in read_all(state, "devices", filters)]
    if as_json:
        print_json(found)
        return
    print_table(
        ("name", "state", "address", "last handshake", "id"),
        [(d["name"], d["state"], d["address4"], d.get("last_handshake_at") or "never", d["id"]) for d in found],
    )


@devices.command()
@click.argument("device")
@state_option
@json_option
@reports_errors
def show(device: str, state: Path, *, as_json: bool) -> None:
    """Show a device, by id or name.

    \b
    Example:
      helm devices show "Ada's phone"
    """
    record = read_device(state, device)
    if not as_json:
        record |= {"user": record["user"] and record["user"]["name"], **record.pop("keys")}
    print_shown(record, as_json=as_json)


@devices.command()
@click.argument("device")
@click.argument("name")
@state_option
@json_option
@reports_errors
def rename(device: str, name: str, state: Path, *, as_json: bool) -> None:
    """Call a device something else.

    \b
    Example:
      helm devices rename "Ada's phone" "Ada's old phone"
    """
    changed = change(state, "devices", read_device(state, device), {"name": name})
    if as_json:
        print_record(changed, as_json=True)
    else:
        click.echo(f"{changed['id']} is {changed['name']}")


@devices.command()
@click.argument("device")
@state_option
@json_option
@reports_errors
def disable(device: str, state: Path, *, as_json: bool) -> None:
    """Keep a device out, by id or by name, until it is enabled.

    \b
    Example:
      helm devices disable "Ada's phone"
    """
    print_moved(do(state, "devices", read_device(state, device), "disable"), as_json=as_json)


@devices.command()
@click.argument("device")
@state_option
@json_option
@reports_errors
def enable(device: str, state: Path, *, as_json: bool) -> None:
    """Let a device in again, by id or by name.

    \b
    Example:
      helm devices enable "Ada's phone"
    """
    print_moved(do(state, "devices", read_device(state, device), "enable"), as_json=as_json)


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
    print_moved(do(state, "devices", read_device(state, device), "revoke"), as_json=as_json)
