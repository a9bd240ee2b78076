"""What the four command lines share: exit codes, error sentences, JSON on standard output."""

from __future__ import annotations

import enum
import functools
import json
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import click
from click.shell_completion import get_completion_class

from pharos.wire.errors import (
    DeniedError,
    LinkLostError,
    LinkRefusedError,
    PeerRejectedError,
    WireError,
)

P = ParamSpec("P")
R = TypeVar("R")


class Exit(enum.IntEnum):
    """Exit codes of every command."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    REFUSED = 3
    CONFLICT = 4
    UNREACHABLE = 5


class CommandError(click.ClickException):
    """A failure that a command reports in one sentence, with its exit code."""

    def __init__(self, message: str, code: Exit = Exit.FAILED) -> None:
        super().__init__(message)
        self.exit_code = int(code)  # type: ignore[misc]  # click reads it from the instance


_CODES: tuple[tuple[type[WireError], Exit], ...] = (
    (LinkRefusedError, Exit.REFUSED),
    (PeerRejectedError, Exit.REFUSED),
    (DeniedError, Exit.REFUSED),
    (LinkLostError, Exit.UNREACHABLE),
    (WireError, Exit.FAILED),
)


def exit_code_of(error: WireError) -> Exit:
    """Return the exit code for an error of the wire."""
    return next(code for kind, code in _CODES if isinstance(error, kind))


def reports_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Turn the errors that a user can act on into one sentence and an exit code; bugs keep their traceback."""

    @functools.wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        failure: WireError | OSError | None = None
        try:
            return command(*args, **kwargs)
        except* (WireError, OSError) as group:
            leaf: BaseException = group
            while isinstance(leaf, BaseExceptionGroup):
                leaf = leaf.exceptions[0]
            assert isinstance(leaf, WireError | OSError)
            failure = leaf
        if isinstance(failure, WireError):
            raise CommandError(str(failure) or _sentence(failure), exit_code_of(failure)) from failure
        raise CommandError(str(failure)) from failure

    return wrapper


def print_json(value: Any) -> None:
    """Print one JSON document on standard output."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_facts(facts: dict[str, Any], *, as_json: bool) -> None:
    """Print a few named values: one JSON document, or one aligned line each."""
    if as_json:
        print_json(facts)
        return
    width = max(map(len, facts), default=0) + 2
    for key, value in facts.items():
        click.echo(f"{key.replace('_', ' '):<{width}}{value}")


def _sentence(error: WireError) -> str:
    return (type(error).__doc__ or type(error).__name__).strip()


def completion_command(program: str) -> click.Command:
    """Return the command that prints what makes a shell complete ``program``."""

    @click.command("completion", help=_COMPLETION_HELP.format(program=program))
    @click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
    @click.pass_context
    def completion(context: click.Context, shell: str) -> None:
        kind = get_completion_class(shell)
        assert kind is not None, "click knows each shell of the choice"
        variable = f"_{program.upper()}_COMPLETE"
        click.echo(kind(context.find_root().command, {}, program, variable).source())

    return completion


_COMPLETION_HELP = """Print what makes a shell complete this program's commands.

\b
Example:
  eval "$({program} completion bash)"                              in ~/.bashrc
  eval "$({program} completion zsh)"                               in ~/.zshrc
  {program} completion fish > ~/.config/fish/completions/{program}.fish
"""
