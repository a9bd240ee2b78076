"""Commands that a node's and a relay's command line have in common."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TextIO, TypeVar

import click

from pharos.wire.agent import AgentGrant, AgentKeys
from pharos.wire.console import reports_errors
from pharos.wire.files import open_state_directory
from pharos.wire.pki.roles import Role

F = TypeVar("F", bound=Callable[..., Any])


def state_option(default: Path) -> Callable[[F], F]:
    """Return ``--state``; None where it is not given, so that a configuration file may decide."""
    return click.option(
        "--state", type=click.Path(path_type=Path), default=None, help=f"State directory (default {default})."
    )


config_option = click.option(
    "--config", "config_file", type=click.Path(path_type=Path), help="TOML file with the keys of the options."
)

# Bytes that are no text become signs that no document has, so that the file is refused as what it is not.
_TEXT_FILE: Final = click.File("r", encoding="utf-8", errors="replace")


def csr_command(program: str, role: Role, default_state: Path) -> click.Command:
    """Return the command by which a machine asks for its place in a fleet, and keeps the answer."""

    @click.command("csr", help=_HELP.format(program=program, role=role.value, state=default_state))
    @state_option(default_state)
    @click.option("--install", type=_TEXT_FILE, help="Keep the grant in this file ('-' reads standard input).")
    @reports_errors
    def csr(state: Path | None, install: TextIO | None) -> None:
        keys = AgentKeys(open_state_directory(state or default_state), role)
        if install is None:
            click.echo(keys.make_request().render(), nl=False)
            return
        membership = keys.install(AgentGrant.parse(install.read()), now=datetime.datetime.now(datetime.UTC))
        click.echo(f"this {role.value} is {membership.identity.uri}", err=True)

    return csr


_HELP = """Print this {role}'s request for a place in a fleet, or keep helm's answer.

Keys are made here on first use and never leave this machine.

\b
Example:
  {program} csr --state {state} > request.json
  {program} csr --state {state} --install grant.json
"""
