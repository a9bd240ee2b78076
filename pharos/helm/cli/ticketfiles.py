"""A ticket in a ``.pharos`` file, for who is sent files rather than links."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Final

import click

from pharos.wire.console import CommandError, Exit
from pharos.wire.files import write_atomic
from pharos.wire.seal.filecontent import encode_content
from pharos.wire.seal.pharosfile import seal_file
from pharos.wire.seal.ticket import TicketLink

SUFFIX: Final = ".pharos"
MIN_PASSPHRASE: Final = 12
"""Characters: four words, as for every `.pharos` file that caravel writes."""


def check_ticket_file(path: Path) -> None:
    """Look whether a file can be written there, before there is a link to write.

    Raises: CommandError.
    """
    if path.suffix.lower() != SUFFIX:
        raise CommandError(f"{path} has to end in {SUFFIX}", Exit.USAGE)
    if not path.parent.is_dir():
        raise CommandError(f"{path.parent} is no folder", Exit.USAGE)


def ask_passphrase() -> str:
    """Ask twice on a terminal, else read a line of standard input. Raises: CommandError — it is too short."""
    if sys.stdin.isatty():
        passphrase: str = click.prompt("Passphrase for the file", hide_input=True, confirmation_prompt=True, err=True)
    else:
        passphrase = sys.stdin.readline().strip()
    if len(passphrase) < MIN_PASSPHRASE:
        few = f"a passphrase has at least {MIN_PASSPHRASE} characters; four random words are good"
        raise CommandError(few, Exit.USAGE)
    return passphrase


def save_ticket(link: str, path: Path, passphrase: str | None) -> None:
    """Write a ticket's link as a file of mode 0600, closed with a passphrase or to nobody. Raises: OSError."""
    content = encode_content(TicketLink.parse(link))
    write_atomic(path, seal_file(content, made=int(time.time()), passphrase=passphrase))
