"""A command group that imports a command when somebody asks for it, and lists them all without."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click
from click.shell_completion import CompletionItem


class LazyGroup(click.Group):
    """A group whose commands live in modules of their own; walk it by ``list_commands`` and ``get_command``.

    ``where`` has for a command's name the module and attribute of it, ``"package.module:attribute"``, and the first
    sentence of its help. The sentence is there twice so that ``--help`` and a shell's completion import no command.
    """

    def __init__(self, *args: Any, where: Mapping[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._where = {name: place for name, (place, _) in where.items()}
        # What click lists and proposes for a name that is mistyped.
        self.commands.update({name: click.Command(name, help=sentence) for name, (_, sentence) in where.items()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, imported if it was not yet."""
        if cmd_name not in self._where:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = self._where[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands as click does: each in one line, as wide as the terminal lets it be."""
        limit = formatter.width - 6 - max(map(len, self.commands))
        lines = [(name, self.commands[name].get_short_help_str(limit)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(lines)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the commands, and then the options, that begin with ``incomplete``."""
        found = [name for name in self.list_commands(ctx) if name.startswith(incomplete)]
        items = [CompletionItem(name, help=self.commands[name].get_short_help_str()) for name in found]
        return [*items, *click.Command.shell_complete(self, ctx, incomplete)]
