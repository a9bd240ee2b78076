"""Commands that are one act on one record, alike for every noun that has states."""

from __future__ import annotations

from pathlib import Path

import attrs
import click

from pharos.helm.cli.machines import said_engine, said_machine
from pharos.helm.cli.options import json_option, state_option, yes_option
from pharos.helm.cli.records import confirm, do, print_record, read_one, remove
from pharos.wire.console import print_json, reports_errors


@attrs.frozen(kw_only=True)
class Verb:
    """One command."""

    name: str
    says: str
    """Its help."""
    final: bool = False
    """It cannot be undone, so it is asked about."""


def add_state_commands(group: click.Group, noun: str, sample: str, *verbs: Verb) -> None:
    """Give a noun's group a command for each verb; ``sample`` is a name for the examples."""
    for verb in verbs:
        group.add_command(_command(noun, sample, verb))


def add_show_command(group: click.Group, noun: str, sample: str) -> None:
    """Give a noun's group its ``show``."""

    @group.command("show", help=f"Show one, by id or name.\n\n\b\nExample:\n  helm {noun} show {sample}")
    @click.argument("record")
    @state_option
    @json_option
    @reports_errors
    def show(record: str, state: Path, *, as_json: bool) -> None:
        print_shown(read_one(state, noun, record), as_json=as_json)


def add_remove_command(group: click.Group, noun: str, sample: str, says: str) -> None:
    """Give a noun's group its ``remove``."""

    @group.command("remove", help=f"{says}\n\n\b\nExample:\n  helm {noun} remove {sample} --yes")
    @click.argument("record")
    @state_option
    @yes_option
    @reports_errors
    def remove_(record: str, state: Path, *, yes: bool) -> None:
        found = read_one(state, noun, record)
        confirm(f"Remove {found['name']}?", yes=yes)
        remove(state, noun, found)
        click.echo(f"{found['name']} is removed")


def print_shown(record: dict[str, object], *, as_json: bool) -> None:
    """Print a record; for people, what stands in lists of its own is told by its ids."""
    if not as_json:
        certificates = record.get("certificates")
        if isinstance(certificates, list):
            record = record | {"certificates": [f"{c['id'][:16]}… {c['state']}" for c in certificates]}
        engines, machine = record.get("engines"), record.get("machine")
        if isinstance(engines, list):
            record = record | {"engines": [said_engine(engine) for engine in engines]}
        if isinstance(machine, dict):
            record = record | {"machine": said_machine(machine)}
    print_record(record, as_json=as_json)


def print_moved(record: dict[str, object], *, as_json: bool) -> None:
    """Print what a record has become."""
    if as_json:
        print_json(record)
    else:
        click.echo(f"{record['name']} ({record['id']}) is {record['state']}")


def _command(noun: str, sample: str, verb: Verb) -> click.Command:
    example = f"helm {noun} {verb.name} {sample}{' --yes' if verb.final else ''}"

    @click.command(verb.name, help=f"{verb.says}\n\n\b\nExample:\n  {example}")
    @click.argument("record")
    @state_option
    @json_option
    @reports_errors
    def command(record: str, state: Path, *, as_json: bool, yes: bool = True) -> None:
        found = read_one(state, noun, record)
        confirm(f"{verb.name.capitalize()} {found['name']} for ever?", yes=yes)
        print_moved(do(state, noun, found, verb.name), as_json=as_json)

    return yes_option(command) if verb.final else command
