"""`caravel managed`: what an organisation decides for this device, and how it joins by that."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Any

import attrs
import click

from pharos.caravel.cli.asking import TerminalAnswers
from pharos.caravel.cli.common import json_option, run, state_option, unlocking
from pharos.caravel.cli.links import tell
from pharos.caravel.cli.posture import managed_device
from pharos.caravel.login import Method
from pharos.caravel.managed import Managed, posture_of
from pharos.caravel.managedfile import MANAGED_FILE, check_file
from pharos.caravel.sources.base import Choices, Taken
from pharos.caravel.sources.enrolment import enrol_managed
from pharos.wire.console import CommandError, print_facts, print_json, reports_errors


@click.group("managed")
def managed() -> None:
    """What an organisation decides for this device, in /etc/pharos/managed.toml.

    \b
    Example:
      caravel managed show
      caravel managed check managed.toml     before it is rolled out
    """


@managed.command("show")
@json_option
@reports_errors
def show_(*, as_json: bool) -> None:
    """Show whose device this is, and what they decide.

    \b
    Example:
      caravel managed show --json
    """
    found = managed_device()
    facts = {"posture": posture_of(found).value} | ({} if found is None else facts_of(found))
    if as_json:
        print_json(facts)
        return
    print_facts({key: _shown(value) for key, value in facts.items() if value not in (None, [], "")}, as_json=False)


@managed.command()
@click.argument("file", type=click.Path(path_type=Path))
@json_option
@reports_errors
def check(file: Path, *, as_json: bool) -> None:
    """Read a file as a device would, whoever owns it; fails with the key that is wrong.

    \b
    Example:
      caravel managed check managed.toml
    """
    found = check_file(file)
    if as_json:
        print_json(facts_of(found))
    else:
        click.echo(f"{file} is good: a device of {found.organisation}'s")


@managed.command("enroll")
@state_option
@click.option("--email", help="Your mail address, where you log in with an account (default: ask).")
@click.option(
    "--method",
    type=click.Choice([method.value for method in Method]),
    default=Method.PASSPHRASE.value,
    show_default=True,
    help="How you log in.",
)
@json_option
@reports_errors
def enroll_(state: Path, email: str | None, method: str, *, as_json: bool) -> None:
    """Join the fleet that the organisation says, by its ticket or with your account. Once: again it does nothing.

    \b
    Example:
      caravel managed enroll
    """
    found = managed_device()
    if found is None:
        raise CommandError(f"this device is a person's: there is no {MANAGED_FILE}")
    choices = Choices(answers=TerminalAnswers(Method(method), email), managed=found, unlocking=unlocking())

    async def join() -> Taken | None:
        return await enrol_managed(state, found, choices)

    taken = run(join)
    if taken is not None:
        tell(taken, as_json=as_json)
    elif as_json:
        print_json({"joined": True})
    else:
        click.echo("this device has joined already")


def facts_of(found: Managed) -> dict[str, Any]:
    """Return a file's content, defaults included."""
    return attrs.asdict(found, value_serializer=_plain)


def _plain(_instance: object, _attribute: object, value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, Path) else value


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        said = {key: one for key, one in value.items() if one not in (None, [], "")}
        return ", ".join(f"{key} {_shown(one)}" for key, one in said.items()) or "nothing"
    return ", ".join(value) if isinstance(value, list) else str(value)
