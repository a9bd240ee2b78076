"""One member is upgraded, or is as well as it was before: whatever fails, and wherever it is cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from pharos.helm.onboard.upgrade.desk import Health, Member
from pharos.helm.onboard.upgrade.events import Event, MemberEnded, Outcome, Step, StepDone, StepFailed, event_json
from pharos.helm.onboard.upgrade.member import Options, upgrade_member
from pharos.helm.onboard.upgrade.place import Note
from pharos.helm.onboard.upgrade.plan import Baseline
from tests.support.upgrading import NEW, OLD, FakeDesk, FakeMachine, write_deb


@attrs.define
class Played:
    outcome: Outcome
    events: list[Event]

    @property
    def says(self) -> str:
        last = self.events[-1]
        assert isinstance(last, MemberEnded)
        return last.says

    def done(self) -> list[Step]:
        return [event.step for event in self.events if isinstance(event, StepDone)]

    def failed(self) -> list[Step]:
        return [event.step for event in self.events if isinstance(event, StepFailed)]


def play(
    machine: FakeMachine, deb: Path, *, killed_at: int = -1, desk: FakeDesk | None = None, **options: Any
) -> Played:
    """Upgrade a machine, on a clock that jumps; helm may be killed at one of the events."""
    events: list[Event] = []

    async def main() -> Outcome:
        sees = desk or FakeDesk([machine])
        with trio.CancelScope() as scope:

            def emit(event: Event) -> None:
                events.append(event)
                if len(events) == killed_at:
                    scope.cancel()

            return await upgrade_member(
                machine.member, connect=sees.connect, desk=sees, options=Options(deb=deb, **options), emit=emit
            )
        return Outcome.BROKEN

    outcome = trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    for event in events:
        assert event_json(event)["member"] == machine.name
    return Played(outcome, events)


@pytest.fixture
def deb(tmp_path: Path) -> Path:
    return write_deb(tmp_path)


@pytest.fixture
def machine() -> FakeMachine:
    return FakeMachine("amsterdam")


def is_as_before(machine: FakeMachine) -> bool:
    return (machine.version, machine.state, machine.agent, machine.note) == (OLD, "installed", OLD, b"")


def test_member_gets_the_new_version_and_keeps_both_packages(machine: FakeMachine, deb: Path) -> None:
    played = play(machine, deb)
    assert (played.outcome, played.says) == (Outcome.UPGRADED, f"{OLD} became {NEW}")
    assert played.done() == [Step.CONNECT, Step.LOOK, Step.KEEP, Step.UPLOAD, Step.INSTALL, Step.GATE]
    assert (machine.version, machine.agent, machine.note) == (NEW, NEW, b"")
    assert machine.kept == {OLD, NEW}
    assert machine.log.index("pack") < machine.log.index("apt")


def test_member_that_has_the_version_is_left_alone(machine: FakeMachine, deb: Path) -> None:
    machine.version = machine.agent = NEW
    played = play(machine, deb)
    assert (played.outcome, played.says) == (Outcome.ALREADY, f"it has {NEW}")
    assert "apt" not in machine.log
    assert machine.started == 1


def test_dry_run_says_what_would_be_and_changes_nothing(machine: FakeMachine, deb: Path) -> None:
    played = play(machine, deb, dry_run=True)
    assert (played.outcome, played.says) == (Outcome.PLANNED, f"would get {NEW} in the place of {OLD}")
    assert not {"upload", "pack", "write"} & set(machine.log)


def test_downgrade_takes_a_word(machine: FakeMachine, tmp_path: Path) -> None:
    older = write_deb(tmp_path, "0.0.9")
    played = play(machine, older)
    assert played.outcome is Outcome.UNTOUCHED
    assert played.says == f"it has {OLD}, and 0.0.9 is older; say --allow-downgrade"
    assert is_as_before(machine)
    assert play(machine, older, allow_downgrade=True).outcome is Outcome.UPGRADED
    assert machine.agent == "0.0.9"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"version": ""}, "pharos-buoy is not installed there"),
        ({"free": 1 << 20}, "/usr has 1 MiB free, /var has 1 MiB free, and an upgrade takes 96 MiB; make room there"),
    ],
)
def test_machine_that_is_not_fit_for_it_is_not_touched(
    machine: FakeMachine, deb: Path, changes: dict[str, object], said: str
) -> None:
    for name, value in changes.items():
        setattr(machine, name, value)
    played = play(machine, deb)
    assert played.outcome is Outcome.UNTOUCHED
    assert said in played.says
    assert not {"upload", "pack", "write"} & set(machine.log)


def test_package_for_another_machine_is_refused(machine: FakeMachine, tmp_path: Path) -> None:
    played = play(machine, write_deb(tmp_path, arch="arm64"))
    assert played.outcome is Outcome.UNTOUCHED
    assert "is for arm64, and the machine is amd64" in played.says


def test_apt_that_does_not_begin_leaves_all_as_it_was(machine: FakeMachine, deb: Path) -> None:
    machine.refused = "Could not get lock /var/lib/dpkg/lock-frontend"
    played = play(machine, deb)
    assert played.outcome is Outcome.UNTOUCHED
    assert "Could not get lock" in played.says
    assert is_as_before(machine)
    assert machine.started == 1


FAULTS: list[tuple[str, str]] = [
    ("unpackable", "the post-installation script failed"),
    ("dumb", "its agent does not answer"),
    ("troubled", "amneziawg: no interface"),
    ("loses", "1 of 3 tunnels are gone"),
]


@pytest.mark.parametrize(("fault", "said"), FAULTS)
def test_version_that_is_no_good_is_taken_back(machine: FakeMachine, deb: Path, fault: str, said: str) -> None:
    setattr(machine, fault, {NEW})
    played = play(machine, deb)
    assert played.outcome is Outcome.ROLLED_BACK, played.says
    assert said in played.says
    assert f"{OLD} is back and well" in played.says
    assert played.done()[-2:] == [Step.ROLL_BACK, Step.GATE_AGAIN]
    assert is_as_before(machine)
    assert machine.kept == {OLD}


def test_agent_that_falls_as_it_starts_is_not_waited_for(machine: FakeMachine, deb: Path) -> None:
    machine.dumb = machine.falling = {NEW}
    played = play(machine, deb)
    assert played.outcome is Outcome.ROLLED_BACK
    assert "its agent falls as it starts, 5 times by now; there: journalctl -u pharos-buoy" in played.says
    last = played.events[-1]
    assert isinstance(last, MemberEnded)
    assert last.seconds < 20


def test_trouble_of_before_is_no_reason_to_go_back(machine: FakeMachine, deb: Path) -> None:
    machine.troubled = {OLD, NEW}
    assert play(machine, deb).outcome is Outcome.UPGRADED


def test_member_that_was_down_before_may_be_mended_by_it(machine: FakeMachine, deb: Path) -> None:
    machine.agent = ""
    assert play(machine, deb).outcome is Outcome.UPGRADED


def test_agent_that_falls_again_and_again_is_not_well(machine: FakeMachine, deb: Path) -> None:
    class Falling(FakeDesk):
        async def health(self, member: Member, since: int) -> Health | None:
            machine.started += machine.agent == NEW
            return await super().health(member, since)

    played = play(machine, deb, desk=Falling([machine]))
    assert played.outcome is Outcome.ROLLED_BACK
    assert "its agent starts anew again and again" in played.says


def test_two_bad_versions_are_for_somebody_to_look_at(machine: FakeMachine, deb: Path) -> None:
    machine.dumb = {OLD, NEW}
    played = play(machine, deb)
    assert played.outcome is Outcome.BROKEN
    assert f"{OLD}, which is back, is not well: its agent does not answer" in played.says
    # Whoever comes next goes back again, and not forth.
    machine.dumb = {NEW}
    played = play(machine, deb)
    assert played.outcome is Outcome.ROLLED_BACK
    assert is_as_before(machine)


def test_broken_package_without_one_from_before_is_said(machine: FakeMachine, deb: Path) -> None:
    machine.state, machine.dumb = "half-configured", {NEW}
    played = play(machine, deb)
    assert played.outcome is Outcome.BROKEN
    assert f"there is no package of {OLD} to go back to" in played.says


# -- a connection that breaks

COMMANDS = [
    "connect",
    "query",
    "read",
    "whole",
    "pack",
    "made",
    "upload",
    "take",
    "move",
    "write",
    "apt",
    "prune",
    "forget",
]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("after", [False, True])
def test_connection_that_breaks_anywhere_is_made_again(
    machine: FakeMachine, deb: Path, command: str, *, after: bool
) -> None:
    (machine.cuts_after if after else machine.cuts).append(command)
    played = play(machine, deb)
    assert played.outcome is Outcome.UPGRADED, played.says
    assert (machine.version, machine.agent) == (NEW, NEW)
    assert machine.kept >= {NEW}
    assert play(machine, deb).outcome.well
    assert (machine.version, machine.agent, machine.note) == (NEW, NEW, b"")


@pytest.mark.parametrize(
    "command", [command for command in COMMANDS if command not in ("write", "apt", "prune", "forget")]
)
def test_machine_that_goes_away_before_the_change_was_not_touched(
    machine: FakeMachine, deb: Path, command: str
) -> None:
    machine.cuts, machine.dies = [command], True
    played = play(machine, deb)
    assert played.outcome is Outcome.UNTOUCHED
    assert "is away" in played.says
    machine.away = False
    assert is_as_before(machine)


@pytest.mark.parametrize("fault", [fault for fault, _ in FAULTS if fault != "loses"])
@pytest.mark.parametrize("after", [False, True])
def test_connection_that_breaks_on_the_way_back_is_made_again(
    machine: FakeMachine, deb: Path, fault: str, *, after: bool
) -> None:
    setattr(machine, fault, {NEW})
    # The first time that apt is called it is for the way there.
    (machine.cuts_after if after else machine.cuts).append("apt 2")
    played = play(machine, deb)
    assert played.outcome is Outcome.ROLLED_BACK, played.says
    assert is_as_before(machine)


def test_machine_that_goes_away_in_the_change_is_brought_to_its_end_later(machine: FakeMachine, deb: Path) -> None:
    machine.cuts_after, machine.dies = ["apt"], True
    played = play(machine, deb)
    assert played.outcome is Outcome.BROKEN
    assert "run the same command again, it goes on from here" in played.says
    assert machine.note
    machine.away = machine.dies = False
    played = play(machine, deb)
    assert played.outcome is Outcome.UPGRADED
    assert machine.log.count("upload") == 1
    assert machine.note == b""


# -- helm that is killed


@pytest.mark.parametrize("fault", ["", *(fault for fault, _ in FAULTS if fault != "loses")])
def test_upgrade_goes_on_wherever_helm_was_killed(deb: Path, fault: str) -> None:
    """Each event is a moment at which it can be killed; the next helm knows nothing but what the machine tells."""
    whole = FakeMachine("amsterdam")
    if fault:
        setattr(whole, fault, {NEW})
    moments = len(play(whole, deb).events)
    for moment in range(1, moments):
        machine = FakeMachine("amsterdam")
        if fault:
            setattr(machine, fault, {NEW})
        play(machine, deb, killed_at=moment)
        played = play(machine, deb)
        assert played.outcome in ({Outcome.ROLLED_BACK} if fault else {Outcome.UPGRADED, Outcome.ALREADY}), moment
        assert machine.note == b""
        assert machine.agent == (OLD if fault else NEW)


def test_another_version_after_a_cut_keeps_the_way_back_to_the_first(machine: FakeMachine, tmp_path: Path) -> None:
    machine.cuts_after, machine.dies = ["apt"], True
    assert play(machine, write_deb(tmp_path)).outcome is Outcome.BROKEN
    machine.away = machine.dies = False
    machine.dumb = {"0.3.0"}
    played = play(machine, write_deb(tmp_path, "0.3.0"))
    assert played.outcome is Outcome.ROLLED_BACK
    assert is_as_before(machine)


@pytest.mark.parametrize(
    "note",
    [
        b'{"format": 7}',
        b"\xff",
        b"[1]",
        Note(old=OLD, new=NEW, kept="", baseline=Baseline(since=1, tunnels=2), format=2).render(),
        Note(old=OLD, new=NEW, kept="", baseline=Baseline(since=10**19, tunnels=2)).render(),
        Note(old=OLD, new=NEW, kept="", baseline=Baseline(since=1, tunnels=2)).render().replace(b":2", b':"two"'),
    ],
)
def test_note_that_does_not_read_is_left_for_somebody(machine: FakeMachine, deb: Path, note: bytes) -> None:
    machine.note = note
    played = play(machine, deb)
    assert played.outcome is Outcome.UNTOUCHED
    assert "the note of an earlier upgrade there does not read" in played.says
    assert machine.note == note


def test_note_survives_its_own_form() -> None:
    note = Note(old=OLD, new=NEW, kept="/x", baseline=Baseline(since=1, tunnels=2, troubles=("a: b",)), condemned=True)
    assert Note.parse(note.render()) == note
