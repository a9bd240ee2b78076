"""helm siem …"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TextIO

import click

from pharos.helm.cli.api import call
from pharos.helm.cli.options import json_option, state_option, yes_option
from pharos.helm.cli.records import API, confirm, do, path_of, print_record, print_table, read_all, remove
from pharos.helm.cli.states import print_moved
from pharos.wire.console import CommandError, Exit, print_json, reports_errors

SINKS = "sinks"


@click.group()
def siem() -> None:
    """Where events and the audit are sent: your own log system."""


@siem.command()
@click.argument("name")
@click.argument("kind", type=click.Choice(["webhook", "syslog", "otlp"]))
@click.argument("url")
@state_option
@click.option(
    "--source", "sources", multiple=True, type=click.Choice(["audit", "events"]), help="Only this. May repeat."
)
@click.option("--bearer-file", type=click.File("r"), help="File with the token that goes along; - is standard input.")
@click.option("--headers-file", type=click.File("r"), help="File with one 'Name: value' a line, all of them secret.")
@click.option("--ca-file", type=click.File("r"), help="PEM certificates that the receiver's has to come from.")
@click.option("--from-oldest", is_flag=True, help="Begin with the oldest that is kept, and not with now.")
@json_option
@reports_errors
def add(
    name: str,
    kind: str,
    url: str,
    state: Path,
    *,
    sources: tuple[str, ...],
    bearer_file: TextIO | None,
    headers_file: TextIO | None,
    ca_file: TextIO | None,
    from_oldest: bool,
    as_json: bool,
) -> None:
    """Send events and the audit somewhere, from now on.

    \b
    Example:
      helm siem add soc webhook https://siem.example.org/pharos --bearer-file token
      helm siem add logs syslog tls://logs.example.org:6514 --ca-file ca.pem
      helm siem add otel otlp https://otel.example.org:4318 --source audit
    """
    headers = {} if headers_file is None else headers_in(headers_file.read())
    if bearer_file is not None:
        headers["Authorization"] = f"Bearer {bearer_file.read().strip()}"
    body: dict[str, Any] = {"name": name, "kind": kind, "url": url, "headers": headers, "from_oldest": from_oldest}
    if sources:
        body["sources"] = sorted(set(sources))
    if ca_file is not None:
        body["ca"] = ca_file.read()
    print_record(call(state, "POST", f"{API}/{SINKS}", body), as_json=as_json)


@siem.command("list")
@state_option
@json_option
@reports_errors
def list_(state: Path, *, as_json: bool) -> None:
    """List the sinks, and how it goes with each.

    \b
    Example:
      helm siem list
    """
    health = _health(state)
    found = [sink | health.get(sink["id"], {}) for sink in read_all(state, SINKS)]
    if as_json:
        print_json(found)
        return
    print_table(
        ("name", "kind", "to", "state", "behind", "last error"),
        [(s["name"], s["kind"], s["host"], s["state"], _behind(s), s.get("error")) for s in found],
    )


@siem.command()
@click.argument("sink")
@state_option
@json_option
@reports_errors
def show(sink: str, state: Path, *, as_json: bool) -> None:
    """Show a sink, by id or name; the values of its headers are shown to nobody.

    \b
    Example:
      helm siem show soc
    """
    record = _read(state, sink)
    record |= _health(state).get(record["id"], {})
    if not as_json:
        record["behind"] = _behind(record)
    print_record(record, as_json=as_json)


@siem.command()
@click.argument("sink")
@state_option
@json_option
@reports_errors
def test(sink: str, state: Path, *, as_json: bool) -> None:
    """Send one record at once, and say whether it was acknowledged.

    \b
    Example:
      helm siem test soc
    """
    record = _read(state, sink)
    found = call(state, "POST", path_of(SINKS, record["id"], "test"))
    if as_json:
        print_json(found)
    elif found["ok"]:
        click.echo(f"{record['name']}: {found['detail']} ({found['milliseconds']:.0f} ms)")
    if not found["ok"]:
        raise CommandError(f"{record['name']} takes no records: {found['detail']}", Exit.UNREACHABLE)


@siem.command()
@click.argument("sink")
@state_option
@json_option
@reports_errors
def enable(sink: str, state: Path, *, as_json: bool) -> None:
    """Send to a sink again, from where it stood.

    \b
    Example:
      helm siem enable soc
    """
    print_moved(do(state, SINKS, _read(state, sink), "enable"), as_json=as_json)


@siem.command()
@click.argument("sink")
@state_option
@json_option
@reports_errors
def disable(sink: str, state: Path, *, as_json: bool) -> None:
    """Send nothing to a sink, until it is enabled.

    \b
    Example:
      helm siem disable soc
    """
    print_moved(do(state, SINKS, _read(state, sink), "disable"), as_json=as_json)


@siem.command("remove")
@click.argument("sink")
@state_option
@yes_option
@reports_errors
def remove_(sink: str, state: Path, *, yes: bool) -> None:
    """Remove a sink; where it stood is forgotten.

    \b
    Example:
      helm siem remove soc --yes
    """
    record = _read(state, sink)
    confirm(f"Remove {record['name']}?", yes=yes)
    remove(state, SINKS, record)
    click.echo(f"{record['name']} is removed")


def _read(state: Path, sink: str) -> dict[str, Any]:
    """Return a sink by its id or name. Raises: CommandError — there is none."""
    for record in read_all(state, SINKS):
        if sink in (record["id"], record["name"]):
            return call(state, "GET", path_of(SINKS, record["id"]))
    raise CommandError(f"there is no sink {sink!r}; see: helm siem list")


def _health(state: Path) -> dict[str, dict[str, Any]]:
    """Return how it goes with each sink, by its id."""
    items: list[dict[str, Any]] = call(state, "GET", f"{API}/{SINKS}/health")["items"]
    return {item["id"]: item for item in items}


def _behind(sink: dict[str, Any]) -> str:
    # A sink that was added a moment ago is in the list and not in the other answer.
    behind = sorted(sink.get("behind", {}).items())
    return ", ".join(f"{count} {source}" for source, count in behind if count) or "no"


def headers_in(text: str) -> dict[str, str]:
    """Return the headers of a file. Raises: CommandError — a line is none."""
    headers: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        name, colon, value = line.partition(":")
        if line.strip() and not colon:
            # The line itself may be a secret.
            raise CommandError(f"line {number} of the headers file is not 'Name: value'", Exit.USAGE)
        if line.strip():
            headers[name.strip()] = value.strip()
    return headers
