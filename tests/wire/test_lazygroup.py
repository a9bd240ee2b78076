"""A group that imports its commands on demand shows, completes and proposes the same as one that has them all."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from pharos.helm.cli import COMMANDS, main

# What `helm --help` has to do without: each takes a tenth of a second to import, or more.
HEAVY = (
    "trio",
    "httpx",
    "quart",
    "attrs",
    "msgspec",
    "cryptography",
    "rich",
    "pharos.helm.store",
    "pharos.helm.config",
)


def eager() -> click.Group:
    """Return helm's group with every command in it, as click itself would have it."""
    context = click.Context(main)
    group = click.Group("helm", help=main.help, params=list(main.params), context_settings=main.context_settings)
    for name in main.list_commands(context):
        group.add_command(main.get_command(context, name) or pytest.fail(name), name)
    return group


@pytest.mark.parametrize("name", COMMANDS)
def test_sentence_of_a_command_is_the_first_of_its_help(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    assert COMMANDS[name][1] == command.get_short_help_str(limit=500)
    assert not command.hidden


@pytest.mark.parametrize("width", [60, 80, 200])
def test_help_is_what_click_makes_of_the_commands_themselves(width: int) -> None:
    runner = CliRunner()
    shown, meant = (
        runner.invoke(group, ["--help"], prog_name="helm", terminal_width=width, max_content_width=width)
        for group in (main, eager())
    )
    assert shown.exit_code == 0
    assert "adoptions" in shown.output
    assert shown.output == meant.output


@pytest.mark.parametrize("incomplete", ["", "re", "nodes", "-", "x"])
def test_completion_is_what_click_makes_of_the_commands_themselves(incomplete: str) -> None:
    shells = [ShellComplete(group, {}, "helm", "_HELM_COMPLETE") for group in (main, eager())]
    found, meant = ([(item.value, item.help) for item in shell.get_completions([], incomplete)] for shell in shells)
    assert found == meant


def test_mistyped_command_is_told_the_name_that_was_meant() -> None:
    done = CliRunner().invoke(main, ["ndoes"])
    assert done.exit_code == 2
    assert "Did you mean 'nodes'" in done.output


LOOK = """
import sys
from click.testing import CliRunner
from pharos.helm.cli import main
done = CliRunner().invoke(main, sys.argv[1:])
assert done.exit_code == 0, done.output
print(*sorted(sys.modules))
"""


def modules_after(*arguments: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", LOOK, *arguments], check=True, capture_output=True, text=True, timeout=60
    )
    return set(done.stdout.split())


def test_command_is_imported_only_when_it_is_asked_for() -> None:
    assert not modules_after("--help") & {*HEAVY, "pharos.helm.cli.nodes"}
    asked = modules_after("nodes", "list", "--help")
    assert "pharos.helm.cli.nodes" in asked
    assert not asked & {"trio", "httpx", "quart", "pharos.helm.store", "pharos.helm.cli.watch"}
