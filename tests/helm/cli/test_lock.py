"""helm lock …: the key is printed once, signs here or on another machine, and never is where helm is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pharos.helm.cli import main
from pharos.wire.console import Exit
from pharos.wire.seal.lock import LockKey
from tests.support.commands import invoke, invoke_json
from tests.support.helm import node_request


@pytest.fixture
def state(tmp_path: Path) -> Path:
    invoke_json(main, "init", "--state", tmp_path / "helm")
    add_node(tmp_path / "helm", "amsterdam")
    return tmp_path / "helm"


def add_node(state: Path, name: str) -> None:
    words = ["nodes", "admit", "--state", state, "--request", "-", "--address", "203.0.113.7", "--name", name]
    assert invoke(main, *words, stdin=node_request().render()).exit_code == 0


def ask(state: Path, *words: object, stdin: str | None = None) -> Any:
    return invoke_json(main, "lock", *words, "--state", state, stdin=stdin)


def signed(status: Any) -> dict[str, bool]:
    return {node["name"]: node["signed"] for node in status["nodes"]}


def test_lock_is_made_once_and_signs_what_there_is(state: Path) -> None:
    assert (ask(state, "status")["key"], signed(ask(state, "status"))) == (None, {"amsterdam": False})
    made = ask(state, "init", "--yes")
    assert LockKey.parse(made["lock"]).public.hex() == made["key"] == ask(state, "status")["key"]
    assert signed(ask(state, "status")) == {"amsterdam": True}
    again = invoke(main, "lock", "init", "--yes", "--state", state)
    assert (again.exit_code, "has a lock already" in again.output) == (Exit.CONFLICT, True)


def test_lock_is_not_made_where_somebody_sees_a_strange_node(state: Path) -> None:
    refused = invoke(main, "lock", "init", "--state", state, stdin="n\n")
    assert "amsterdam" in refused.stdout
    assert refused.exit_code == Exit.FAILED
    assert ask(state, "status")["key"] is None


def test_key_for_paper_stands_in_no_file(state: Path) -> None:
    result = invoke(main, "lock", "init", "--yes", "--state", state)
    groups = [
        word for line in result.stdout.splitlines() if line.startswith("    ") for word in line.strip().split("-")
    ]
    key = LockKey.parse("-".join(groups))
    for path in state.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert bytes(key._key) not in content
            assert groups[0].encode() not in content, path
    assert bytes.fromhex(ask(state, "status")["key"]) == key.public


def test_new_node_is_signed_by_whoever_has_the_key(state: Path) -> None:
    printed = ask(state, "init", "--yes")["lock"]
    add_node(state, "berlin")
    assert signed(ask(state, "status")) == {"amsterdam": True, "berlin": False}
    other = invoke(main, "lock", "sign", "--state", state, stdin=LockKey.create().printed())
    assert (other.exit_code, "another fleet's lock" in other.stderr) == (Exit.REFUSED, True)
    slip = invoke(main, "lock", "sign", "--state", state, stdin="ABCD-" + printed[5:])
    assert (slip.exit_code, "copy all of its groups" in slip.stderr) == (Exit.FAILED, True)
    said = invoke(main, "lock", "sign", "--state", state, stdin=printed.lower().replace("-", " "))
    assert (said.exit_code, "Every node is signed." in said.stdout) == (0, True)
    assert signed(ask(state, "status")) == {"amsterdam": True, "berlin": True}


def test_key_can_stay_on_another_machine(state: Path, tmp_path: Path) -> None:
    printed = ask(state, "init", "--yes")["lock"]
    add_node(state, "berlin")
    (tmp_path / "nodes.json").write_text(json.dumps(ask(state, "status")))
    # No fleet is there: neither a state directory nor a helm.
    there = invoke(
        main, "lock", "sign", "--offline", tmp_path / "nodes.json", "--state", tmp_path / "none", stdin=printed
    )
    assert "berlin" in there.stderr
    (tmp_path / "signatures.json").write_text(there.stdout)
    here = invoke(main, "lock", "sign", "--install", tmp_path / "signatures.json", "--state", state)
    assert "Every node is signed." in here.stdout
    assert signed(ask(state, "status")) == {"amsterdam": True, "berlin": True}


def test_file_that_is_something_else_is_one_sentence(state: Path, tmp_path: Path) -> None:
    ask(state, "init", "--yes")
    for option, content in (("--offline", "[]"), ("--offline", "{}"), ("--install", "{}"), ("--install", "no")):
        (tmp_path / "file").write_text(content)
        result = invoke(main, "lock", "sign", option, tmp_path / "file", "--state", state)
        assert (result.exit_code, "not what the other command printed" in result.stderr) == (Exit.FAILED, True)


def test_nothing_is_signed_without_a_lock(state: Path) -> None:
    result = invoke(main, "lock", "sign", "--state", state)
    assert (result.exit_code, "helm lock init" in result.stderr) == (Exit.CONFLICT, True)
