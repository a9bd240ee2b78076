"""The command line `pharos awg`: makes obfuscation parameters and looks at tunnel files."""

from __future__ import annotations

import os
from typing import Final, TextIO

import attrs
import click

from pharos.wire.awg.conf import InterfaceSection, TunnelConf, render
from pharos.wire.awg.confread import parse
from pharos.wire.awg.findings import Severity
from pharos.wire.awg.generate import generate as generate_parameters
from pharos.wire.awg.lint import ETHERNET_MTU, lint
from pharos.wire.awg.params import Generation
from pharos.wire.console import CommandError, print_json, reports_errors

_GENERATIONS: Final = {str(generation): generation for generation in Generation if generation}
_MIN_MTU: Final = 1280  # IPv6 (RFC 8200 §5).
# A byte that is no text becomes a sign that no value has, and is then named with its line.
_FILE: Final = click.File("r", encoding="utf-8", errors="replace")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Tunnel files and obfuscation parameters of AmneziaWG."""


@main.command()
@click.option(
    "--for",
    "generation",
    type=click.Choice(list(_GENERATIONS)),
    default="3.1",
    show_default=True,
    help="What peers speak.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def generate(generation: str, *, as_json: bool) -> None:
    """Make a set of obfuscation parameters, as lines for the [Interface] section of both ends.

    Jc, Jmin, Jmax, I1 and the times may differ at the ends; all else must be the same. It is a secret like any key.

    \b
    Example:
      pharos awg generate
      pharos awg generate --for 1.0
    """
    parameters = generate_parameters(os.urandom, _GENERATIONS[generation])
    if as_json:
        print_json(parameters.as_mapping())
        return
    lines = render(TunnelConf(interface=InterfaceSection(parameters=parameters))).splitlines()
    click.echo("\n".join(lines[1:]))


@main.command("lint")
@click.argument("file", type=_FILE)
@click.option("--for", "generation", type=click.Choice(list(_GENERATIONS)), default=None, help="What the peers speak.")
@click.option(
    "--path-mtu", type=click.IntRange(_MIN_MTU, 65535), default=ETHERNET_MTU, show_default=True, help="Bytes, outside."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@reports_errors
def lint_file(file: TextIO, generation: str | None, path_mtu: int, *, as_json: bool) -> None:
    """Look for errors and unwise values in a tunnel's file; '-' is standard input.

    Exit code 1 says that there are errors; warnings alone are none.

    \b
    Example:
      pharos awg lint /etc/amnezia/amneziawg/awg0.conf
      pharos awg lint --for 2.0 - < awg0.conf
    """
    found = lint(file.read(), generation=_GENERATIONS.get(generation or ""), path_mtu=path_mtu)
    if as_json:
        print_json([attrs.asdict(finding) | {"severity": finding.severity.value} for finding in found])
    else:
        for finding in found:
            click.echo(f"{finding.severity.value}: {finding}")
    errors = sum(finding.severity is Severity.ERROR for finding in found)
    if errors:
        raise CommandError(f"{errors} error{'s' if errors > 1 else ''}, {len(found) - errors} warnings")


@main.command()
@click.argument("file", type=_FILE)
@click.option("--hooks", is_flag=True, help="Keep the commands for root's shell.")
@reports_errors
def tidy(file: TextIO, *, hooks: bool) -> None:
    """Print a tunnel's file as Pharos writes it: one spelling, defaults and comments left out. Keys are in it.

    \b
    Example:
      pharos awg tidy awg0.conf > tidy.conf
    """
    click.echo(render(parse(file.read(), hooks=hooks), hooks=hooks), nl=False)
