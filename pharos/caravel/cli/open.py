"""`caravel open`: what a desktop calls with a link that somebody clicked on."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import click
import platformdirs

from pharos.caravel.cli.asking import TerminalAnswers, confirm
from pharos.caravel.cli.common import json_option, state_option, unlocking
from pharos.caravel.cli.links import take, tell
from pharos.caravel.cli.posture import managed_device
from pharos.caravel.errors import UnconfirmedError
from pharos.caravel.login import Method
from pharos.caravel.sources.base import Choices, Taken
from pharos.caravel.sources.deeplink import DESKTOP_FILE, SCHEMES, desktop_entry, parse_deep_link
from pharos.wire.console import CommandError, Exit, reports_errors
from pharos.wire.files import write_atomic

_READABLE = 0o644


@click.command("open")
@click.argument("link", required=False)
@state_option
@click.option("--words", help="The fleet's words, compared and repeated; of a link without a fleet, its line as shown.")
@click.option("--email", help="For a fleet's link: your mail address (default: ask).")
@click.option(
    "--method",
    type=click.Choice([method.value for method in Method]),
    default=Method.PASSPHRASE.value,
    show_default=True,
    help="For a fleet's link: how you log in.",
)
@click.option("--hold", is_flag=True, help="Wait for a key at the end: for a terminal that closes with the command.")
@click.option("--register", is_flag=True, help="Let this desktop open such links with caravel.")
@json_option
def open_(
    link: str | None,
    state: Path,
    words: str | None,
    email: str | None,
    method: str,
    *,
    hold: bool,
    register: bool,
    as_json: bool,
) -> None:
    """Look at a link from elsewhere, and do what it wants once you have agreed.

    It shows which fleet the link leads to, and its words; whoever runs that fleet has the same. Nothing is connected
    by it, and a fleet that this device is in stays: another one is joined beside it. Without a terminal the words are
    repeated by --words. '-' reads the link from standard input.

    \b
    Example:
      caravel open 'pharosvpn://enroll?v=1&b=…'
      caravel open --register
    """
    if register:
        if link is not None:
            raise click.UsageError("--register takes no link")
        reports_errors(_register)()
        return
    if link is None:
        raise click.UsageError("say a LINK, or --register")
    try:
        _look(link, state, words, TerminalAnswers(Method(method), email), as_json=as_json)
    except click.ClickException as error:
        if not hold:
            raise
        # Before the terminal closes over it.
        error.show()
        click.pause("Press any key to close", err=True)
        sys.exit(error.exit_code)
    if hold:
        click.pause("Press any key to close", err=True)


@reports_errors
def _look(link: str, state: Path, words: str | None, answers: TerminalAnswers, *, as_json: bool) -> None:
    text = sys.stdin.readline().strip() if link == "-" else link
    tell(_open(text, state, words, answers), as_json=as_json)


def _open(text: str, state: Path, words: str | None, answers: TerminalAnswers) -> Taken:
    managed = managed_device()
    source = parse_deep_link(text)
    if not confirm(source.preview(), words):
        raise UnconfirmedError("nothing was done")
    return take(source, state, Choices(answers=answers, managed=managed, unlocking=unlocking()))


def _register() -> None:
    command = shutil.which("caravel")
    if command is None:
        raise CommandError("caravel is not on the search path; install it there first", Exit.FAILED)
    folder = platformdirs.user_data_path() / "applications"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / DESKTOP_FILE
    write_atomic(path, desktop_entry(str(Path(command).absolute())).encode(), mode=_READABLE)
    click.echo(f"wrote {path}; now let the desktop know:")
    for scheme in SCHEMES:
        click.echo(f"  xdg-mime default {DESKTOP_FILE} x-scheme-handler/{scheme}")
