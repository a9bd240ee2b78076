"""Nodes, relays and devices by the commands, with helm asleep: the same acts by the same rules."""

from __future__ import annotations

import datetime
import json
import socket
import threading
from pathlib import Path

import pytest

from pharos.helm.cli import main
from pharos.helm.web.app import SOCKET_NAME
from pharos.wire.agent import AgentGrant, AgentKeys
from pharos.wire.console import Exit
from pharos.wire.pki.roles import Role
from pharos.wire.seal.ticket import TicketLink
from tests.support.commands import invoke, invoke_json
from tests.support.helm import node_request, now, relay_request

NODE = ["--address", "203.0.113.7", "--name", "amsterdam"]
RELAY = ["--address", "gate.example", "--name", "gate"]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    invoke_json(main, "init", "--state", tmp_path / "helm")
    return tmp_path / "helm"


def add_relay(state: Path) -> None:
    stdin = relay_request().render()
    assert invoke(main, "relays", "add", "--state", state, "--request", "-", *RELAY, stdin=stdin).exit_code == 0


def test_node_joins_by_files(state: Path, tmp_path: Path) -> None:
    """The whole way of the example in the help: csr there, add here, install there."""
    (tmp_path / "buoy").mkdir(mode=0o700)
    keys = AgentKeys(tmp_path / "buoy", Role.NODE)
    (tmp_path / "request.json").write_text(keys.make_request().render())
    arguments = ["nodes", "add", "--state", state, "--request", tmp_path / "request.json", *NODE, "--tag", "eu"]
    result = invoke(main, *arguments)
    assert result.exit_code == 0
    membership = keys.install(AgentGrant.parse(result.stdout), now=now())
    (node,) = invoke_json(main, "nodes", "list", "--state", state)
    assert (node["id"], node["name"], node["tags"]) == (membership.identity.id, "amsterdam", ["eu"])
    assert (node["control_port"], node["awg_port"], node["link"]) == (7443, 443, "connecting")


def test_lists_are_tables_for_people(state: Path) -> None:
    invoke(main, "nodes", "add", "--state", state, "--request", "-", *NODE, stdin=node_request().render())
    add_relay(state)
    assert "amsterdam" in invoke(main, "nodes", "list", "--state", state).output
    assert "gate.example" in invoke(main, "relays", "list", "--state", state).output
    assert "last handshake" in invoke(main, "devices", "list", "--state", state).output


def test_json_of_add_names_the_record(state: Path) -> None:
    made = invoke_json(main, "nodes", "add", "--state", state, "--request", "-", *NODE, stdin=node_request().render())
    assert made.keys() == {"id", "name", "grant"}


@pytest.mark.parametrize("stdin", ["", "\x00\xff", "{}", "[" * 50_000])
def test_request_that_is_none_is_one_sentence(state: Path, stdin: str) -> None:
    result = invoke(main, "nodes", "add", "--state", state, "--request", "-", *NODE, stdin=stdin)
    assert result.exit_code == Exit.FAILED
    assert result.output.startswith("Error: ")
    assert "not a document" in result.output
    assert invoke_json(main, "nodes", "list", "--state", state) == []


def test_file_that_is_not_text_is_one_sentence(state: Path, tmp_path: Path) -> None:
    (tmp_path / "request.json").write_bytes(b"\xff\xfe\x00binary")
    result = invoke(main, "nodes", "add", "--state", state, "--request", tmp_path / "request.json", *NODE)
    assert (result.exit_code, "not a document" in result.output) == (Exit.FAILED, True)


def test_request_of_the_other_kind_names_the_right_command(state: Path) -> None:
    result = invoke(main, "nodes", "add", "--state", state, "--request", "-", *NODE, stdin=relay_request().render())
    assert (result.exit_code, "helm relays add" in result.output) == (Exit.FAILED, True)


def test_name_that_is_taken_is_a_conflict(state: Path) -> None:
    for code in (Exit.DONE, Exit.CONFLICT):
        result = invoke(main, "nodes", "add", "--state", state, "--request", "-", *NODE, stdin=node_request().render())
        assert result.exit_code == code


def test_missing_option_is_a_usage_error(state: Path) -> None:
    assert invoke(main, "nodes", "add", "--state", state).exit_code == Exit.USAGE


def test_invitation_prints_the_link_alone(state: Path) -> None:
    add_relay(state)
    result = invoke(main, "devices", "invite", "Ada's phone", "--state", state)
    assert result.exit_code == 0
    assert TicketLink.parse(result.stdout.strip()).beacons[0].host == "gate.example"
    assert "caravel enroll" in result.stderr


def test_invitation_can_be_shown_as_a_code(state: Path) -> None:
    add_relay(state)
    result = invoke(main, "devices", "invite", "phone", "--state", state, "--qr")
    assert result.exit_code == 0
    assert any(block in result.stdout for block in "▀▄█")


@pytest.mark.parametrize(("ttl", "seconds"), [("15m", 900), ("2h", 7200), ("7d", 604800)])
def test_life_of_a_ticket_is_typed_with_its_unit(state: Path, ttl: str, seconds: int) -> None:
    add_relay(state)
    before = now()
    made = invoke_json(main, "devices", "invite", "phone", "--state", state, "--ttl", ttl)
    ends = datetime.datetime.fromisoformat(made["expires_at"])
    assert 0 <= (ends - before).total_seconds() - seconds < 30


@pytest.mark.parametrize("ttl", ["15", "m", "0m", "-1m", "1w", "1.5h", "15m ", "99999999d", "٣m"])
def test_any_other_life_is_a_usage_error(state: Path, ttl: str) -> None:
    assert invoke(main, "devices", "invite", "phone", "--state", state, f"--ttl={ttl}").exit_code == Exit.USAGE


def test_life_beyond_a_week_is_refused(state: Path) -> None:
    add_relay(state)
    result = invoke(main, "devices", "invite", "phone", "--state", state, "--ttl", "8d")
    assert (result.exit_code, "one minute to seven days" in result.output) == (Exit.FAILED, True)


def test_unknown_device_is_not_revoked(state: Path) -> None:
    result = invoke(main, "devices", "revoke", "a/../b?#", "--state", state)
    assert result.exit_code == Exit.FAILED
    assert "there is no active device 'a/../b?#'" in result.output


def test_socket_of_a_killed_helm_is_passed_over(state: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(state / SOCKET_NAME))
    assert invoke_json(main, "nodes", "list", "--state", state) == []


def test_helm_that_dies_in_the_middle_is_reported_as_such(state: Path) -> None:
    """It may or may not have done it, so nothing is tried again behind its back."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(state / SOCKET_NAME))
        listener.listen()

        def hang_up() -> None:
            connection, _ = listener.accept()
            connection.recv(100)
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        result = invoke(main, "nodes", "list", "--state", state)
        thread.join()
    assert result.exit_code == Exit.UNREACHABLE
    assert result.output.startswith("Error: helm ")


def test_devices_list_is_json_on_demand(state: Path) -> None:
    assert invoke_json(main, "devices", "list", "--state", state) == []
    assert json.loads(invoke(main, "devices", "list", "--state", state, "--json").stdout) == []
