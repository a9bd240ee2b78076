"""Shows what a source would do, and asks the person at the terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Final

import click
import trio

from pharos.caravel.login import Begun, Method
from pharos.caravel.sources.base import Preview, Source
from pharos.caravel.sources.deeplink import check_words, expected_words
from pharos.caravel.sources.pharosfile import SealedSource
from pharos.wire.console import CommandError, Exit
from pharos.wire.errors import BundlePassphraseError
from pharos.wire.noise.keys import KeyPair
from pharos.wire.seal.pharosfile import Closure

TRIES: Final = 3
"""Of a passphrase on a terminal."""
MAX_ITEMS: Final = 20
"""Lines of a preview on a terminal."""


def at_terminal() -> bool:
    """Whether there is somebody to ask."""
    return sys.stdin.isatty()


def plain(text: object) -> str:
    """Return what somebody wrote without what would move the cursor, or turn the direction of writing."""
    return "".join(sign if sign.isprintable() else "�" for sign in str(text))


def show(preview: Preview) -> None:
    """Print what a source is and would do, on standard error."""
    click.echo(f"This is {plain(preview.title)}.", err=True)
    if preview.fleet:
        click.echo(f"  fleet  {preview.fleet}", err=True)
        click.echo(f"  words  {preview.words}", err=True)
    for item in preview.items[:MAX_ITEMS]:
        click.echo(f"  {plain(item)}", err=True)
    if len(preview.items) > MAX_ITEMS:
        click.echo(f"  and {len(preview.items) - MAX_ITEMS} more", err=True)
    click.echo(plain(preview.does), err=True)
    for warning in preview.warnings:
        click.echo(f"Note: {plain(warning)}", err=True)


def confirm(preview: Preview, words: str | None) -> bool:
    """Ask whether it shall be done; ``words`` has them repeated already, for who is at no terminal.

    Raises: UnconfirmedError — they are other words. CommandError — there is nobody to ask.
    """
    show(preview)
    if words is not None:
        check_words(preview, words)
        return True
    if not at_terminal():
        what = "the fleet's words" if preview.words else "what it leads to"
        raise CommandError(
            f"nothing was done: nobody is here to confirm it. Compare, then repeat {what}:"
            f" --words {plain(expected_words(preview))!r}",
            Exit.USAGE,
        )
    if preview.words:
        click.echo("Compare the words with whoever runs the fleet: helm devices link shows them.", err=True)
    return click.confirm("Shall it be done?", default=False, err=True)


def opened(source: Source, sealing_key: Callable[[], KeyPair | None]) -> Source:
    """Return what is in a file that is closed, and any other source as it is.

    Raises: BundleError — it does not open. CommandError — nobody is there to say the passphrase.
    """
    if not isinstance(source, SealedSource):
        return source
    if source.closure is Closure.DEVICE:
        return source.open(sealing_key=sealing_key())
    for left in reversed(range(TRIES)):
        try:
            return source.open(passphrase=ask("Passphrase of the file", hide=True))
        except BundlePassphraseError as error:
            if not left or not at_terminal():
                raise
            click.echo(str(error), err=True)
    raise BundlePassphraseError


def ask(what: str, *, hide: bool) -> str:
    """Ask on a terminal, else read a line of standard input.

    Raises: CommandError — there is neither.
    """
    if at_terminal():
        answer: str = click.prompt(what, hide_input=hide, err=True)
        return answer
    line = sys.stdin.readline().strip()
    if not line:
        raise CommandError(f"{what.lower()}: nobody to ask, and nothing on standard input", Exit.USAGE)
    return line


class TerminalAnswers:
    """Answers a login from the terminal, or from standard input."""

    def __init__(self, method: Method, email: str | None = None) -> None:
        self.method = method
        self._email = email
        self._tries = TRIES

    async def email(self) -> str:
        return self._email or await _in_thread("Mail address", hide=False)

    async def passphrase(self, trouble: str) -> str | None:
        if trouble:
            click.echo(trouble, err=True)
            if not at_terminal():
                return None
        self._tries -= 1
        return await _in_thread("Passphrase", hide=True) if self._tries >= 0 else None

    async def show(self, begun: Begun) -> None:
        minutes = begun.seconds // 60
        if begun.verification_uri:
            page, code = plain(begun.verification_uri), plain(begun.code)
            click.echo(f"Open {page} and type the code {code}, within {minutes} minutes.", err=True)
            return
        click.echo(f"The code of this device is {plain(begun.code)}, for {minutes} minutes. To let it in,", err=True)
        click.echo(f"  on another device of yours:  caravel confirm {plain(begun.code)}", err=True)
        click.echo(f"  or whoever runs the fleet:   helm users confirm {plain(begun.code)}", err=True)


async def _in_thread(what: str, *, hide: bool) -> str:
    # In a thread: a passage has to be kept alive meanwhile.
    return await trio.to_thread.run_sync(lambda: ask(what, hide=hide), abandon_on_cancel=True)
