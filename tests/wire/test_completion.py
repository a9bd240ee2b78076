"""Each program prints what makes a shell complete it, and then completes."""

from __future__ import annotations

import importlib
import shutil
import subprocess

import click
import pytest
from click.testing import CliRunner

from tests.support.snapshots import PROGRAMS

BEGINNINGS = {"helm": ("us", "users"), "buoy": ("sta", "status"), "beacon": ("cs", "csr"), "caravel": ("doc", "doctor")}


def load(name: str) -> click.Group:
    main: click.Group = importlib.import_module(PROGRAMS[name]).main
    return main


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_script_of_a_shell_asks_the_program(name: str, shell: str) -> None:
    done = CliRunner().invoke(load(name), ["completion", shell])
    assert done.exit_code == 0
    assert f"_{name.upper()}_COMPLETE={shell}_complete" in done.output
    if program := shutil.which(shell):
        subprocess.run([program, "-n"], input=done.output, text=True, check=True, timeout=30)


@pytest.mark.parametrize("name", PROGRAMS)
def test_program_completes_what_was_begun(name: str) -> None:
    begun, whole = BEGINNINGS[name]
    asked = {f"_{name.upper()}_COMPLETE": "bash_complete", "COMP_WORDS": f"{name} {begun}", "COMP_CWORD": "1"}
    done = CliRunner().invoke(load(name), env=asked, prog_name=name)
    assert f"plain,{whole}" in done.output.splitlines()


def test_unknown_shell_is_a_usage_error() -> None:
    assert CliRunner().invoke(load("helm"), ["completion", "csh"]).exit_code == 2
