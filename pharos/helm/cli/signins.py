"""helm admins sessions …, sign-out … and passkeys …: by what admins are signed in, and ending that."""

from __future__ import annotations

from pathlib import Path

import click

from pharos.helm.cli.api import call
from pharos.helm.cli.options import json_option, state_option, yes_option
from pharos.helm.cli.records import confirm, path_of, print_table, read_all, read_one
from pharos.wire.console import CommandError, Exit, print_json, reports_errors


@click.command("sessions")
@click.argument("admin")
@state_option
@json_option
@reports_errors
def sessions(admin: str, state: Path, *, as_json: bool) -> None:
    """List the browsers that an admin is signed in with.

    \b
    Example:
      helm admins sessions bob
    """
    record = read_one(state, "admins", admin)
    found = call(state, "GET", path_of("admins", record["id"], "sessions"))["items"]
    if as_json:
        print_json(found)
        return
    print_table(
        ("since", "last used", "by", "browser", "certificate", "id"),
        [
            (_time(s["created_at"]), _time(s["seen_at"]), s["how"], s["browser"], s["bound"][:16], s["id"])
            for s in found
        ],
    )


@click.command("sign-out")
@click.argument("admin", required=False)
@state_option
@click.option("--session", help="Only this session, by its id.")
@click.option("--all", "everybody", is_flag=True, help="Every admin.")
@reports_errors
def sign_out(admin: str | None, state: Path, *, session: str | None, everybody: bool) -> None:
    """End the sessions of an admin, or of all; whoever it is has to sign in again.

    \b
    Example:
      helm admins sign-out bob
      helm admins sign-out --all
    """
    if everybody == (admin is not None) or (session is not None and everybody):
        raise CommandError("say an admin, or --all", Exit.USAGE)
    for record in read_all(state, "admins") if admin is None else [read_one(state, "admins", admin)]:
        if session is not None:
            call(state, "DELETE", path_of("admins", record["id"], "sessions", session))
            click.echo(f"that session of {record['name']} has ended")
        else:
            call(state, "POST", path_of("admins", record["id"], "sign-out"))
            click.echo(f"{record['name']} is signed out")


@click.command("passkeys")
@click.argument("admin")
@state_option
@json_option
@reports_errors
def passkeys(admin: str, state: Path, *, as_json: bool) -> None:
    """List an admin's passkeys.

    \b
    Example:
      helm admins passkeys bob
    """
    record = read_one(state, "admins", admin)
    found = call(state, "GET", path_of("admins", record["id"], "passkeys"))["items"]
    if as_json:
        print_json(found)
        return
    print_table(
        ("name", "for", "made", "last used", "synced", "id"),
        [
            (p["name"], p["site"], _time(p["created_at"]), p["used_at"] and _time(p["used_at"]), p["synced"], p["id"])
            for p in found
        ],
    )


@click.command("remove-passkey")
@click.argument("admin")
@click.argument("passkey")
@state_option
@yes_option
@reports_errors
def remove_passkey(admin: str, passkey: str, state: Path, *, yes: bool) -> None:
    """Remove an admin's passkey, by id or name, when it is lost; whoever it is is signed out.

    \b
    Example:
      helm admins remove-passkey bob "old laptop" --yes
    """
    record = read_one(state, "admins", admin)
    found = call(state, "GET", path_of("admins", record["id"], "passkeys"))["items"]
    fitting = [p for p in found if passkey in (p["id"], p["name"])]
    if len(fitting) != 1:
        raise CommandError(f"{record['name']} has {len(fitting)} passkeys {passkey!r}; see: helm admins passkeys")
    confirm(f"Remove the passkey {fitting[0]['name']} of {record['name']}?", yes=yes)
    call(
        state,
        "DELETE",
        path_of("admins", record["id"], "passkeys", fitting[0]["id"]),
        version=fitting[0]["version"],
    )
    click.echo(f"{fitting[0]['name']} is removed, and {record['name']} signed out")


def _time(text: str) -> str:
    return text[:19].replace("T", " ")
