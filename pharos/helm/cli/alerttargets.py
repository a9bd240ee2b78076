"""helm alerts targets …"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, TextIO

import click

from pharos.helm.cli.api import call
from pharos.helm.cli.options import json_option, state_option, yes_option
from pharos.helm.cli.records import (
    API,
    change,
    confirm,
    path_of,
    print_record,
    print_table,
    read_all,
    remove,
)
from pharos.wire.console import CommandError, Exit, print_json, reports_errors

_NOUN = "alert-targets"
_minimum_option = click.option(
    "--minimum", type=click.Choice(["info", "warning", "critical"]), help="What is less severe it does not hear of."
)
_kind_option = click.option("--kind", "kinds", multiple=True, help="Only this kind; may be repeated. Without it: all.")
_url_option = click.option(
    "--url-file",
    type=click.File("r", encoding="utf-8", errors="replace"),
    help="Where the URL is; - for standard input. Without it it is asked for.",
)


@click.group()
def targets() -> None:
    """Where alerts are delivered to: webhooks, mail, chats."""


@targets.command("list")
@state_option
@json_option
@reports_errors
def list_targets(state: Path, *, as_json: bool) -> None:
    """List the targets, and what waits for each.

    \b
    Example:
      helm alerts targets list
    """
    found = [call(state, "GET", path_of(_NOUN, one["id"])) for one in read_all(state, _NOUN)]
    if as_json:
        print_json(found)
        return
    print_table(
        ("name", "service", "from", "kinds", "enabled", "delivered", "waiting", "what is wrong", "id"),
        [
            (
                *(t["name"], t["service"], t["minimum"], t["kinds"] or "all", t["enabled"]),
                *(t["delivered_at"], t["waiting"], t["last_error"], t["id"]),
            )
            for t in found
        ],
    )


@targets.command()
@click.argument("target")
@state_option
@json_option
@reports_errors
def show(target: str, state: Path, *, as_json: bool) -> None:
    """Show a target, by id or name. Its URL is shown to nobody.

    \b
    Example:
      helm alerts targets show ops
    """
    print_record(_read(state, target), as_json=as_json)


@targets.command()
@click.argument("name")
@state_option
@_url_option
@_minimum_option
@_kind_option
@json_option
@reports_errors
def add(name: str, state: Path, *, url_file: TextIO | None, as_json: bool, **values: Any) -> None:
    """Add a target. Its URL is one of apprise: jsons://host/path, mailtos://…, slack://…

    It holds a password or token mostly, so it is read from a file or asked for, and no word of the command.

    \b
    Example:
      helm alerts targets add ops --minimum critical
      helm alerts targets add hook --url-file hook.url
    """
    body = {"name": name, "url": _read_url(url_file), **{key: value for key, value in values.items() if value}}
    made = call(state, "POST", f"{API}/{_NOUN}", body)
    if as_json:
        print_json(made)
    else:
        click.echo(f"{made['name']} ({made['service']}); to try it: helm alerts targets test {made['name']}")


@targets.command("change")
@click.argument("target")
@state_option
@click.option("--name", help="Another name.")
@_minimum_option
@_kind_option
@click.option("--all-kinds", is_flag=True, help="Of every kind.")
@click.option("--enable/--disable", "enabled", default=None, help="Deliver to it, or nothing until it is enabled.")
@json_option
@reports_errors
def change_(target: str, state: Path, *, kinds: tuple[str, ...], all_kinds: bool, as_json: bool, **values: Any) -> None:
    """Change what a target is called and hears of.

    \b
    Example:
      helm alerts targets change ops --minimum info --kind unreachable --kind disk_low
    """
    body = {key: value for key, value in values.items() if value is not None}
    if kinds or all_kinds:
        body["kinds"] = [] if all_kinds else list(kinds)
    changed = change(state, _NOUN, _read(state, target), body)
    print_record(changed, as_json=as_json)


@targets.command()
@click.argument("target")
@state_option
@_url_option
@reports_errors
def move(target: str, state: Path, *, url_file: TextIO | None) -> None:
    """Give a target another URL; what waits for it goes there.

    \b
    Example:
      helm alerts targets move ops --url-file ops.url
    """
    record = _read(state, target)
    body = {"url": _read_url(url_file)}
    moved = call(state, "POST", path_of(_NOUN, record["id"], "move"), body, version=record["version"])
    click.echo(f"{moved['name']} ({moved['service']})")


@targets.command("remove")
@click.argument("target")
@state_option
@yes_option
@reports_errors
def remove_(target: str, state: Path, *, yes: bool) -> None:
    """Remove a target, and what waits for it.

    \b
    Example:
      helm alerts targets remove ops
    """
    record = _read(state, target)
    confirm(f"Remove {record['name']}, with {record['waiting']} deliveries that wait for it?", yes=yes)
    remove(state, _NOUN, record)
    click.echo(f"{record['name']} is removed")


@targets.command()
@click.argument("target")
@state_option
@json_option
@reports_errors
def test(target: str, state: Path, *, as_json: bool) -> None:
    """Send a target a message, and say whether it arrived. Exit code 5 if it did not.

    \b
    Example:
      helm alerts targets test ops
    """
    record = _read(state, target)
    tested = call(state, "POST", path_of(_NOUN, record["id"], "test"))
    if as_json:
        print_json(tested)
    elif tested["delivered"]:
        click.echo(f"{record['name']} took it")
    if not tested["delivered"]:
        raise CommandError(f"{record['name']} did not take it: {tested['detail']}", Exit.UNREACHABLE)


def _read(state: Path, id_or_name: str) -> dict[str, Any]:
    found = [one for one in read_all(state, _NOUN) if id_or_name in (one["id"], one["name"])]
    if not found:
        raise CommandError(f"there is no target {id_or_name!r}; see: helm alerts targets list")
    return call(state, "GET", path_of(_NOUN, found[0]["id"]))


def _read_url(file: TextIO | None) -> str:
    if file is not None:
        return file.read().strip()
    if not sys.stdin.isatty():
        return sys.stdin.readline().strip()
    url: str = click.prompt("URL", hide_input=True, err=True)
    return url.strip()
