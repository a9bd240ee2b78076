"""`caravel fleets` and `caravel protect`: which fleets this device is in, and what its secrets are locked by."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pharos.caravel.cli.common import json_option, state_option, unlocking
from pharos.caravel.cli.posture import refuse_if_locked
from pharos.caravel.profiles.fleets import Fleet, Fleets
from pharos.caravel.profiles.unlocking import Protection
from pharos.caravel.profiles.vault import Vault
from pharos.wire.console import CommandError, Exit, print_facts, print_json, reports_errors


@click.command()
@state_option
@click.option("--default", metavar="FLEET", help="Let this one be meant where none is named.")
@click.option("--forget", metavar="FLEET", help="Remove all that this device keeps of this one, its keys above all.")
@click.option("--name", nargs=2, metavar="FLEET NAME", help="Call this one something here; '' takes the name away.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@reports_errors
def fleets(
    state: Path,
    default: str | None,
    forget: str | None,
    name: tuple[str, str] | None,
    *,
    yes: bool,
    as_json: bool,
) -> None:
    """List the fleets this device is in. A fleet is named by its name here or by the beginning of its id.

    Say which one a command means before the command: caravel --fleet FLEET status.

    \b
    Example:
      caravel fleets
      caravel fleets --name 3f0a work --default work
      caravel fleets --forget work
    """
    if default is not None:
        refuse_if_locked("choose another fleet")
    if forget is not None:
        refuse_if_locked("forget a fleet")
    kept = Fleets(state, unlocking())
    if name is not None:
        kept.set_name(*name)
    if default is not None:
        kept.set_default(default)
    if forget is not None:
        _confirm(kept.find(forget), yes=yes)
        kept.forget(forget)
    found = kept.list()
    if as_json:
        print_json([_facts(fleet) for fleet in found])
        return
    table = Table("fleet", "name", "device", "", box=None, pad_edge=False)
    for fleet in found:
        words = [*(["default"] if fleet.default else []), *([] if fleet.joined else ["joining"])]
        device = fleet.member.device if fleet.joined else ""
        table.add_row(*map(Text, (fleet.id, fleet.name, device, ", ".join(words))))
    Console().print(table)


@click.command()
@state_option
@click.option(
    "--by",
    type=click.Choice([protection.value for protection in Protection]),
    help="Lock by this from now on (default: only say by what).",
)
@json_option
@reports_errors
def protect(state: Path, by: str | None, *, as_json: bool) -> None:
    """Say what locks the keys and secrets this device keeps, or lock them by something else.

    A new passphrase is asked for twice on a terminal, else read from standard input: one line. Whatever opened them
    before is of no use afterwards.

    \b
    Example:
      caravel protect
      caravel protect --by passphrase
      caravel protect --by key-file
    """
    vault = Vault(state, unlocking())
    if by is not None:
        to = Protection(by)
        vault.change_protection(to, passphrase=_new_passphrase() if to is Protection.PASSPHRASE else "")
    keeping = vault.keeping()
    facts = {"protection": "none yet" if keeping is None else keeping.protection.value, "locked": vault.locked}
    print_facts(facts, as_json=as_json)


def _facts(fleet: Fleet) -> dict[str, Any]:
    return {
        "fleet": fleet.id,
        "name": fleet.name,
        "device": fleet.member.device or None,
        "joined": fleet.joined,
        "default": fleet.default,
    }


def _confirm(fleet: Fleet, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise CommandError("this cannot be undone; say --yes", Exit.USAGE)
    called = f"{fleet.name} ({fleet.id})" if fleet.name else fleet.id
    click.confirm(f"Remove this device's keys for fleet {called}? They do not come back.", abort=True, err=True)


def _new_passphrase() -> str:
    if sys.stdin.isatty():
        chosen: str = click.prompt("New passphrase", hide_input=True, confirmation_prompt=True, err=True)
        return chosen
    return sys.stdin.readline().rstrip("\r\n")
