"""Running the commands: in this process for what they print, as real processes for what they hold."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from click.testing import CliRunner, Result


def invoke(command: click.Command, *arguments: object, stdin: str | None = None) -> Result:
    """Run a command in this process; a bug of it propagates."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        result = CliRunner().invoke(command, [str(argument) for argument in arguments], input=stdin)
    finally:
        # A daemon's command sets up logging for a process of its own; this one is pytest's.
        root.handlers[:], root.level = handlers, level
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def invoke_json(command: click.Command, *arguments: object, stdin: str | None = None) -> Any:
    """Run a command with ``--json`` and read what it printed."""
    result = invoke(command, *arguments, "--json", stdin=stdin)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def program(name: str) -> list[str]:
    """Return the words that start one of the commands as a process of this interpreter."""
    return [sys.executable, "-c", f"from pharos.{name}.cli import main; main(prog_name={name!r})"]


def run_program(name: str, *arguments: object, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command as a process of its own, to its end."""
    words = [*program(name), *[str(argument) for argument in arguments]]
    return subprocess.run(words, input=stdin, capture_output=True, text=True, timeout=30, check=False)


@contextmanager
def running_program(name: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Run a command as a process of its own while the block runs."""
    words = [*program(name), *[str(argument) for argument in arguments]]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()
