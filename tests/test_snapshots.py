"""The help of the commands and the messages on the wire change only together with their snapshots."""

from __future__ import annotations

import difflib
import importlib

import click
import pytest

from tests.support.snapshots import INDEX, PROGRAMS, TESTS, Snapshot, all_snapshots, render_help

SNAPSHOTS = all_snapshots()


@pytest.mark.parametrize("snapshot", SNAPSHOTS, ids=[snapshot.name for snapshot in SNAPSHOTS])
def test_nothing_frozen_has_changed(snapshot: Snapshot) -> None:
    frozen = snapshot.path.read_text(encoding="utf-8")
    difference = difflib.unified_diff(frozen.splitlines(), snapshot.render().splitlines(), "frozen", "now", lineterm="")
    assert not (lines := list(difference)), "\n".join(lines) + "\nif this is meant: python -m tests.update_snapshots"


def test_no_snapshot_outlives_what_it_froze() -> None:
    assert set(TESTS.rglob("snapshots/*.txt")) == {snapshot.path for snapshot in SNAPSHOTS} - {INDEX}


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_command_shows_an_example(name: str) -> None:
    pages = render_help(name, PROGRAMS[name]).split("$ ")[1:]
    for page in pages:
        first = page.splitlines()[0]
        if "Commands:" not in page:
            assert "Example:" in page, first


@pytest.mark.parametrize("name", PROGRAMS)
def test_no_command_has_more_than_eight_options(name: str) -> None:
    main: click.Group = importlib.import_module(PROGRAMS[name]).main
    for path, command in walk(name, main):
        options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
        assert len(options) <= 8, path


def walk(path: str, command: click.Command) -> list[tuple[str, click.Command]]:
    found = [(path, command)]
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            found += walk(f"{path} {name}", child)
    return found
