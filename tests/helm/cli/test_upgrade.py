"""helm nodes upgrade: what it takes, whom it dials, and what it prints."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from pharos.helm.cli import main, upgrading
from pharos.helm.config import SOCKET_NAME
from pharos.helm.onboard.upgrade.desk import Member
from tests.support.commands import invoke
from tests.support.upgrading import NEW, OLD, FakeDesk, FakeMachine, FakeRemote, write_deb


class Fleet:
    """Machines behind a helm that runs."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        self.state.mkdir(mode=0o700)
        self.deb = write_deb(folder)
        self.machines = [FakeMachine("amsterdam"), FakeMachine("berlin", version=NEW, agent=NEW)]
        self.desk = FakeDesk(self.machines)
        self.dialled: list[str] = []

    def connect(self, member: Member) -> AbstractAsyncContextManager[FakeRemote]:
        self.dialled.append(member.destination)
        return self.desk.connect(member)

    def upgrade(self, *words: str) -> tuple[int, str]:
        done = invoke(main, "nodes", "upgrade", *words, "--deb", self.deb, "--state", self.state)
        return done.exit_code, done.output


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path)
    monkeypatch.setattr(upgrading, "RestDesk", lambda _ask: fleet.desk)
    monkeypatch.setattr(upgrading, "_connect", lambda _state: fleet.connect)
    with socket.socket(socket.AF_UNIX) as helm:
        helm.bind(str(fleet.state / SOCKET_NAME))
        yield fleet


def test_some_are_named_or_all_are_meant(fleet: Fleet) -> None:
    for words in ((), ("amsterdam", "--all")):
        code, said = fleet.upgrade(*words)
        assert (code, "name some nodes, or say --all" in said) == (2, True)


def test_helm_has_to_run(tmp_path: Path) -> None:
    done = invoke(main, "relays", "upgrade", "--all", "--state", tmp_path)
    assert (done.exit_code, "helm has to run" in done.output) == (5, True)


def test_a_helm_that_was_killed_is_not_replaced_by_its_record(tmp_path: Path) -> None:
    assert invoke(main, "init", "--personal", "--yes", "--state", tmp_path).exit_code == 0
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(tmp_path / SOCKET_NAME))
    done = invoke(main, "nodes", "upgrade", "--all", "--state", tmp_path)
    assert (done.exit_code, "helm has to run" in done.output) == (5, True)


def test_each_line_names_its_machine_and_the_last_word_is_the_outcome(fleet: Fleet) -> None:
    fleet.machines[0].refused = "no\x1b[2J lock"
    code, said = fleet.upgrade("--all", "--at-once", "1")
    assert code == 1
    lines = said.splitlines()
    assert f"amsterdam look       {OLD} (installed); {NEW} is to be there  (0.0 s)" in lines
    assert lines[-3].startswith("amsterdam: untouched: apt-get failed there with 100: no�[2J lock")
    assert lines[-2].startswith("berlin: left: another one failed")
    assert lines[-1] == "Error: not upgraded: amsterdam, berlin"


def test_events_are_lines_of_json(fleet: Fleet) -> None:
    code, said = fleet.upgrade("berlin", "--json")
    events = [json.loads(line) for line in said.splitlines()]
    assert code == 0
    assert [event["event"] for event in events] == [*["begun", "done"] * 2, "member_ended", "ended"]
    assert events[-1]["outcomes"] == {"berlin": "already"}


def test_dry_run_changes_nothing_and_a_destination_can_be_said(fleet: Fleet) -> None:
    code, said = fleet.upgrade("amsterdam=ada@[2001:db8::1]:2222", "berlin", "--dry-run")
    assert code == 0, said
    assert f"amsterdam: planned: would get {NEW} in the place of {OLD}" in said
    assert sorted(fleet.dialled) == ["ada@[2001:db8::1]:2222", "root@berlin"]
    assert fleet.machines[0].version == OLD


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("cadiz",), "there is no node 'cadiz'"),
        (("amsterdam=-oProxyCommand=x",), "is not [user@]host[:port]"),
        (("amsterdam", "--canary", "2"), "no 2 canaries"),
    ],
)
def test_what_does_not_fit_dials_nobody(fleet: Fleet, words: tuple[str, ...], said: str) -> None:
    code, printed = fleet.upgrade(*words)
    assert (code, said in printed) == (1, True), printed
    assert fleet.dialled == []
