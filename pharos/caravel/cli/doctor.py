"""`caravel doctor`: what is wrong between this device and its fleet, and what to do about it."""

from __future__ import annotations

from pathlib import Path

import click

from pharos.caravel.cli.common import json_option, run, state_option, with_client
from pharos.caravel.client import Client
from pharos.caravel.doctor.examine import examine
from pharos.caravel.running import running_status
from pharos.wire.console import CommandError, Exit, print_json, reports_errors
from pharos.wire.findings import Finding, Level, is_healthy

_MARKS = {Level.OK: "ok", Level.NOTE: "··", Level.PROBLEM: "no"}
_COLOURS = {Level.OK: "green", Level.NOTE: "yellow", Level.PROBLEM: "red"}


@click.command("doctor")
@state_option
@click.option("--node", "wanted", help="Id or name of one node (default: all of them).")
@click.option("--count", type=click.IntRange(1, 1000), default=5, show_default=True, help="Echoes per node.")
@json_option
@reports_errors
def doctor_(state: Path, wanted: str | None, count: int, *, as_json: bool) -> None:
    """Look at clock, network, names, relays, helm and each node, and say what to do about what is wrong.

    What it sends goes to the fleet's own relays and nodes alone. Code 5: a node answers by no protocol; code 1:
    something else is wrong. helm may be away, and that harms nothing.

    \b
    Example:
      caravel doctor
      caravel doctor --node amsterdam --count 20 --json
    """

    async def look(client: Client) -> list[Finding]:
        return await examine(client, wanted=wanted, count=count, running=running)

    running = run(lambda: running_status(state))
    findings: list[Finding] = with_client(state, look)
    if as_json:
        print_json({"healthy": is_healthy(findings), "findings": [finding.as_json() for finding in findings]})
    else:
        for finding in findings:
            _tell(finding)
    if is_healthy(findings):
        return
    bad = [finding for finding in findings if finding.level is Level.PROBLEM]
    nodes = [finding for finding in bad if finding.id.startswith("node:") or finding.id == "connection"]
    raise CommandError(
        "a node did not answer" if nodes else "something is wrong", Exit.UNREACHABLE if nodes else Exit.FAILED
    )


def _tell(finding: Finding) -> None:
    mark = click.style(_MARKS[finding.level], fg=_COLOURS[finding.level])
    click.echo(f"{mark}  {finding.id:<28}{finding.says}")
    if finding.todo and finding.level is not Level.OK:
        click.echo(f"{'':<32}{finding.todo}")
