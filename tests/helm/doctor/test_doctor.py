"""`helm doctor`: what it finds, what it says to do, and that a new fleet is healthy."""

from __future__ import annotations

import datetime
import json
import os
import socket
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio

from pharos.helm.ca.authority import Authority, load_authority
from pharos.helm.ca.vault import open_vault
from pharos.helm.cli import main
from pharos.helm.cli.doctor import examine
from pharos.helm.doctor.files import check_disk
from pharos.helm.doctor.reach import AT_ONCE, Member, check_condition, check_seen, dial_members
from pharos.helm.store.database import CORE, Database, open_store
from pharos.wire.console import Exit
from pharos.wire.files import write_atomic
from pharos.wire.findings import Finding, Level, age_of, is_healthy, size_of
from pharos.wire.pki.roles import Role
from pharos.wire.units import GIB, MIB
from tests.support.commands import invoke, invoke_json
from tests.support.descriptors import no_descriptors
from tests.support.helm import adopt_sample_node, adopt_sample_relay, make_fleet_files, now

DAY = datetime.timedelta(days=1)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    path = tmp_path / "s"
    path.mkdir(mode=0o700)
    for name, content in make_fleet_files()[0].items():
        write_atomic(path / name, content)
    with open_store(path):
        pass
    return path


def change(state: Path, function: Callable[[Database, Authority], object]) -> None:
    """Change the record of a fleet that does not run."""
    with open_store(state) as store:
        authority = trio.run(store.run, lambda db: load_authority(db, open_vault(state), now=now()))
        trio.run(store.run, lambda db: function(db, authority))


def found(state: Path, *, at: datetime.datetime | None = None) -> dict[str, Finding]:
    return {finding.id: finding for finding in examine(state, now=at or now())}


def test_new_fleet_is_healthy_with_notes(tmp_path: Path) -> None:
    invoke_json(main, "init", "--state", tmp_path / "s", "--yes")
    result = invoke(main, "doctor", "--state", tmp_path / "s", "--json")
    body = json.loads(result.stdout)
    assert (result.exit_code, body["healthy"]) == (Exit.DONE, True)
    levels = {finding["id"]: finding["level"] for finding in body["findings"]}
    assert {levels[name] for name in ("backup", "nodes", "relays", "copies", "helm")} == {"note"}
    assert {levels[name] for name in ("modes", "key", "schema", "clock", "audit", "store:core.db")} == {"ok"}
    assert all(finding["todo"] for finding in body["findings"] if finding["level"] != "ok")
    people = invoke(main, "doctor", "--state", tmp_path / "s")
    assert (people.exit_code, "All is well." in people.output) == (Exit.DONE, True)


def test_directory_without_a_fleet_is_told(tmp_path: Path) -> None:
    result = invoke(main, "doctor", "--state", tmp_path)
    assert result.exit_code == Exit.FAILED
    assert "helm init --personal" in result.output
    assert "helm restore" in result.output


def test_open_modes_are_a_problem(state: Path) -> None:
    (state / "core.db").chmod(0o644)
    finding = found(state)["modes"]
    assert (finding.level, "chmod 600" in finding.says) == (Level.PROBLEM, True)


def test_missing_key_is_a_problem_and_the_rest_is_looked_at(state: Path) -> None:
    (state / "data.key").unlink()
    findings = found(state)
    assert findings["key"].level is Level.PROBLEM
    assert "helm restore" in findings["key"].todo
    assert findings["clock"].level is Level.OK


def test_disk_is_looked_at_with_no_descriptor_left(state: Path) -> None:
    """A running helm looks each minute for its alerts, whatever becomes of it."""
    with no_descriptors():
        assert check_disk(state).id == "disk"


def test_disk_is_looked_at_where_the_record_is_gone(state: Path) -> None:
    (state / CORE).unlink()
    assert check_disk(state).id == "disk"


def test_full_disk_is_a_problem(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _path: SimpleNamespace(f_bavail=1_000, f_frsize=4_096))
    assert found(state)["disk"].level is Level.PROBLEM
    monkeypatch.setattr(os, "statvfs", lambda _path: SimpleNamespace(f_bavail=100_000, f_frsize=4_096))
    assert found(state)["disk"].level is Level.NOTE


def test_damaged_record_is_a_problem_with_the_way_out_and_ends_the_look(state: Path) -> None:
    (state / "core.db").write_bytes(b"This is no database. " * 500)
    findings = found(state)
    assert findings["store:core.db"].level is Level.PROBLEM
    assert "clock" not in findings


def test_record_that_is_not_what_helm_closed_is_a_problem(state: Path) -> None:
    record = (state / "core.db").read_bytes()
    at = record.index(b"CREATE TABLE")
    # A letter of what nobody reads, in a page that is whole.
    (state / "core.db").write_bytes(record[:at] + b"cREATE" + record[at + 6 :])
    finding = found(state)["store:core.db"]
    assert (finding.level, f"rm {state / 'core.db.sum'}" in finding.says) == (Level.PROBLEM, True)
    (state / "core.db.sum").write_text("{}")
    finding = found(state)["store:core.db"]
    assert (finding.level, "core.db.sum is corrupt" in finding.says) == (Level.PROBLEM, True)


def test_clock_before_what_the_fleet_signed_is_a_problem(state: Path) -> None:
    finding = found(state, at=now() - 2 * DAY)["clock"]
    assert (finding.level, "timedatectl" in finding.todo) == (Level.PROBLEM, True)


def test_certificates_are_told_when_they_are_due_and_when_they_ended(state: Path) -> None:
    change(state, lambda db, authority: adopt_sample_node(db, authority))
    assert found(state)["certificate:helm"].level is Level.OK
    assert found(state)["certificates"].level is Level.OK
    due = found(state, at=now() + 320 * DAY)
    assert due["certificate:helm"].level is Level.NOTE
    assert due["certificate:amsterdam"].level is Level.NOTE
    ended = found(state, at=now() + 366 * DAY)
    assert ended["certificate:helm"].level is Level.PROBLEM
    assert "readopt amsterdam" in ended["certificate:amsterdam"].todo
    rotate = found(state, at=now() + 4 * 365 * DAY)["certificate:fleet-ca"]
    assert (rotate.level, "helm ca rotate" in rotate.todo) == (Level.NOTE, True)


def test_backup_grows_from_a_note_to_a_problem(state: Path) -> None:
    at = int(now().timestamp() * 1e6)
    change(state, lambda db, _: db.execute("UPDATE fleet SET backed_up_at = ?", (at,)))
    levels = [found(state, at=now() + days * DAY)["backup"].level for days in (1, 8, 31)]
    assert levels == [Level.OK, Level.NOTE, Level.PROBLEM]


def test_record_of_a_newer_helm_is_a_problem(state: Path) -> None:
    with closing(sqlite3.connect(state / "core.db", isolation_level=None)) as db:
        db.execute("INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('helm', 'm9999_x', 'now')")
    (state / "core.db.sum").unlink()
    finding = found(state)["schema"]
    assert (finding.level, "newer helm (m9999_x)" in finding.says) == (Level.PROBLEM, True)


def test_altered_audit_is_a_problem(tmp_path: Path) -> None:
    invoke_json(main, "init", "--state", tmp_path / "s", "--yes")
    with closing(sqlite3.connect(tmp_path / "s" / "core.db", isolation_level=None)) as db:
        db.execute("UPDATE audit SET actor = 'eve' WHERE sequence = 1")
    (tmp_path / "s" / "core.db.sum").unlink()
    assert found(tmp_path / "s")["audit"].level is Level.PROBLEM


def test_restored_fleet_tells_which_nodes_it_has_to_read(state: Path) -> None:
    def lay_out(db: Database, authority: Authority) -> None:
        adopt_sample_node(db, authority)
        db.execute("UPDATE fleet SET restored_at = 1")

    change(state, lay_out)
    finding = found(state)["restore"]
    assert (finding.level, "amsterdam" in finding.says) == (Level.NOTE, True)


def test_standing_alert_is_told_by_its_severity(state: Path) -> None:
    def raise_two(db: Database, _authority: Authority) -> None:
        for name, severity in (("one", "critical"), ("two", "warning")):
            db.execute(
                "INSERT INTO alerts (id, kind, severity, state, noun, subject, text, evidence, opened_at, version,"
                " created_at, updated_at, updated_by)"
                " VALUES (?, ?, ?, 'open', '', '', 'It hurts', '{}', 1, 1, 1, 1, 'x')",
                (name, name, severity),
            )

    change(state, raise_two)
    findings = found(state)
    assert (findings["alert:one"].level, findings["alert:two"].level) == (Level.PROBLEM, Level.NOTE)


def test_members_that_do_not_answer_are_told_with_where_to_look(state: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
    change(state, lambda db, authority: adopt_sample_node(db, authority, control_port=port))
    change(state, lambda db, authority: adopt_sample_relay(db, authority))
    findings = found(state)
    node = findings["node:amsterdam"]
    assert node.level is Level.PROBLEM
    assert f"TCP {port} of 127.0.0.1" in node.todo
    assert "systemctl status pharos-beacon" in findings["relay:gate"].todo
    assert not is_healthy(findings.values())


async def test_silent_members_are_given_up_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    dialling = most = 0

    async def dial(*_args: object) -> Any:
        nonlocal dialling, most
        dialling += 1
        most = max(most, dialling)
        try:
            await trio.sleep_forever()
        finally:
            dialling -= 1

    monkeypatch.setattr("pharos.helm.doctor.reach.dial_member", dial)
    members = [Member(role=Role.NODE, id=f"n{n}", name=f"n{n}", host="h", port=1) for n in range(3 * AT_ONCE)]
    findings = await dial_members(None, members, timeout=0.05)  # type: ignore[arg-type]
    assert [finding.id for finding in findings] == [f"node:n{n}" for n in range(3 * AT_ONCE)]
    assert {finding.level for finding in findings} == {Level.PROBLEM}
    assert most == AT_ONCE


@pytest.mark.parametrize(
    ("link", "level"),
    [("up", Level.OK), ("connecting", Level.NOTE), ("lost", Level.PROBLEM), ("refused", Level.PROBLEM)],
)
def test_running_helm_is_believed_about_its_links(link: str, level: Level) -> None:
    member = Member(role=Role.NODE, id="n", name="oslo", host="192.0.2.1", port=7443)
    (finding,) = check_seen([member], {"n": {"link": link, "detail": "no route"}})
    assert (finding.id, finding.level) == ("node:oslo", level)
    assert ("no route" in finding.says) is (level is Level.PROBLEM)


def test_database_that_cannot_be_written_is_a_problem() -> None:
    health: dict[str, dict[str, Any]] = {
        "core": {"health": "read-only", "reason": "the disk is full", "since": "2027-01-01T00:00:00Z"},
        "telemetry": {"health": "writable", "reason": None, "since": "2027-01-01T00:00:00Z"},
    }
    (finding,) = check_condition(health)
    assert (finding.id, finding.level) == ("writing:core", Level.PROBLEM)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "a minute"),
        (119, "a minute"),
        (120, "2 minutes"),
        (7_199, "119 minutes"),
        (7_200, "2 hours"),
        (172_799, "47 hours"),
        (172_800, "2 days"),
    ],
)
def test_age_is_said_in_the_largest_unit_of_which_there_are_two(seconds: float, said: str) -> None:
    assert age_of(seconds) == said


def test_size_is_said_in_a_unit_that_people_read() -> None:
    assert (size_of(512 * MIB), size_of(9 * GIB), size_of(75 * GIB)) == ("512 MiB", "9216 MiB", "75 GiB")
