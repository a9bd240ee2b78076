"""helm admins certificate …: keys with which browsers reach the page over TLS."""

from __future__ import annotations

import base64
import sys
from pathlib import Path
from typing import Any

import click

from pharos.helm.cli.api import call
from pharos.helm.cli.options import json_option, state_option, yes_option
from pharos.helm.cli.records import confirm, path_of, print_table, read_one
from pharos.wire.console import CommandError, Exit, print_json, reports_errors
from pharos.wire.files import write_atomic

WEB_CERTIFICATE = "localhost.pem"
# Fewer digits name several certificates before they name one by chance.
SHORTEST_PREFIX = 8


@click.command("certificate")
@click.argument("admin")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="File for the key and its certificate, PKCS #12; localhost.pem is written beside it.",
)
@click.option("--ask", is_flag=True, help="Ask for the file's password instead of drawing one.")
@click.option("--old", is_flag=True, help="Encrypt for a store that takes nothing newer than 3DES.")
@state_option
@json_option
@reports_errors
def certificate(admin: str, out: Path, state: Path, *, ask: bool, old: bool, as_json: bool) -> None:
    """Make a browser certificate for an admin; the password of the file is shown once.

    \b
    Example:
      helm admins certificate ada --out ada.p12
    """
    beside = out.parent / WEB_CERTIFICATE
    if out.exists():
        raise CommandError(f"{out} is there already; choose another --out", Exit.USAGE)
    body: dict[str, Any] = {"old": old}
    if ask:
        body["password"] = click.prompt("Password for the file", hide_input=True, confirmation_prompt=True)
    record = read_one(state, "admins", admin)
    # First, for a key that could not be written would be lost, and its certificate would not.
    write_atomic(out, b"")
    try:
        made = call(state, "POST", path_of("admins", record["id"], "certificates"), body)
    except BaseException:
        out.unlink()
        raise
    write_atomic(out, base64.b64decode(made["pkcs12"]))
    write_atomic(beside, made["web_certificate"].encode(), mode=0o644)
    if as_json:
        facts = {name: made[name] for name in ("id", "subject", "not_after_at", "password")}
        print_json(facts | {"file": str(out), "web_certificate": str(beside)})
        return
    click.echo(f"{out}: key and certificate of {record['name']}, until {made['not_after_at'][:10]}")
    click.echo(f"{beside}: what the page shows, for the browser to believe")
    if not ask:
        click.echo(f"Password of {out.name}, shown once: {made['password']}")
    if sys.stdout.isatty():
        click.echo("Take both to the browser, import them, and delete the files.", err=True)


@click.command("certificates")
@click.argument("admin")
@state_option
@json_option
@reports_errors
def certificates(admin: str, state: Path, *, as_json: bool) -> None:
    """List an admin's browser certificates that are in force.

    \b
    Example:
      helm admins certificates ada
    """
    found = _certificates(state, read_one(state, "admins", admin))
    if as_json:
        print_json(found)
        return
    print_table(
        ("fingerprint", "made", "by", "ends"),
        [(one["id"], one["created_at"], one["updated_by"], one["not_after_at"]) for one in found],
    )


@click.command("revoke-certificate")
@click.argument("admin")
@click.argument("fingerprint")
@state_option
@yes_option
@reports_errors
def revoke_certificate(admin: str, fingerprint: str, state: Path, *, yes: bool) -> None:
    """Keep a browser out, at once and for ever; the first 8 digits of its fingerprint will do.

    \b
    Example:
      helm admins revoke-certificate ada 3f9ac01b --yes
    """
    record = read_one(state, "admins", admin)
    fitting = [one["id"] for one in _certificates(state, record) if one["id"].startswith(fingerprint.lower())]
    if len(fingerprint) < SHORTEST_PREFIX or len(fitting) != 1:
        raise CommandError(
            f"{fingerprint!r} names no browser certificate of {record['name']}; see: helm admins certificates"
            f" {record['name']}"
        )
    confirm(f"Revoke {fitting[0]} of {record['name']}?", yes=yes)
    call(state, "DELETE", path_of("admins", record["id"], "certificates", fitting[0]))
    click.echo(f"{fitting[0]} is revoked")


def _certificates(state: Path, record: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = call(state, "GET", path_of("admins", record["id"], "certificates"))["items"]
    return found
