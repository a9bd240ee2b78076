"""`helm backup`, `helm restore` and `helm adoptions`, as people use them."""

from __future__ import annotations

import json
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
import trio

from pharos.demo.processes import free_port
from pharos.helm.backup.adoption import take_inventory
from pharos.helm.ca.authority import load_authority
from pharos.helm.ca.vault import open_vault
from pharos.helm.cli import main
from pharos.helm.model.adoptions import Inventory
from pharos.helm.store.database import Database, open_store
from pharos.wire.console import Exit
from pharos.wire.desired import Fence
from tests.support.commands import invoke, invoke_json, run_program, running_program
from tests.support.helm import adopt_sample_node, enrol_sample_device, now, sample_act
from tests.support.restore import peer_of


@pytest.fixture
def made(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "out").mkdir()
    facts: dict[str, Any] = invoke_json(main, "init", "--state", tmp_path / "s", "--yes")
    return facts


def backed_up(tmp_path: Path, *more: object) -> dict[str, Any]:
    facts: dict[str, Any] = invoke_json(main, "backup", "--state", tmp_path / "s", "--to", tmp_path / "out", *more)
    return facts


def test_backup_and_restore_bring_a_fleet_to_another_directory(tmp_path: Path, made: dict[str, Any]) -> None:
    invoke_json(main, "users", "add", "ada", "--state", tmp_path / "s")
    file = backed_up(tmp_path)
    assert file["fleet"] == made["fleet"]
    invoke_json(main, "users", "add", "bob", "--state", tmp_path / "s")
    restored = invoke_json(
        main, "restore", file["file"], "--state", tmp_path / "r", "--kit", "-", stdin=made["recovery_kit"].lower()
    )
    assert restored["fleet"] == made["fleet"]
    assert [user["name"] for user in invoke_json(main, "users", "list", "--state", tmp_path / "r")] == ["ada"]
    (row, *_) = invoke_json(main, "audit", "list", "--verb", "fleet_restored", "--state", tmp_path / "r")
    assert row["actor"] == "operator"
    (row, *_) = invoke_json(main, "audit", "list", "--verb", "fleet_backed_up", "--state", tmp_path / "s")
    assert file["sha256"] in row["detail"]


def test_two_restores_of_one_backup_are_two_epochs(tmp_path: Path, made: dict[str, Any]) -> None:
    file = backed_up(tmp_path)["file"]
    epochs = [
        invoke_json(main, "restore", file, "--state", tmp_path / name, "--kit", "-", stdin=made["recovery_kit"])[
            "epoch"
        ]
        for name in ("r1", "r2")
    ]
    assert epochs[0] < epochs[1]


def test_backup_works_beside_a_running_helm(tmp_path: Path, made: dict[str, Any]) -> None:
    port = free_port(socket.SOCK_STREAM)
    with running_program("helm", "run", "--state", tmp_path / "s", "--web-port", str(port), "--beacon", "off") as helm:
        assert helm.stderr is not None
        for line in helm.stderr:
            if "http://127.0.0.1" in line:
                break
        file = backed_up(tmp_path)["file"]
        found = invoke(main, "doctor", "--state", tmp_path / "s", "--json")
        assert (found.exit_code, json.loads(found.stdout)["findings"][0]["says"]) == (0, "helm runs.")
        helm.send_signal(signal.SIGTERM)
        assert helm.wait(10) == 0
    invoke_json(main, "restore", file, "--state", tmp_path / "r", "--kit", "-", stdin=made["recovery_kit"])
    assert invoke_json(main, "doctor", "--state", tmp_path / "r")["healthy"]


def test_kit_is_asked_for_and_a_wrong_one_is_told(tmp_path: Path, made: dict[str, Any]) -> None:
    file = backed_up(tmp_path)["file"]
    nobody = invoke(main, "restore", file, "--state", tmp_path / "r")
    assert (nobody.exit_code, "--kit FILE" in nobody.output) == (Exit.USAGE, True)
    slip = invoke(main, "restore", file, "--state", tmp_path / "r", "--kit", "-", stdin=made["recovery_kit"][:-1] + "!")
    assert (slip.exit_code, "not a recovery kit" in slip.output) == (Exit.FAILED, True)
    other = invoke_json(main, "init", "--state", tmp_path / "o", "--yes")["recovery_kit"]
    wrong = invoke(main, "restore", file, "--state", tmp_path / "r", "--kit", "-", stdin=other)
    assert (wrong.exit_code, "take the kit of that fleet" in wrong.output) == (Exit.FAILED, True)
    full = invoke(main, "restore", file, "--state", tmp_path / "s", "--kit", "-", stdin=made["recovery_kit"])
    assert (full.exit_code, "is not empty" in full.output) == (Exit.FAILED, True)


def test_backup_through_a_command_arrives_whole(tmp_path: Path, made: dict[str, Any]) -> None:
    copy = "import sys; open(sys.argv[1], 'wb').write(sys.stdin.buffer.read())"
    to = f'cmd:{sys.executable} -c "{copy}" {tmp_path}/out/{{name}}'
    done = invoke(main, "backup", "--state", tmp_path / "s", "--to", to)
    assert (done.exit_code, "read back and whole" in done.output) == (0, True)
    (file,) = (tmp_path / "out").iterdir()
    invoke_json(main, "restore", file, "--state", tmp_path / "r", "--kit", "-", stdin=made["recovery_kit"])
    # Nothing of it stays beside the record.
    assert not [path for path in (tmp_path / "s").iterdir() if path.name.startswith(".")]


def test_backup_that_did_not_arrive_is_not_noted(tmp_path: Path, made: dict[str, Any]) -> None:
    assert made
    for to in ("cmd:false", str(tmp_path / "absent"), "sftp:nowhere"):
        assert invoke(main, "backup", "--state", tmp_path / "s", "--to", to).exit_code == Exit.FAILED
    assert invoke_json(main, "audit", "list", "--verb", "fleet_backed_up", "--state", tmp_path / "s") == []


def test_roots_key_comes_along_only_when_it_is_asked_for(tmp_path: Path, made: dict[str, Any]) -> None:
    for number, more in enumerate(([], ["--with-root"])):
        file = backed_up(tmp_path, *more)
        state = tmp_path / f"r{number}"
        restored = invoke_json(
            main, "restore", file["file"], "--state", state, "--kit", "-", stdin=made["recovery_kit"]
        )
        assert restored["root"] is bool(more)
        ids = {finding["id"] for finding in invoke_json(main, "doctor", "--state", state)["findings"]}
        assert ("root" in ids) is not bool(more)


def test_backup_without_a_fleet_says_how_to_make_one(tmp_path: Path) -> None:
    result = invoke(main, "backup", "--state", tmp_path / "s", "--to", tmp_path)
    assert (result.exit_code, "helm init --personal" in result.output) == (Exit.FAILED, True)


def _lay_out(db: Database, state: Path) -> Inventory:
    authority = load_authority(db, open_vault(state), now=now())
    node, _ = adopt_sample_node(db, authority)
    devices = [enrol_sample_device(db, number, f"device {number}") for number in (1, 2)]
    peers = tuple(map(peer_of, devices))
    db.execute("DELETE FROM devices")
    db.execute("UPDATE fleet SET restored_at = 1")
    inventory = Inventory(applied=Fence(1, 1, 1), peers=peers)
    take_inventory(db, authority, node.id, inventory, at=sample_act().at)
    return inventory


def test_unknown_devices_are_listed_adopted_and_refused(tmp_path: Path, made: dict[str, Any]) -> None:
    state = tmp_path / "s"
    assert made
    with open_store(state) as store:
        inventory = trio.run(store.run, _lay_out, state)
    first, second = (peer.device_id for peer in inventory.peers)
    listed = invoke(main, "adoptions", "list", "--state", state)
    assert all(text in listed.output for text in (first, second, "amsterdam", "10.86.0."))
    adopted = invoke(main, "adoptions", "adopt", first, "--name", "phone", "--state", state)
    assert (adopted.exit_code, "enrol again" in adopted.output) == (0, True)
    assert [d["name"] for d in invoke_json(main, "devices", "list", "--state", state)] == ["phone"]
    asked = invoke(main, "adoptions", "refuse", second, "--state", state)
    assert (asked.exit_code, "--yes" in asked.output) == (Exit.USAGE, True)
    refused = invoke_json(main, "adoptions", "refuse", second, "--yes", "--state", state)
    assert refused["state"] == "refused"
    assert invoke_json(main, "adoptions", "list", "--state", state) == []
    everything = invoke_json(main, "adoptions", "list", "--all", "--state", state)
    assert {a["state"] for a in everything} == {"adopted", "refused"}
    gone = invoke(main, "adoptions", "adopt", second, "--state", state)
    assert (gone.exit_code, "helm adoptions list" in gone.output) == (Exit.FAILED, True)


def test_backup_as_a_process_prints_one_json_document(tmp_path: Path, made: dict[str, Any]) -> None:
    done = run_program("helm", "backup", "--state", tmp_path / "s", "--to", tmp_path / "out", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["fleet"] == made["fleet"]
