"""`helm init` makes a fleet once, `helm run` drives it alone."""

from __future__ import annotations

import json
import signal
import socket
import stat
from pathlib import Path

import pytest

from pharos.demo.processes import free_port
from pharos.helm.ca.vault import RecoveryKit
from pharos.helm.cli import main
from pharos.helm.cli.options import how_to_run
from pharos.helm.config import DEFAULT_STATE, PACKAGED_STATE
from pharos.helm.store.database import open_store
from pharos.wire.console import Exit
from pharos.wire.files import lock_state_directory, open_state_directory
from tests.support.commands import invoke, invoke_json, run_program, running_program


def test_init_as_a_process_prints_one_json_document(tmp_path: Path) -> None:
    done = run_program("helm", "init", "--personal", "--state", tmp_path / "s", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    made = json.loads(done.stdout)
    assert made.keys() == {"fleet", "state", "posture", "recovery_kit", "admin_link"}
    assert (made["state"], made["posture"]) == (str(tmp_path / "s"), "personal")
    RecoveryKit.parse(made["recovery_kit"])
    assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "s").iterdir()} == {0o600}


def test_init_for_people_shows_the_kit_and_what_comes_next(tmp_path: Path) -> None:
    result = invoke(main, "init", "--enterprise", "--state", tmp_path / "s")
    assert result.exit_code == 0
    groups = [word for word in result.output.split() if word.count("-") >= 6]
    RecoveryKit.parse(" ".join(groups))
    assert f"helm run --state {tmp_path / 's'}" in result.output
    assert max(map(len, result.output.splitlines())) < 120


@pytest.mark.parametrize(
    ("state", "command"),
    [
        (PACKAGED_STATE, "systemctl start pharos-helm"),
        (DEFAULT_STATE, "helm run"),
        (Path("/srv/helm"), "helm run --state /srv/helm"),
    ],
)
def test_what_comes_next_is_what_runs_that_helm(state: Path, command: str) -> None:
    assert how_to_run(state) == command


def test_init_asks_once_on_a_terminal_and_yes_is_the_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pharos.helm.cli.life.sys", Terminal)
    no = invoke(main, "init", "--state", tmp_path / "s", stdin="n\n")
    assert (no.exit_code, (tmp_path / "s").exists()) == (1, False)
    assert "shown once" in no.output
    assert invoke(main, "init", "--state", tmp_path / "s", stdin="y\n").exit_code == 0
    assert invoke(main, "init", "--state", tmp_path / "t", "--yes").exit_code == 0


class Terminal:
    """What `sys` says where somebody sits."""

    class stdin:  # noqa: N801 -- as sys names it
        isatty = staticmethod(lambda: True)

    stdout = stdin


def test_second_init_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    invoke_json(main, "init", "--state", tmp_path / "s")
    before = {path.name: path.read_bytes() for path in (tmp_path / "s").iterdir()}
    result = invoke(main, "init", "--state", tmp_path / "s")
    assert result.exit_code == Exit.FAILED
    assert "holds a fleet already; choose another --state directory" in result.output
    assert {path.name: path.read_bytes() for path in (tmp_path / "s").iterdir()} == before


def test_init_in_a_directory_open_to_others_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir(mode=0o755)
    (tmp_path / "s").chmod(0o755)
    result = invoke(main, "init", "--state", tmp_path / "s")
    assert (result.exit_code, "chmod 700" in result.output) == (Exit.FAILED, True)
    assert list((tmp_path / "s").iterdir()) == []


@pytest.mark.parametrize("arguments", [["nodes", "list"], ["relays", "list"], ["devices", "list"], ["run"]])
def test_command_without_a_fleet_says_how_to_make_one(tmp_path: Path, arguments: list[str]) -> None:
    result = invoke(main, *arguments, "--state", tmp_path / "s")
    assert result.exit_code == Exit.FAILED
    assert "helm init --personal" in result.output


def test_run_listens_on_loopback_only(tmp_path: Path) -> None:
    invoke_json(main, "init", "--state", tmp_path / "s")
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.com"):
        result = invoke(main, "run", "--state", tmp_path / "s", "--web-host", host)
        assert result.exit_code == Exit.FAILED
        assert "loopback only" in result.output


def test_running_helm_refuses_a_second_and_answers_commands_by_its_socket(tmp_path: Path) -> None:
    state = tmp_path / "s"
    port = free_port(socket.SOCK_STREAM)
    invoke_json(main, "init", "--state", state)
    with running_program("helm", "run", "--state", state, "--web-port", str(port), "--beacon", "off") as helm:
        assert helm.stderr is not None
        for line in helm.stderr:
            if "http://127.0.0.1" in line:
                break
        else:
            # The second would be the only one, and run for ever.
            pytest.fail("the first helm ended")
        second = invoke(main, "run", "--state", state, "--web-port", str(port))
        assert second.exit_code == Exit.FAILED
        assert f"in use by process {helm.pid}; stop it first" in second.stderr
        assert stat.S_IMODE((state / "helm.sock").stat().st_mode) == 0o600
        assert invoke_json(main, "nodes", "list", "--state", state) == []
        helm.send_signal(signal.SIGTERM)
        assert helm.wait(10) == 0
    assert not (state / "helm.sock").exists()
    # And now the same command does its work alone.
    assert invoke_json(main, "nodes", "list", "--state", state) == []


def test_state_that_another_process_holds_is_refused_by_its_pid(tmp_path: Path) -> None:
    invoke_json(main, "init", "--state", tmp_path / "s")
    with lock_state_directory(tmp_path / "s"):
        result = invoke(main, "nodes", "list", "--state", tmp_path / "s")
    assert (result.exit_code, "in use by process" in result.output) == (Exit.FAILED, True)


def test_damaged_database_stops_every_command_and_stays_as_it_is(tmp_path: Path) -> None:
    invoke_json(main, "init", "--state", tmp_path / "s")
    core = tmp_path / "s" / "core.db"
    core.write_bytes(b"This is no database. " * 500)
    before = core.read_bytes()
    result = invoke(main, "nodes", "list", "--state", tmp_path / "s")
    assert result.exit_code == Exit.FAILED
    assert f"{core} is corrupt" in result.output
    assert core.read_bytes() == before


def test_missing_data_key_stops_every_command_with_the_way_out(tmp_path: Path) -> None:
    invoke_json(main, "init", "--state", tmp_path / "s")
    (tmp_path / "s" / "data.key").unlink()
    result = invoke(main, "nodes", "list", "--state", tmp_path / "s")
    assert (result.exit_code, "restore it from your backup" in result.output) == (Exit.FAILED, True)


def test_version_and_short_help_are_there() -> None:
    assert "helm, version" in invoke(main, "--version").output
    assert invoke(main, "-h").output == invoke(main, "--help").output


def test_init_that_was_interrupted_may_be_repeated(tmp_path: Path) -> None:
    state = open_state_directory(tmp_path / "s")
    # The databases were made, and then the power went: there is no fleet in them yet.
    with open_store(state, create=True):
        pass
    made = invoke_json(main, "init", "--state", state)
    again = invoke(main, "init", "--state", state)
    assert made["fleet"]
    assert again.exit_code == Exit.FAILED
    assert "holds a fleet already" in again.stderr
