"""Man pages of every command, made of the help that the command itself prints; nothing in them is written twice.

A program has a page, and each of its groups another, as git's commands do: ``man helm``, ``man helm nodes``. click-man
was looked at and does not fit: it makes a page for each command (some 150), fills the examples' lines into paragraphs,
escapes nothing, and does not see commands that are imported when they are asked for.

``python packaging/manpages.py DIR`` writes them all into a folder, to be looked at with ``man -l``.
"""

from __future__ import annotations

import gzip
import importlib
import inspect
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
import platformdirs
import roff

ROOT: Final = Path(__file__).resolve().parent.parent

EXITS: Final = {
    0: "Done.",
    1: "It could not be done; the sentence says why.",
    2: "The command line is not right.",
    3: "Refused: this caller may not.",
    4: "Conflict: the name is taken, the state does not allow it, or somebody was faster.",
    5: "helm or a machine did not answer.",
}
"""What docs/guide/cli.md says of every program's exit codes."""
RELATED: Final = {
    "helm": ("buoy", "beacon", "caravel"),
    "buoy": ("pharos-awg", "pharos-reality", "pharos-buoy-helper", "systemctl"),
    "beacon": ("systemctl",),
    "caravel": (),
    "pharos": ("helm", "buoy", "beacon", "caravel"),
    "pharos-awg": ("buoy", "wg", "wg-quick"),
    "pharos-reality": ("buoy",),
    "pharos-buoy-helper": ("buoy", "systemctl"),
}
SECTIONS: Final = {"systemctl": 1, "wg": 8, "wg-quick": 8}
"""Of others' pages; ours are all in section 1."""
UMBRELLA: Final = "pharos"
"""Its commands are the programs. None of its groups has a page, for ``pharos awg`` would take ``pharos-awg``'s."""


def programs() -> dict[str, str]:
    """Return the module of each program by its name, as pyproject.toml has them."""
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    return {name: place.partition(":")[0] for name, place in scripts.items()}


def load(program: str, module: str | None = None) -> click.Command:
    """Import a program's command from the sources that this file belongs to; None: pyproject.toml says where it is."""
    if str(ROOT) not in sys.path:
        # A virtual environment may know another checkout.
        sys.path.insert(0, str(ROOT))
    command: click.Command = importlib.import_module(module or programs()[program]).main
    return command


def pages(program: str, module: str | None = None) -> dict[str, str]:
    """Return the pages of a program by their file names: ``helm.1``, ``helm-nodes.1``."""
    command = load(program, module)
    context = click.Context(command, info_name=program, **command.context_settings)
    groups = {} if program == UMBRELLA else {c.info_name: c for c in _children(context) if _is_group(c)}
    written = {f"{program}.1": _page(context, program, [f"{program}-{name}" for name in groups])}
    for name, group in groups.items():
        written[f"{program}-{name}.1"] = _page(group, program, [program])
    return written


def manpages(program: str, module: str | None = None) -> dict[str, bytes]:
    """Return the pages where and as a package of Debian has them, by the path below the system's root."""
    return {
        f"usr/share/man/man1/{name}.gz": gzip.compress(page.encode("ascii"), mtime=0)
        for name, page in pages(program, module).items()
    }


def _is_group(context: click.Context) -> bool:
    return isinstance(context.command, click.Group)


def _children(context: click.Context) -> Iterator[click.Context]:
    group = context.command
    for name in group.list_commands(context) if isinstance(group, click.Group) else ():
        command = group.get_command(context, name)
        if command is not None and not command.hidden:
            yield click.Context(command, info_name=name, parent=context)


def _page(context: click.Context, program: str, related: list[str]) -> str:
    command = context.command
    name = context.command_path.replace(" ", "-")
    lines = [roff.title(name, importlib.import_module("pharos").__version__), *roff.RAGGED]
    lines += [".SH NAME", f"{roff.escape(name)} \\- {roff.escape(_summary(command))}"]
    lines += [".SH SYNOPSIS", f"{roff.bold(context.command_path)} {_usage(context)}"]
    lines += [".SH DESCRIPTION", *_description(command)]
    options = list(_options(context))
    if options:
        lines += [".SH OPTIONS", *options]
    if isinstance(command, click.Group):
        lines += [".SH COMMANDS", *_commands(context, paged=context.parent is None)]
        lines += [".SH EXIT STATUS", *(roff.item(roff.bold(str(code)), text) for code, text in EXITS.items())]
    also = [*related, *(RELATED[program] if context.parent is None else ())]
    if also:
        lines += [".SH SEE ALSO", ",\n".join(f"{roff.bold(one)}({SECTIONS.get(one, 1)})" for one in also)]
    return _portable("\n".join(lines) + "\n")


def _portable(page: str) -> str:
    """Return a page that does not show whose home it was made in."""
    return page.replace(roff.escape(str(platformdirs.user_data_path())), roff.escape("~/.local/share"))


def _commands(context: click.Context, *, paged: bool) -> Iterator[str]:
    """Give the commands of a group: those with a page of their own, or a program's, by a line; the others whole."""
    for child in _children(context):
        command = child.command
        if context.info_name == UMBRELLA and child.info_name in RELATED:
            yield roff.item(f"{roff.bold(child.command_path)}, see {roff.bold(child.info_name)}(1)", _summary(command))
        elif paged and _is_group(child) and context.info_name != UMBRELLA:
            name = child.command_path.replace(" ", "-")
            yield roff.item(f"{roff.bold(child.command_path)}, see {roff.bold(name)}(1)", _summary(command))
    for child in _children(context):
        if context.info_name == UMBRELLA and child.info_name in RELATED:
            continue
        if paged and _is_group(child) and context.info_name != UMBRELLA:
            continue
        yield roff.heading(".SS", f"{child.command_path} {' '.join(child.command.collect_usage_pieces(child))}")
        yield from _description(child.command)
        yield from _options(child)
        yield from _commands(child, paged=False)


def _usage(context: click.Context) -> str:
    return " ".join(f"\\fI{roff.escape(piece)}\\fR" for piece in context.command.collect_usage_pieces(context))


def _summary(command: click.Command) -> str:
    return command.get_short_help_str(limit=1000).rstrip(".")


def _description(command: click.Command) -> Iterator[str]:
    # click shows nothing of what follows a form feed.
    return roff.prose(inspect.cleandoc(command.help or "").partition("\f")[0])


def _options(context: click.Context) -> Iterator[str]:
    for parameter in context.command.get_params(context):
        record = parameter.get_help_record(context)
        # Arguments have a record without a word in it.
        if record is not None and record[1] and "--help" not in parameter.opts:
            yield roff.item(roff.declaration(record[0]), record[1])


def main() -> int:
    [folder] = map(Path, sys.argv[1:])
    folder.mkdir(parents=True, exist_ok=True)
    for program in programs():
        for name, page in pages(program).items():
            (folder / name).write_text(page, encoding="ascii")
    return 0


if __name__ == "__main__":
    sys.exit(main())
