"""docs/guide/commands.md: every command of the programs, with the first sentence of its help."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping

import click

_HEAD = """# Every command

`--help` behind one of them shows its options and an example, as its page does (`man helm nodes`). What they are for
is told in [commands for what a fleet consists of](cli.md) and in the pages of its other links. This page is written by
`python -m tests.update_snapshots`.
"""
# The end of a sentence, and no abbreviation's.
_SENTENCE = re.compile(r".+?(?:[.:](?=\s|$)|$)", re.S)


def render_index(programs: Mapping[str, str]) -> str:
    """Return the page, of programs by the modules of their ``main``."""
    lines = [_HEAD]
    for name, module in programs.items():
        main: click.Command = importlib.import_module(module).main
        lines += [f"## {name}\n", "| | |", "|---|---|"]
        lines += [f"| `{path}` | {_sentence(command)} |" for path, command in _leaves(name, main)]
        lines.append("")
    return "\n".join(lines)


def _leaves(path: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        yield path, command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        child = command.get_command(context, name)
        assert child is not None
        yield from _leaves(f"{path} {name}", child)


def _sentence(command: click.Command) -> str:
    found = _SENTENCE.match(" ".join((command.help or "").split("\b")[0].split()))
    return found[0].rstrip(":").rstrip(".").replace("|", "\\|") if found else ""
