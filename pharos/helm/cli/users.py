"""helm users … and helm groups …"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from pharos.helm.ca.passwords import draw_passphrase
from pharos.helm.cli.api import call
from pharos.helm.cli.options import json_option, state_option, yes_option
from pharos.helm.cli.records import (
    API,
    change,
    confirm,
    do,
    path_of,
    plain,
    print_record,
    print_table,
    read_all,
    read_one,
    remove,
)
from pharos.wire.console import print_json, reports_errors


@click.group()
def users() -> None:
    """The people whose devices use the fleet."""


@users.command("list")
@state_option
@click.option("--state-is", "user_state", type=click.Choice(["active", "disabled"]), help="Only these.")
@click.option("--search", help="Part of the name.")
@json_option
@reports_errors
def list_users(state: Path, *, user_state: str | None, search: str | None, as_json: bool) -> None:
    """List the users.

    \b
    Example:
      helm users list --search ada
    """
    found = read_all(state, "users", {"state": user_state, "q": search})
    if as_json:
        print_json(found)
        return
    print_table(
        ("name", "state", "email", "expires", "id"),
        [(u["name"], u["state"], u["email"], u["expires_at"], u["id"]) for u in found],
    )


@users.command("show")
@click.argument("user")
@state_option
@json_option
@reports_errors
def show_user(user: str, state: Path, *, as_json: bool) -> None:
    """Show a user, by id or name.

    \b
    Example:
      helm users show ada
    """
    record = read_one(state, "users", user)
    if not as_json:
        record["groups"] = [group["name"] for group in record["groups"]]
    print_record(record, as_json=as_json)


@users.command("add")
@click.argument("name")
@state_option
@click.option("--email", help="Mail address.")
@click.option("--note", default="", help="Whatever you want to remember.")
@click.option("--expires", "expires_at", type=click.DateTime(["%Y-%m-%d"]), help="Last day, as YYYY-MM-DD (UTC).")
@click.option("--device-limit", type=click.IntRange(0), help="Devices at most.")
@click.option("--quota", "quota_bytes", type=click.IntRange(1), help="Octets a month.")
@click.option("--quota-action", type=click.Choice(["warn", "throttle", "cut"]), help="What happens when it is used up.")
@json_option
@reports_errors
def add_user(name: str, state: Path, *, as_json: bool, expires_at: Any, **values: Any) -> None:
    """Add a user.

    \b
    Example:
      helm users add ada --email ada@example.org
    """
    body = {"name": name, **{key: value for key, value in values.items() if value is not None}}
    if expires_at is not None:
        body["expires_at"] = f"{expires_at.date().isoformat()}T23:59:59Z"
    print_record(call(state, "POST", f"{API}/users", body), as_json=as_json)


@users.command("disable")
@click.argument("user")
@state_option
@reports_errors
def disable_user(user: str, state: Path) -> None:
    """Keep a user's devices out, until `helm users enable`.

    \b
    Example:
      helm users disable ada
    """
    changed = change(state, "users", read_one(state, "users", user), {"state": "disabled"})
    click.echo(f"{changed['name']} is {changed['state']}")


@users.command("enable")
@click.argument("user")
@state_option
@reports_errors
def enable_user(user: str, state: Path) -> None:
    """Let a user's devices in again.

    \b
    Example:
      helm users enable ada
    """
    changed = change(state, "users", read_one(state, "users", user), {"state": "active"})
    click.echo(f"{changed['name']} is {changed['state']}")


@users.command("passphrase")
@click.argument("user")
@state_option
@click.option("--generate", is_flag=True, help="Draw one, and show it once.")
@click.option("--drop", is_flag=True, help="Let the user log in by a passphrase no more.")
@json_option
@reports_errors
def set_passphrase(user: str, state: Path, *, generate: bool, drop: bool, as_json: bool) -> None:
    """Set what a user logs in with on their devices: caravel login.

    Without --generate it is asked for on a terminal, else read from standard input: one line.

    \b
    Example:
      helm users passphrase ada --generate
      helm users passphrase ada < passphrase.txt
    """
    if generate and drop:
        raise click.UsageError("--generate and --drop do not go together")
    record = read_one(state, "users", user)
    path = path_of("users", record["id"], "passphrase")
    if drop:
        changed = call(state, "DELETE", path)
        print_outcome(changed, f"{changed['name']} logs in by a passphrase no more", as_json=as_json)
        return
    passphrase = draw_passphrase() if generate else _read_passphrase()
    changed = call(state, "POST", path, {"passphrase": passphrase})
    if not generate:
        print_outcome(changed, f"the passphrase of {changed['name']} is set", as_json=as_json)
    elif as_json:
        print_json(changed | {"passphrase": passphrase})
    else:
        click.echo(passphrase)
        click.echo(f"This is shown once. On a device of {changed['name']}'s: caravel login LINK", err=True)


def _read_passphrase() -> str:
    if sys.stdin.isatty():
        typed: str = click.prompt("Passphrase", hide_input=True, confirmation_prompt=True, err=True)
        return typed
    return sys.stdin.readline().rstrip("\r\n")


@users.command("confirm")
@click.argument("code")
@state_option
@yes_option
@json_option
@reports_errors
def confirm_login(code: str, state: Path, *, yes: bool, as_json: bool) -> None:
    """Let a device in whose user logs in by a code: caravel login LINK --method code.

    It says first what it would let in. Be sure that the code came from that user, now.

    \b
    Example:
      helm users confirm BCDF-GHJK
    """
    path = path_of("logins", code)
    login = call(state, "GET", path)
    said = f"{plain(login['user_name'])} logs in on a device that calls itself {plain(login['device_name'])!r}"
    click.echo(f"{said}, since {login['asked_at']}.", err=True)
    confirm("Has that user told you this code just now?", yes=yes)
    done = call(state, "POST", f"{path}/confirm")
    print_outcome(done, f"the device of {plain(done['user_name'])} may go on", as_json=as_json)


def print_outcome(facts: dict[str, Any], sentence: str, *, as_json: bool) -> None:
    """Print what an act has come to."""
    if as_json:
        print_json(facts)
    else:
        click.echo(sentence)


@users.command("remove")
@click.argument("user")
@state_option
@yes_option
@reports_errors
def remove_user(user: str, state: Path, *, yes: bool) -> None:
    """Remove a user whose devices are all revoked.

    \b
    Example:
      helm users remove ada --yes
    """
    record = read_one(state, "users", user)
    confirm(f"Remove {record['name']}?", yes=yes)
    remove(state, "users", record)
    click.echo(f"{record['name']} is removed")


@click.group()
def groups() -> None:
    """Who may use which nodes, by which protocols."""


@groups.command("list")
@state_option
@json_option
@reports_errors
def list_groups(state: Path, *, as_json: bool) -> None:
    """List the groups.

    \b
    Example:
      helm groups list
    """
    found = read_all(state, "groups")
    if as_json:
        print_json(found)
        return
    print_table(
        ("name", "node tags", "protocols", "everybody", "id"),
        [(g["name"], g["node_tags"] or "all nodes", g["protocols"], g["everybody"], g["id"]) for g in found],
    )


@groups.command("show")
@click.argument("group")
@state_option
@json_option
@reports_errors
def show_group(group: str, state: Path, *, as_json: bool) -> None:
    """Show a group, by id or name.

    \b
    Example:
      helm groups show office
    """
    print_record(read_one(state, "groups", group), as_json=as_json)


@groups.command("add")
@click.argument("name")
@state_option
@click.option("--tag", "node_tags", multiple=True, help="Nodes with this tag; may be repeated. Without it: all nodes.")
@click.option(
    "--protocol", "protocols", multiple=True, type=click.Choice(["amneziawg", "reality"]), help="May be repeated."
)
@click.option("--everybody", is_flag=True, help="Every user is a member.")
@json_option
@reports_errors
def add_group(
    name: str, state: Path, *, node_tags: tuple[str, ...], protocols: tuple[str, ...], everybody: bool, as_json: bool
) -> None:
    """Add a group.

    \b
    Example:
      helm groups add office --tag eu --protocol amneziawg
    """
    body: dict[str, Any] = {"name": name, "node_tags": list(node_tags), "everybody": everybody}
    if protocols:
        body["protocols"] = list(protocols)
    print_record(call(state, "POST", f"{API}/groups", body), as_json=as_json)


@groups.command("join")
@click.argument("group")
@click.argument("user")
@state_option
@reports_errors
def join(group: str, user: str, state: Path) -> None:
    """Put a user into a group.

    \b
    Example:
      helm groups join office ada
    """
    member = read_one(state, "users", user)
    changed = do(state, "groups", read_one(state, "groups", group), "join", {"user": member["id"]})
    click.echo(f"{member['name']} is in {changed['name']}")


@groups.command("leave")
@click.argument("group")
@click.argument("user")
@state_option
@reports_errors
def leave(group: str, user: str, state: Path) -> None:
    """Take a user out of a group.

    \b
    Example:
      helm groups leave office ada
    """
    member = read_one(state, "users", user)
    changed = do(state, "groups", read_one(state, "groups", group), "leave", {"user": member["id"]})
    click.echo(f"{member['name']} is not in {changed['name']} any more")


@groups.command("remove")
@click.argument("group")
@state_option
@yes_option
@reports_errors
def remove_group(group: str, state: Path, *, yes: bool) -> None:
    """Remove a group; its members stay.

    \b
    Example:
      helm groups remove office --yes
    """
    record = read_one(state, "groups", group)
    confirm(f"Remove {record['name']}?", yes=yes)
    remove(state, "groups", record)
    click.echo(f"{record['name']} is removed")
