"""What a command says when the databases are in trouble: one line, and what to do."""

from __future__ import annotations

import functools
import sqlite3
from pathlib import Path

import pytest

from pharos.helm.cli import main
from pharos.helm.store.database import CORE, open_store
from pharos.wire.console import Exit
from tests.support.commands import invoke, invoke_json


@pytest.fixture
def state(tmp_path: Path) -> Path:
    invoke_json(main, "init", "--state", tmp_path / "helm")
    return tmp_path / "helm"


def test_database_that_another_program_holds_is_said_in_one_line(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pharos.helm.cli.offline.open_store", functools.partial(open_store, busy_timeout=0.05))
    other = sqlite3.connect(state / CORE, isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        result = invoke(main, "users", "add", "Ada", "--state", state)
    finally:
        other.close()
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert "is held by another program; nothing was changed, try again in a few seconds" in line
    assert result.exit_code in (Exit.UNREACHABLE, Exit.FAILED)


def test_damaged_database_is_said_in_one_line(state: Path) -> None:
    core = state / CORE
    content = bytearray(core.read_bytes())
    content[4096:12288] = b"\xff" * 8192
    core.write_bytes(bytes(content))
    result = invoke(main, "users", "list", "--state", state)
    assert (result.exit_code, result.stdout) == (Exit.FAILED, "")
    (line,) = result.stderr.splitlines()
    assert f"{core} is corrupt" in line
