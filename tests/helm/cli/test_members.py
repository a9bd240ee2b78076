"""Nodes, relays and devices by the commands, with helm asleep: the same acts by the same rules."""

from __future__ import annotations

import datetime
import json
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
import trio

from pharos.helm.ca.authority import load_authority
from pharos.helm.ca.vault import open_vault
from pharos.helm.cli import devices as devices_module
from pharos.helm.cli import main
from pharos.helm.cli import nodes as nodes_module
from pharos.helm.config import SOCKET_NAME
from pharos.helm.profiles.seal import current_bundle
from pharos.helm.store.database import open_store
from pharos.wire.agent import AgentGrant, AgentKeys
from pharos.wire.console import Exit
from pharos.wire.pki.roles import Role
from pharos.wire.seal.ticket import TicketLink
from tests.support.commands import invoke, invoke_json
from tests.support.helm import enrol_sample_device, node_request, now, relay_request

NODE = ["--address", "203.0.113.7", "--name", "amsterdam"]
RELAY = ["--address", "gate.example", "--name", "gate"]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    invoke_json(main, "init", "--state", tmp_path / "helm")
    return tmp_path / "helm"


def add_relay(state: Path) -> None:
    stdin = relay_request().render()
    assert invoke(main, "relays", "admit", "--state", state, "--request", "-", *RELAY, stdin=stdin).exit_code == 0


def test_node_joins_by_files(state: Path, tmp_path: Path) -> None:
    """The whole way of the example in the help: csr there, add here, install there."""
    (tmp_path / "buoy").mkdir(mode=0o700)
    keys = AgentKeys(tmp_path / "buoy", Role.NODE)
    (tmp_path / "request.json").write_text(keys.make_request().render())
    arguments = ["nodes", "admit", "--state", state, "--request", tmp_path / "request.json", *NODE, "--tag", "eu"]
    result = invoke(main, *arguments)
    assert result.exit_code == 0
    membership = keys.install(AgentGrant.parse(result.stdout), now=now())
    (node,) = invoke_json(main, "nodes", "list", "--state", state)
    assert (node["id"], node["name"], node["tags"]) == (membership.identity.id, "amsterdam", ["eu"])
    assert (node["control_port"], node["awg_port"], node["link"]) == (7443, 443, "connecting")


def test_lists_are_tables_for_people(state: Path) -> None:
    invoke(main, "nodes", "admit", "--state", state, "--request", "-", *NODE, stdin=node_request().render())
    add_relay(state)
    assert "amsterdam" in invoke(main, "nodes", "list", "--state", state).output
    assert "gate.example" in invoke(main, "relays", "list", "--state", state).output
    assert "last handshake" in invoke(main, "devices", "list", "--state", state).output


def test_json_of_add_names_the_record(state: Path) -> None:
    made = invoke_json(main, "nodes", "admit", "--state", state, "--request", "-", *NODE, stdin=node_request().render())
    assert (made["name"], made["state"]) == ("amsterdam", "active")
    assert AgentGrant.parse(made["grant"]).device_ca is None


@pytest.mark.parametrize("stdin", ["", "\x00\xff", "{}", "[" * 50_000])
def test_request_that_is_none_is_one_sentence(state: Path, stdin: str) -> None:
    result = invoke(main, "nodes", "admit", "--state", state, "--request", "-", *NODE, stdin=stdin)
    assert result.exit_code == Exit.FAILED
    assert result.output.startswith("Error: ")
    assert "not a document" in result.output
    assert invoke_json(main, "nodes", "list", "--state", state) == []


def test_file_that_is_not_text_is_one_sentence(state: Path, tmp_path: Path) -> None:
    (tmp_path / "request.json").write_bytes(b"\xff\xfe\x00binary")
    result = invoke(main, "nodes", "admit", "--state", state, "--request", tmp_path / "request.json", *NODE)
    assert (result.exit_code, "not a document" in result.output) == (Exit.FAILED, True)


def test_request_of_the_other_kind_names_the_right_command(state: Path) -> None:
    result = invoke(main, "nodes", "admit", "--state", state, "--request", "-", *NODE, stdin=relay_request().render())
    assert (result.exit_code, "helm relays admit" in result.output) == (Exit.FAILED, True)


def test_name_that_is_taken_is_a_conflict(state: Path) -> None:
    for code in (Exit.DONE, Exit.CONFLICT):
        result = invoke(
            main, "nodes", "admit", "--state", state, "--request", "-", *NODE, stdin=node_request().render()
        )
        assert result.exit_code == code


def test_missing_option_is_a_usage_error(state: Path) -> None:
    assert invoke(main, "nodes", "admit", "--state", state).exit_code == Exit.USAGE


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
    assert (result.exit_code, "15 minutes to 7 days" in result.output) == (Exit.FAILED, True)


def test_unknown_device_is_not_revoked(state: Path) -> None:
    result = invoke(main, "devices", "revoke", "a/../b?#", "--state", state)
    assert result.exit_code == Exit.FAILED
    assert "there is no device 'a/../b?#'" in result.output


def test_socket_of_a_killed_helm_is_passed_over(state: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(state / SOCKET_NAME))
        (state / SOCKET_NAME).chmod(0o600)
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


def enrol(state: Path, *names: str) -> None:
    """Put devices into the record of a helm that is asleep."""

    async def write() -> None:
        with open_store(state) as store:
            for number, name in enumerate(names):
                await store.run(enrol_sample_device, number, name)

    trio.run(write)


def run_verb(state: Path, noun: str, *words: str) -> str:
    result = invoke(main, noun, *words, "--state", state)
    assert result.exit_code == Exit.DONE, result.output
    return result.stdout


@pytest.mark.parametrize(("noun", "name"), [("nodes", "amsterdam"), ("relays", "gate")])
def test_machine_goes_through_its_states_by_name(state: Path, noun: str, name: str) -> None:
    if noun == "nodes":
        invoke(main, "nodes", "admit", "--state", state, "--request", "-", *NODE, stdin=node_request().render())
    else:
        add_relay(state)
    for verb, become in (("drain", "draining"), ("resume", "active"), ("disable", "disabled"), ("enable", "active")):
        assert f"is {become}" in run_verb(state, noun, verb, name)
    again = invoke(main, noun, "enable", name, "--state", state)
    assert (again.exit_code, "cannot be enabled" in again.output) == (Exit.CONFLICT, True)
    assert "new name" in run_verb(state, noun, "rename", name, "new name")
    assert invoke(main, noun, "remove", "new name", "--state", state, "--yes").exit_code == Exit.CONFLICT
    assert invoke(main, noun, "revoke", "new name", "--state", state).exit_code == Exit.USAGE, "nobody can be asked"
    assert "is revoked" in run_verb(state, noun, "revoke", "new name", "--yes")
    assert [member["state"] for member in invoke_json(main, noun, "list", "--state", state)] == ["revoked"]
    assert invoke_json(main, noun, "list", "--state", state, "--state-is", "active") == []
    assert "revoked" in run_verb(state, noun, "show", "new name")
    assert "is removed" in run_verb(state, noun, "remove", "new name", "--yes")
    assert invoke_json(main, noun, "list", "--state", state) == []


def test_node_is_pushed_to_unless_nothing_links_it(state: Path) -> None:
    invoke(main, "nodes", "admit", "--state", state, "--request", "-", *NODE, stdin=node_request().render())
    assert "is dialled anew" in run_verb(state, "nodes", "push", "amsterdam")
    assert invoke_json(main, "nodes", "push", "amsterdam", "--state", state)["version"] == 3
    run_verb(state, "nodes", "revoke", "amsterdam", "--yes")
    refused = invoke(main, "nodes", "push", "amsterdam", "--state", state)
    assert (refused.exit_code, "no link to it" in refused.stderr) == (Exit.CONFLICT, True)


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        ({"link": "up", "detail": None, "unreachable": False, "clock_skew_ms": 299_000}, "up"),
        ({"link": "up", "clock_skew_ms": 7 * 60_000}, "up, clock 7 min ahead"),
        ({"link": "up", "clock_skew_ms": -86_400_000}, "up, clock 1440 min behind"),
        ({"link": "up", "engines": [{"protocol": "amneziawg", "trouble": None}]}, "up"),
        ({"link": "up", "engines": [{"protocol": "amneziawg", "trouble": "?"}]}, "up, trouble with amneziawg"),
        ({"link": "lost", "detail": "no route", "unreachable": False}, "lost: no route"),
        ({"link": "lost", "detail": "no route", "unreachable": True}, "unreachable: no route"),
        ({"link": "connecting", "unreachable": True}, "unreachable"),
        ({}, None),
    ],
)
def test_list_says_who_is_unreachable_and_whose_clock_is_wrong(seen: dict[str, Any], told: str | None) -> None:
    assert nodes_module.link_of(seen) == told


def test_node_gets_tags_and_loses_them(state: Path) -> None:
    add = ["nodes", "admit", "--state", state, "--request", "-", *NODE, "--tag", "eu"]
    invoke(main, *add, stdin=node_request().render())
    assert invoke_json(main, "nodes", "tag", "amsterdam", "fast", "eu", "--state", state)["tags"] == ["eu", "fast"]
    gone = invoke_json(main, "nodes", "tag", "amsterdam", "eu", "--remove", "--state", state)
    assert (gone["tags"], gone["version"]) == (["fast"], 3)
    assert invoke_json(main, "nodes", "list", "--tag", "eu", "--state", state) == []


def test_device_goes_through_its_states_by_name(state: Path) -> None:
    enrol(state, "phone", "laptop")
    assert "is disabled" in run_verb(state, "devices", "disable", "phone")
    assert "is active" in run_verb(state, "devices", "enable", "phone")
    run_verb(state, "devices", "rename", "phone", "Ada's phone")
    assert "Ada's phone" in run_verb(state, "devices", "show", "Ada's phone")
    assert "is revoked" in run_verb(state, "devices", "revoke", "Ada's phone")
    again = invoke(main, "devices", "revoke", "Ada's phone", "--state", state)
    assert (again.exit_code, "that is revoked cannot be" in again.output) == (Exit.CONFLICT, True)
    found = invoke_json(main, "devices", "list", "--state", state, "--state-is", "active")
    assert [(device["name"], device["last_handshake_at"]) for device in found] == [("laptop", None)]
    shown = invoke_json(main, "devices", "show", found[0]["id"], "--state", state)
    assert shown["name"] == "laptop"


def test_name_of_two_devices_is_a_conflict_that_names_their_ids(state: Path) -> None:
    enrol(state, "phone", "phone")
    result = invoke(main, "devices", "disable", "phone", "--state", state)
    assert result.exit_code == Exit.CONFLICT
    ids = [f"00000000-0000-7000-8000-{number:012d}" for number in range(2)]
    assert all(device_id in result.output for device_id in ids)
    run_verb(state, "devices", "revoke", ids[0])
    # A revoked one bears its name no more.
    assert ids[1] in run_verb(state, "devices", "disable", "phone")


def test_change_by_somebody_else_between_reading_and_writing_is_exit_code_4(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrol(state, "phone")
    real = devices_module.read_device

    def read_and_lose(folder: Path, word: str) -> dict[str, Any]:
        record = real(folder, word)
        with monkeypatch.context() as patch:
            patch.setattr(devices_module, "read_device", real)
            run_verb(folder, "devices", "rename", word, "theirs")
        return record

    monkeypatch.setattr(devices_module, "read_device", read_and_lose)
    result = invoke(main, "devices", "rename", "phone", "mine", "--state", state)
    assert result.exit_code == Exit.CONFLICT
    assert "changed by operator" in result.output


def test_ticket_is_listed_and_withdrawn_and_its_link_is_not_told_again(state: Path) -> None:
    add_relay(state)
    invoke_json(main, "users", "add", "ada", "--state", state)
    made = invoke_json(main, "devices", "invite", "phone", "--user", "ada", "--state", state)
    (listed,) = invoke_json(main, "devices", "tickets", "--state-is", "open", "--state", state)
    assert (listed["id"], listed["user_id"], "link" in listed) == (made["id"], made["user_id"], False)
    assert "phone" in run_verb(state, "devices", "tickets")
    assert "is withdrawn" in run_verb(state, "devices", "withdraw", made["id"])
    assert invoke(main, "devices", "withdraw", made["id"], "--state", state).exit_code == Exit.CONFLICT
    assert invoke(main, "devices", "invite", "x", "--user", "bob", "--state", state).exit_code == Exit.FAILED


def test_pools_are_added_changed_preferred_and_removed(state: Path) -> None:
    result = invoke(main, "pools", "add", "branch", "192.168.1.0/24", "--state", state)
    assert (result.exit_code, "home routers" in result.stderr) == (Exit.DONE, True)
    assert "192.168.1.0/24" in run_verb(state, "pools", "list")
    assert invoke(main, "pools", "add", "other", "192.168.0.0/16", "--state", state).exit_code == Exit.CONFLICT
    changed = invoke_json(main, "pools", "change", "branch", "--network4", "10.90.0.0/16", "--state", state)
    assert (changed["network4"], changed["warnings"]) == ("10.90.0.0/16", [])
    assert invoke_json(main, "pools", "prefer", "branch", "--state", state)["preferred"]
    assert invoke(main, "pools", "remove", "branch", "--yes", "--state", state).exit_code == Exit.CONFLICT
    invoke_json(main, "pools", "prefer", "devices", "--state", state)
    assert "is removed" in run_verb(state, "pools", "remove", "branch", "--yes")
    assert [pool["name"] for pool in invoke_json(main, "pools", "list", "--state", state)] == ["devices"]


def test_profiles_are_listed_without_what_is_in_them(state: Path) -> None:
    async def write() -> None:
        with open_store(state) as store:
            device = await store.run(enrol_sample_device, 1, "phone")
            authority = await store.run(load_authority, open_vault(state), now=now())
            await store.run(current_bundle, authority, device, at=1_800_000_000_000_000)

    trio.run(write)
    assert "stale" in run_verb(state, "profiles", "list")
    shown = invoke_json(main, "profiles", "show", "phone", "--state", state)
    assert (shown["name"], shown["revision"], shown["state"]) == ("phone", 1, "stale")
    assert invoke_json(main, "profiles", "list", "--state-is", "synced", "--state", state) == []


def test_profiles_are_sealed_anew_for_one_device_or_for_all(state: Path) -> None:
    async def write() -> None:
        with open_store(state) as store:
            authority = await store.run(load_authority, open_vault(state), now=now())
            for number, name in enumerate(("phone", "laptop")):
                device = await store.run(enrol_sample_device, number, name)
                await store.run(current_bundle, authority, device, at=1_800_000_000_000_000)

    trio.run(write)
    assert run_verb(state, "profiles", "reseal", "phone") == "1 profile is being sealed anew.\n"
    assert invoke_json(main, "profiles", "reseal", "phone", "--state", state) == {"profiles": 1}
    assert run_verb(state, "profiles", "reseal") == "2 profiles are being sealed anew.\n"
    stranger = invoke(main, "profiles", "reseal", "stranger", "--state", state)
    assert (stranger.exit_code, "stranger" in stranger.stderr) == (Exit.FAILED, True)


def test_reissue_of_one_protocol_and_target_by_command(state: Path) -> None:
    invoke(main, "nodes", "admit", "--state", state, "--request", "-", *NODE, stdin=node_request().render())
    first = invoke_json(main, "nodes", "show", "amsterdam", "--state", state)
    one = invoke_json(main, "nodes", "reissue", "amsterdam", "--protocol", "reality", "--state", state)
    (done,) = one["reissued"]
    assert (done["reality"]["generation"], done["awg_parameters"]) == (2, first["awg_parameters"])
    both = invoke(main, "nodes", "reissue", "amsterdam", "--state", state)
    assert (both.exit_code, "still serves" in both.output) == (Exit.CONFLICT, True)
    rest = invoke_json(main, "nodes", "reissue", "--all", "--protocol", "amneziawg", "--state", state)
    assert rest["reissued"][0]["awg_parameters"] != first["awg_parameters"]
    aimed = invoke_json(main, "nodes", "target", "amsterdam", "203.0.113.9:443", "own.example", "--state", state)
    assert (aimed["reality"]["target"], aimed["reality"]["server_names"]) == ("203.0.113.9:443", ["own.example"])
    wrong = invoke(main, "nodes", "target", "amsterdam", "own.example", "--state", state)
    assert (wrong.exit_code, "must be host:port" in wrong.output) == (Exit.FAILED, True)
    said = invoke(main, "nodes", "show", "amsterdam", "--state", state).output
    assert "203.0.113.9:443" in said


@pytest.mark.parametrize(("noun", "name"), [("nodes", "amsterdam"), ("relays", "gate")])
def test_machine_is_said_to_stand_somewhere(state: Path, noun: str, name: str) -> None:
    invoke(main, "nodes", "admit", "--state", state, "--request", "-", *NODE, stdin=node_request().render())
    add_relay(state)
    placed = invoke_json(main, noun, "place", name, "Sydney, AU", "--at", "-33.87,151.21", "--state", state)
    assert (placed["place"], placed["latitude"], placed["longitude"]) == ("Sydney, AU", -33.87, 151.21)
    assert "Sydney, AU" in invoke(main, noun, "list", "--state", state).output
    assert "-33.87" in invoke(main, noun, "show", name, "--state", state).output
    moved = invoke_json(main, noun, "place", name, "on a ship", "--state", state)
    assert (moved["place"], moved["latitude"], moved["longitude"]) == ("on a ship", None, None)
    refused = invoke(main, noun, "place", name, "Sydney", "--at", "33 S", "--state", state)
    assert (refused.exit_code, "50.11,8.68" in refused.output) == (Exit.FAILED, True)


def test_rules_of_a_node_that_was_never_reached_are_those_of_the_package(state: Path) -> None:
    invoke(main, "nodes", "admit", "--state", state, "--request", "-", *NODE, stdin=node_request().render())
    shown = invoke(main, "nodes", "policy", "amsterdam", "--state", state)
    assert shown.exit_code == 0, shown.output
    assert shown.stdout.startswith("table inet pharos {\n")
    assert "as the package sets it up" in shown.stderr
