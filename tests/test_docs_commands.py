"""Somebody who looks for a command in the documentation finds it, whichever of the installed programs it belongs to."""

from __future__ import annotations

import importlib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS: dict[str, str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs/guide").glob("*.md"))]


def commands(path: str, command: click.Command) -> Iterator[str]:
    """Give the commands below one that do something; of `pharos`, not those of the programs under it."""
    if not isinstance(command, click.Group):
        yield path
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        child = command.get_command(context, name)
        assert child is not None
        if path != "pharos" or name not in SCRIPTS:
            yield from commands(f"{path} {name}", child)


def missing(text: str, program: str) -> list[str]:
    """Return the commands of a program that a text does not name."""
    main: click.Command = importlib.import_module(SCRIPTS[program].partition(":")[0]).main
    return [path for path in commands(program, main) if not re.search(rf"(?<![\w-]){re.escape(path)}(?![\w-])", text)]


@pytest.mark.parametrize("program", SCRIPTS)
def test_every_command_is_named_in_the_guide(program: str) -> None:
    assert not missing("\n".join(page.read_text(encoding="utf-8") for page in PAGES), program)


def test_a_command_is_not_named_by_one_whose_name_begins_alike() -> None:
    assert "buoy run" in missing("buoy render, buoy runs, pharos-buoy run", "buoy")
    assert "buoy run" not in missing("`buoy run`", "buoy")
