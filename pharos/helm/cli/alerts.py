"""helm alerts … and helm settings …"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from pharos.helm.cli.api import call
from pharos.helm.cli.options import json_option, state_option
from pharos.helm.cli.records import API, do, path_of, print_record, print_table, read_all
from pharos.wire.console import CommandError, print_json, reports_errors


@click.group()
def alerts() -> None:
    """What somebody should look at."""


@alerts.command("list")
@state_option
@click.option("--all", "everything", is_flag=True, help="Those that are resolved, too.")
@json_option
@reports_errors
def list_alerts(state: Path, *, everything: bool, as_json: bool) -> None:
    """List what has not been resolved.

    \b
    Example:
      helm alerts list --all
    """
    found = [alert for alert in read_all(state, "alerts") if everything or alert["state"] != "resolved"]
    if as_json:
        print_json(found)
        return
    print_table(
        ("since", "severity", "state", "what", "id"),
        [(a["opened_at"], a["severity"], a["state"], a["text"], a["id"]) for a in found],
    )


def _move(alert: str, act: str, state: Path, *, as_json: bool) -> None:
    record = call(state, "GET", path_of("alerts", alert))
    changed = do(state, "alerts", record, act)
    if as_json:
        print_record(changed, as_json=True)
    else:
        click.echo(f"{changed['text']}: {changed['state']}")


@alerts.command()
@click.argument("alert")
@state_option
@json_option
@reports_errors
def acknowledge(alert: str, state: Path, *, as_json: bool) -> None:
    """Say that somebody is at it.

    \b
    Example:
      helm alerts acknowledge 019b7c12-…
    """
    _move(alert, "acknowledge", state, as_json=as_json)


@alerts.command()
@click.argument("alert")
@state_option
@json_option
@reports_errors
def resolve(alert: str, state: Path, *, as_json: bool) -> None:
    """Say that it is done with.

    \b
    Example:
      helm alerts resolve 019b7c12-…
    """
    _move(alert, "resolve", state, as_json=as_json)


@click.group()
def settings() -> None:
    """What holds for the whole fleet."""


@settings.command("list")
@state_option
@json_option
@reports_errors
def list_settings(state: Path, *, as_json: bool) -> None:
    """List the settings, and what they are.

    \b
    Example:
      helm settings list
    """
    found = call(state, "GET", f"{API}/settings")["items"]
    if as_json:
        print_json(found)
        return
    print_table(
        ("name", "value", "set by", "what it is"),
        [(s["id"], s["value"], s["updated_by"] or "default", s["says"]) for s in found],
    )


@settings.command("set")
@click.argument("name")
@click.argument("value")
@state_option
@reports_errors
def set_(name: str, value: str, state: Path) -> None:
    """Set one: a number, true or false, or a list as JSON.

    \b
    Example:
      helm settings set devices.limit 3
      helm settings set protocols '["amneziawg"]'
    """
    record = _find(state, name)
    try:
        parsed: Any = json.loads(value)
    except ValueError:
        parsed = value
    answer = call(state, "PUT", path_of("settings", name), {"value": parsed}, version=record["version"])
    click.echo(f"{answer['id']} is {json.dumps(answer['value'])}")


@settings.command()
@click.argument("name")
@state_option
@reports_errors
def reset(name: str, state: Path) -> None:
    """Let the default hold again.

    \b
    Example:
      helm settings reset devices.limit
    """
    record = _find(state, name)
    if record["version"]:
        call(state, "DELETE", path_of("settings", name), version=record["version"])
    click.echo(f"{name} is {json.dumps(record['default'])}")


def _find(state: Path, name: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = call(state, "GET", f"{API}/settings")["items"]
    for record in found:
        if record["id"] == name:
            return record
    raise CommandError(f"there is no setting {name!r}; see: helm settings list")
