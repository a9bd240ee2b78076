"""helm admins … and helm tokens …"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from pharos.helm.cli.admindevice import device_
from pharos.helm.cli.api import call
from pharos.helm.cli.browsers import certificate, certificates, revoke_certificate
from pharos.helm.cli.options import json_option, state_option, yes_option
from pharos.helm.cli.records import (
    API,
    change,
    confirm,
    do,
    path_of,
    print_record,
    print_table,
    read_all,
    read_one,
    remove,
)
from pharos.helm.cli.signins import passkeys, remove_passkey, sessions, sign_out
from pharos.helm.config import WEB_PORT
from pharos.wire.console import print_json, reports_errors

ROLES = click.Choice(["owner", "admin", "operator", "viewer"])


@click.group()
def admins() -> None:
    """Who may act on the fleet with a browser."""


@admins.command("list")
@state_option
@json_option
@reports_errors
def list_admins(state: Path, *, as_json: bool) -> None:
    """List the admins.

    \b
    Example:
      helm admins list
    """
    found = read_all(state, "admins")
    if as_json:
        print_json(found)
        return
    print_table(
        ("name", "role", "state", "password", "code", "id"),
        [(a["name"], a["role"], a["state"], a["password_set"], a["totp_set"], a["id"]) for a in found],
    )


@admins.command("add")
@click.argument("name")
@state_option
@click.option("--role", type=ROLES, default="operator", show_default=True, help="What they may do.")
@click.option("--web-port", type=int, default=WEB_PORT, show_default=True, help="For the link.")
@click.option("--web-tls", is_flag=True, help="For the link: the page is served over TLS.")
@json_option
@reports_errors
def add_admin(name: str, state: Path, *, role: str, web_port: int, web_tls: bool, as_json: bool) -> None:
    """Add an admin and print the one-time link to come in by.

    \b
    Example:
      helm admins add bob --role viewer
    """
    admin = call(state, "POST", f"{API}/admins", {"name": name, "role": role})
    answer = call(state, "POST", path_of("admins", admin["id"], "link"))
    _print_link(answer, web_port, tls=web_tls, as_json=as_json)


@admins.command("link")
@click.argument("admin")
@state_option
@click.option("--web-port", type=int, default=WEB_PORT, show_default=True, help="For the link.")
@click.option("--web-tls", is_flag=True, help="For the link: the page is served over TLS.")
@json_option
@reports_errors
def link(admin: str, state: Path, *, web_port: int, web_tls: bool, as_json: bool) -> None:
    """Print a new one-time link for an admin; older ones end.

    \b
    Example:
      helm admins link ada
    """
    record = read_one(state, "admins", admin)
    answer = call(state, "POST", path_of("admins", record["id"], "link"))
    _print_link(answer, web_port, tls=web_tls, as_json=as_json)


def _print_link(answer: dict[str, Any], web_port: int, *, tls: bool, as_json: bool) -> None:
    address = f"{'https' if tls else 'http'}://localhost:{web_port}/#link={answer['link']}"
    if as_json:
        print_json({"id": answer["id"], "name": answer["name"], "link": address})
        return
    click.echo(address)
    if sys.stdout.isatty():
        click.echo(f"For {answer['name']}, once, within 24 hours, on the machine that helm runs on.", err=True)


@admins.command("role")
@click.argument("admin")
@click.argument("role", type=ROLES)
@state_option
@reports_errors
def role_(admin: str, role: str, state: Path) -> None:
    """Give an admin another role; whoever it is has to sign in again.

    \b
    Example:
      helm admins role bob admin
    """
    changed = change(state, "admins", read_one(state, "admins", admin), {"role": role})
    click.echo(f"{changed['name']} is {changed['role']}")


@admins.command("disable")
@click.argument("admin")
@state_option
@reports_errors
def disable(admin: str, state: Path) -> None:
    """Keep an admin out, at once.

    \b
    Example:
      helm admins disable bob
    """
    changed = change(state, "admins", read_one(state, "admins", admin), {"state": "disabled"})
    click.echo(f"{changed['name']} is {changed['state']}")


@admins.command("enable")
@click.argument("admin")
@state_option
@reports_errors
def enable(admin: str, state: Path) -> None:
    """Let an admin in again.

    \b
    Example:
      helm admins enable bob
    """
    changed = change(state, "admins", read_one(state, "admins", admin), {"state": "active"})
    click.echo(f"{changed['name']} is {changed['state']}")


@admins.command("remove")
@click.argument("admin")
@state_option
@yes_option
@reports_errors
def remove_admin(admin: str, state: Path, *, yes: bool) -> None:
    """Remove an admin, the sessions and tokens too.

    \b
    Example:
      helm admins remove bob --yes
    """
    record = read_one(state, "admins", admin)
    confirm(f"Remove {record['name']}?", yes=yes)
    remove(state, "admins", record)
    click.echo(f"{record['name']} is removed")


for command in (certificate, certificates, revoke_certificate, sessions, sign_out, passkeys, remove_passkey):
    admins.add_command(command)
admins.add_command(device_)


@click.group()
def tokens() -> None:
    """API tokens, for programs."""


@tokens.command("list")
@state_option
@json_option
@reports_errors
def list_tokens(state: Path, *, as_json: bool) -> None:
    """List the tokens.

    \b
    Example:
      helm tokens list
    """
    found = read_all(state, "tokens")
    if as_json:
        print_json(found)
        return
    print_table(
        ("name", "role", "scopes", "state", "expires", "last used", "id"),
        [
            (t["name"], t["role"], t["scopes"] or "all", t["state"], t["expires_at"], t["used_at"], t["id"])
            for t in found
        ],
    )


@tokens.command("add")
@click.argument("name")
@state_option
@click.option("--admin", required=True, help="On whose behalf, by id or name.")
@click.option("--role", type=ROLES, default="viewer", show_default=True, help="What it may do; never more than they.")
@click.option("--scope", "scopes", multiple=True, help="A noun such as devices; may be repeated. Without it: all.")
@click.option("--expires", "expires_at", type=click.DateTime(["%Y-%m-%d"]), help="Last day, as YYYY-MM-DD (UTC).")
@json_option
@reports_errors
def add_token(
    name: str, state: Path, *, admin: str, role: str, scopes: tuple[str, ...], expires_at: Any, as_json: bool
) -> None:
    """Make a token and print it; it is shown once.

    \b
    Example:
      helm tokens add monitoring --admin ada --role viewer
    """
    record = read_one(state, "admins", admin)
    body: dict[str, Any] = {"name": name, "admin": record["id"], "role": role, "scopes": list(scopes)}
    if expires_at is not None:
        body["expires_at"] = f"{expires_at.date().isoformat()}T23:59:59Z"
    answer = call(state, "POST", f"{API}/tokens", body)
    if as_json:
        print_json(answer)
    else:
        click.echo(answer["token"])


@tokens.command("revoke")
@click.argument("token")
@state_option
@json_option
@reports_errors
def revoke(token: str, state: Path, *, as_json: bool) -> None:
    """End a token, by id or name.

    \b
    Example:
      helm tokens revoke monitoring
    """
    changed = do(state, "tokens", read_one(state, "tokens", token), "revoke")
    if as_json:
        print_record(changed, as_json=True)
    else:
        click.echo(f"{changed['name']} is {changed['state']}")
