"""helm nodes restart and log-level, with helm asleep."""

from __future__ import annotations

from pathlib import Path

import pytest

from pharos.helm.cli import main
from pharos.wire.console import Exit
from tests.support.commands import invoke, invoke_json
from tests.support.helm import node_request


@pytest.fixture
def state(tmp_path: Path) -> Path:
    invoke_json(main, "init", "--state", tmp_path / "helm")
    return tmp_path / "helm"


@pytest.mark.parametrize(
    "words", [("restart", "amsterdam", "--protocol", "vless-reality"), ("log-level", "amsterdam", "debug")]
)
def test_a_node_that_is_away_is_unreachable(state: Path, words: tuple[str, ...]) -> None:
    address = ["--address", "127.0.0.1", "--name", "amsterdam", "--control-port", "1"]
    invoke(main, "nodes", "admit", "--state", state, "--request", "-", *address, stdin=node_request().render())
    result = invoke(main, "nodes", *words, "--state", state)
    assert (result.exit_code, "node amsterdam does not answer" in result.output) == (Exit.UNREACHABLE, True)


@pytest.mark.parametrize(
    "words", [("restart", "x"), ("restart", "x", "--protocol", "ssh"), ("log-level", "x", "trace"), ("log-level", "x")]
)
def test_what_a_node_has_no_word_for_is_a_matter_of_usage(state: Path, words: tuple[str, ...]) -> None:
    assert invoke(main, "nodes", *words, "--state", state).exit_code == Exit.USAGE
