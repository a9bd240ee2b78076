"""helm alerts … and helm settings …"""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import click

from pharos.helm.cli.alerttargets import targets
from pharos.helm.cli.api import call
from pharos.helm.cli.lifetimes import Lifetime
from pharos.helm.cli.options import json_option, state_option
from pharos.helm.cli.records import API, do, path_of, print_record, print_table, read_all, remove
from pharos.wire.console import CommandError, print_json, reports_errors

_SEVERITIES = click.Choice(["info", "warning", "critical"])


@click.group()
def alerts() -> None:
    """What somebody should look at, and who is told."""


alerts.add_command(targets)


@alerts.command("list")
@state_option
@click.option("--all", "everything", is_flag=True, help="Those that are resolved, too.")
@click.option("--kind", help="Only these, such as unreachable.")
@click.option("--severity", type=_SEVERITIES, help="Only these.")
@click.option("--subject", help="Id of what they are about.")
@json_option
@reports_errors
def list_alerts(state: Path, *, everything: bool, as_json: bool, **filters: str | None) -> None:
    """List what has not been resolved.

    \b
    Example:
      helm alerts list --all
    """
    states = [None] if everything else ["open", "acknowledged"]
    found = [alert for one in states for alert in read_all(state, "alerts", {"state": one, **filters})]
    found.sort(key=lambda alert: alert["id"])
    if as_json:
        print_json(found)
        return
    print_table(
        ("since", "severity", "state", "what", "id"),
        [(a["opened_at"], a["severity"], a["state"], a["text"], a["id"]) for a in found],
    )


@alerts.command()
@click.argument("alert")
@state_option
@json_option
@reports_errors
def show(alert: str, state: Path, *, as_json: bool) -> None:
    """Show an alert, its evidence, and who was told of it.

    \b
    Example:
      helm alerts show 019b7c12-…
    """
    record = call(state, "GET", path_of("alerts", alert))
    if as_json:
        print_json(record)
        return
    deliveries = record.pop("deliveries")
    record["evidence"] = [f"{name} {fact}" for name, fact in record["evidence"].items()]
    print_record(record, as_json=False)
    if deliveries:
        print_table(
            ("told", "of", "outcome", "tries", "when", "what was wrong"),
            [
                (d["target"], d["what"], d["outcome"], d["attempts"], d["done_at"], d["error"] if d["error"] else "")
                for d in deliveries
            ],
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
    """Say that it is done with. Where its cause is still there, it is raised again a day later.

    \b
    Example:
      helm alerts resolve 019b7c12-…
    """
    _move(alert, "resolve", state, as_json=as_json)


@alerts.command()
@click.argument("alert")
@state_option
@json_option
@reports_errors
def reopen(alert: str, state: Path, *, as_json: bool) -> None:
    """Say that nobody is at it any more.

    \b
    Example:
      helm alerts reopen 019b7c12-…
    """
    _move(alert, "reopen", state, as_json=as_json)


@alerts.command()
@click.argument("kind")
@state_option
@click.option("--subject", default="", help="Only about this: id, or name of a node, relay or user.")
@click.option("--for", "lifetime", type=Lifetime(), default="8h", show_default=True, help="How long.")
@click.option("--note", default="", help="Why.")
@json_option
@reports_errors
def mute(kind: str, state: Path, *, subject: str, lifetime: datetime.timedelta, note: str, as_json: bool) -> None:
    """Deliver no alerts of a kind for a while, or of any: KIND is one such as unreachable, or all.

    They are raised and shown as ever. What still stands when the time is over is delivered then.

    \b
    Example:
      helm alerts mute unreachable --subject amsterdam --for 2h
    """
    until = (datetime.datetime.now(datetime.UTC) + lifetime).isoformat()
    body = {"kind": kind, "subject": _subject(state, subject), "until": until, "note": note}
    made = call(state, "POST", f"{API}/alert-mutes", body)
    if as_json:
        print_json(made)
    else:
        click.echo(f"{_what(made)} until {made['until_at']}; to end it: helm alerts unmute {made['id']}")


@alerts.command()
@state_option
@json_option
@reports_errors
def mutes(state: Path, *, as_json: bool) -> None:
    """List what is muted.

    \b
    Example:
      helm alerts mutes
    """
    found = read_all(state, "alert-mutes")
    if as_json:
        print_json(found)
        return
    print_table(
        ("kind", "about", "until", "by", "note", "id"),
        [(m["kind"], m["subject"], m["until_at"], m["updated_by"], m["note"], m["id"]) for m in found],
    )


@alerts.command()
@click.argument("mute_or_kind", metavar="MUTE")
@state_option
@reports_errors
def unmute(mute_or_kind: str, state: Path) -> None:
    """Deliver again what was muted: a mute by its id, or every one of a kind.

    \b
    Example:
      helm alerts unmute unreachable
    """
    found = [one for one in read_all(state, "alert-mutes") if mute_or_kind in (one["id"], one["kind"])]
    if not found:
        raise CommandError(f"nothing is muted by {mute_or_kind!r}; see: helm alerts mutes")
    for one in found:
        remove(state, "alert-mutes", one)
        click.echo(f"{_what(one)} no more")


def _what(mute: dict[str, Any]) -> str:
    about = f" about {mute['subject']}" if mute["subject"] else ""
    return f"{mute['kind']}{about}: muted"


def _subject(state: Path, text: str) -> str:
    """Return the id of what somebody names. What is no name is taken as it is: some alerts are about no record."""
    if not text:
        return ""
    for noun in ("nodes", "relays", "users"):
        ids = [record["id"] for record in read_all(state, noun) if record["name"] == text]
        if len(ids) == 1:
            return str(ids[0])
    return text


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
