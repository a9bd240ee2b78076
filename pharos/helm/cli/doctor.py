"""helm doctor."""

from __future__ import annotations

import datetime
import sqlite3
import sys
from pathlib import Path
from typing import Final

import click
import trio

from pharos.helm.ca.authority import load_authority
from pharos.helm.ca.vault import Vault
from pharos.helm.cli.api import call
from pharos.helm.cli.options import json_option, state_option
from pharos.helm.cli.records import API
from pharos.helm.doctor.files import (
    check_copies,
    check_databases,
    check_disk,
    check_key,
    check_modes,
    check_schema,
    found_nothing,
    open_record,
)
from pharos.helm.doctor.machines import check_machines
from pharos.helm.doctor.reach import check_condition, check_exposure, check_fleet, check_seen, dial_members, members_of
from pharos.helm.doctor.record import (
    check_alerts,
    check_authorities,
    check_backups,
    check_clock,
    check_exported,
    check_members,
    check_restore,
    check_root,
    check_rotation,
)
from pharos.helm.doctor.sinks import check_sinks
from pharos.helm.store.checks import CORE
from pharos.helm.store.fleet import get_fleet, has_fleet
from pharos.helm.store.nodes import list_nodes
from pharos.helm.store.relays import list_relays
from pharos.wire.console import CommandError, Exit, print_json, reports_errors
from pharos.wire.errors import StateFileError, WireError
from pharos.wire.files import lock_state_directory
from pharos.wire.findings import Finding, Level, is_healthy, note, ok, problem

_MARKS: Final = {Level.OK: "ok", Level.NOTE: "note", Level.PROBLEM: "PROBLEM"}


@click.command()
@state_option
@json_option
@reports_errors
def doctor(state: Path, *, as_json: bool) -> None:
    """Look at everything that can be wrong, and say what to do about it. Exit code 1 if something is.

    \b
    Example:
      helm doctor
      helm doctor --json | jq '.findings[] | select(.level == "problem")'
    """
    findings = examine(state, now=datetime.datetime.now(datetime.UTC))
    healthy = is_healthy(findings)
    if as_json:
        print_json({"healthy": healthy, "findings": [finding.as_json() for finding in findings]})
    else:
        for finding in findings:
            click.echo(f"{_MARKS[finding.level]:<8} {finding.id:<24} {_plain(finding.says)}")
            if finding.todo:
                click.echo(f"{'':<33} → {_plain(finding.todo)}")
        problems = sum(finding.level is Level.PROBLEM for finding in findings)
        notes = sum(finding.level is Level.NOTE for finding in findings)
        remarks = f" See the {notes} notes for what a fleet may still want." if notes > 1 else ""
        click.echo(f"\nAll is well.{remarks}" if healthy else f"\n{problems} of {len(findings)} want you.")
    sys.exit(Exit.DONE if healthy else Exit.FAILED)


def examine(state: Path, *, now: datetime.datetime) -> list[Finding]:
    """Return every finding about a state directory, those that all others rest on first."""
    core = state / CORE
    if not core.exists():
        return [found_nothing(state)]
    state = state.resolve()
    running = _is_running(state)
    key, vault = check_key(state, running=running)
    findings = [
        ok("helm", "helm runs.")
        if running
        else note("helm", "helm does not run; tunnels go on without it.", "helm run"),
        check_modes(state),
        check_disk(state),
        key,
        *check_databases(state),
    ]
    if any(finding.id == f"store:{CORE}" and finding.level is Level.PROBLEM for finding in findings):
        return findings
    with open_record(state / CORE) as db:
        schema = check_schema(db)
        findings.append(schema)
        if schema.level is not Level.OK:
            return findings
        if not has_fleet(db):
            return [*findings, found_nothing(state)]
        findings += _examine_record(db, now)
        findings.append(check_copies(state, running=running, now=now))
        findings += _examine_audit(state)
        findings += _examine_reach(state, db, vault, now, running=running)
    return findings


def _examine_record(db: sqlite3.Connection, now: datetime.datetime) -> list[Finding]:
    fleet = get_fleet(db)
    return [
        check_clock(db, fleet, now),
        *check_authorities(fleet, now),
        *check_members(db, now),
        check_backups(db, fleet, now),
        *check_root(db),
        *check_restore(db),
        *check_rotation(db),
        *check_exported(db),
        *check_alerts(db),
        *check_sinks(db, now),
    ]


def _examine_audit(state: Path) -> list[Finding]:
    try:
        found = call(state, "GET", f"{API}/audit/verify")
    except (CommandError, WireError) as error:
        return [problem("audit", f"The audit cannot be verified: {error}.", "helm audit verify")]
    says = f"{found['detail'][:1].upper()}{found['detail'][1:]}."
    if not found["ok"]:
        return [problem("audit", says, "Somebody altered the record; keep it, and restore a backup of before.")]
    return [ok("audit", says)]


def _examine_reach(
    state: Path, db: sqlite3.Connection, vault: Vault | None, now: datetime.datetime, *, running: bool
) -> list[Finding]:
    nodes, relays = list_nodes(db), list_relays(db)
    members, findings = members_of(nodes, relays), check_fleet(nodes, relays)
    if running:
        try:
            picture = call(state, "GET", f"{API}/status")
            findings += check_condition(call(state, "GET", f"{API}/health"))
        except (CommandError, WireError) as error:
            return [
                *findings,
                problem("socket", f"helm runs, and does not answer: {error}.", "See its log; start it anew."),
            ]
        seen = {member["id"]: member for member in (*picture["nodes"], *picture["relays"])}
        findings += check_exposure(picture.get("beacon_warning"))
        return findings + check_seen(members, seen) + check_machines(members, seen)
    if vault is None:
        return findings
    try:
        authority = load_authority(db, vault, now=now)
    except WireError as error:
        todo = "Restore a backup: helm restore FILE --state DIR"
        return [*findings, problem("authority", f"The fleet's keys do not open: {error}.", todo)]
    return findings + trio.run(dial_members, authority, [member for member in members if not member.aboard])


def _is_running(state: Path) -> bool:
    try:
        with lock_state_directory(state):
            return False
    except StateFileError:
        return True


def _plain(text: str) -> str:
    # Names are people's own words, and reasons may be a stranger's.
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)
