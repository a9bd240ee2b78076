"""Canaries first, so many beside each other, and nobody any more once one has failed."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing

from pharos.helm.errors import InvalidRequestError, NotFoundError
from pharos.helm.model.nodes import NodeState
from pharos.helm.onboard.join.parts import Part
from pharos.helm.onboard.upgrade.desk import Health, Member
from pharos.helm.onboard.upgrade.events import Ended, Event, MemberEnded, Outcome, StepBegun, event_json
from pharos.helm.onboard.upgrade.member import Options
from pharos.helm.onboard.upgrade.plan import Baseline, Rollout, baseline_of, find_faults, same_version
from pharos.helm.onboard.upgrade.run import choose, upgrade
from pharos.wire.console import CommandError
from pharos.wire.errors import LocalProtocolError
from tests.support.upgrading import NEW, OLD, FakeDesk, FakeMachine, write_deb

NAMES = ("amsterdam", "berlin", "cadiz", "dublin", "essen")


def member(name: str) -> Member:
    return Member(id=name, name=name, part=Part.BUOY, state=NodeState.ACTIVE, destination=f"root@{name}")


MEMBERS = [member(name) for name in reversed(NAMES)]


def names(members: list[Member]) -> list[str]:
    return [member.name for member in members]


def test_so_many_run_beside_each_other_in_the_order_of_their_names() -> None:
    rollout = Rollout.of(MEMBERS, at_once=2)
    first, second = rollout.begin()
    assert names([first, second]) == ["amsterdam", "berlin"]
    assert rollout.begin() == []
    assert rollout.end(second, Outcome.UPGRADED) == []
    assert names(rollout.begin()) == ["cadiz"]
    assert not rollout.over


def test_nobody_begins_before_the_canaries_are_well() -> None:
    rollout = Rollout.of(MEMBERS, canaries=2, at_once=4)
    for name in ("amsterdam", "berlin"):
        (canary,) = rollout.begin()
        assert canary.name == name
        assert rollout.begin() == []
        rollout.end(canary, Outcome.UPGRADED)
    assert names(rollout.begin()) == ["cadiz", "dublin", "essen"]


def test_member_that_had_the_version_is_no_canary() -> None:
    rollout = Rollout.of(MEMBERS, canaries=1, at_once=4)
    (first,) = rollout.begin()
    rollout.end(first, Outcome.ALREADY)
    assert names(rollout.begin()) == ["berlin"]


@pytest.mark.parametrize("outcome", [Outcome.ROLLED_BACK, Outcome.BROKEN, Outcome.UNTOUCHED])
def test_canary_that_fails_stops_the_rest(outcome: Outcome) -> None:
    rollout = Rollout.of(MEMBERS, canaries=1, at_once=4)
    (canary,) = rollout.begin()
    assert names(rollout.end(canary, outcome)) == ["berlin", "cadiz", "dublin", "essen"]
    assert (rollout.begin(), rollout.over) == ([], True)
    assert set(rollout.outcomes.values()) == {outcome, Outcome.LEFT}


def test_those_under_way_are_waited_for_when_one_fails() -> None:
    rollout = Rollout.of(MEMBERS, at_once=2)
    first, second = rollout.begin()
    rollout.end(first, Outcome.BROKEN)
    waited = not rollout.over
    assert rollout.end(second, Outcome.UPGRADED) == []
    assert (waited, rollout.over) == (True, True)
    with pytest.raises(LocalProtocolError, match="berlin was not being upgraded"):
        rollout.end(second, Outcome.UPGRADED)


@pytest.mark.parametrize("numbers", [{"at_once": 0}, {"at_once": 17}, {"canaries": 6}, {"canaries": -1}])
def test_numbers_that_do_not_fit_are_refused(numbers: dict[str, int]) -> None:
    with pytest.raises(InvalidRequestError):
        Rollout.of(MEMBERS, **numbers)


@pytest.mark.parametrize(
    ("agent", "package", "same"),
    [
        ("0.2.0", "0.2.0", True),
        ("0.2.0rc1", "0.2.0~rc1", True),
        ("1.0.post1", "1.0+post1", True),
        ("1.0.dev3", "1.0~dev3", True),
        ("0.2.0", "0.2.0~rc1", False),
        ("1.10", "11.0", False),
        ("", "", False),
    ],
)
def test_versions_are_the_same_in_both_spellings(agent: str, package: str, *, same: bool) -> None:
    assert same_version(agent, package) is same


WELL = Health(version=NEW, started_at=5, settled=True, now=1_000_000_000, tunnels=3)


@pytest.mark.parametrize(
    ("health", "said"),
    [
        (WELL, []),
        (None, ["its agent does not answer"]),
        (Health(version=OLD, started_at=5, settled=True, tunnels=3), [f"its agent is of version {OLD}"]),
        (Health(version="", started_at=5, settled=True, tunnels=3), ["its agent is of version none that it tells"]),
        (Health(version=NEW, started_at=1, settled=True, tunnels=3), ["its agent has not started anew"]),
        (Health(version=NEW, started_at=5, settled=False, tunnels=3), ["it does not serve yet what helm ordered"]),
        (Health(version=NEW, started_at=5, settled=True, tunnels=1), ["2 of 3 tunnels are gone"]),
        (Health(version=NEW, started_at=5, settled=True, tunnels=3, troubles=("xray: old", "awg: new")), ["awg: new"]),
    ],
)
def test_what_is_worse_than_before_is_a_fault(health: Health | None, said: list[str]) -> None:
    before = Baseline(since=1, tunnels=3, troubles=("xray: old",), started_at=1)
    assert find_faults(health, NEW, before) == said


def test_tunnels_are_those_of_the_last_three_minutes_before() -> None:
    assert baseline_of(WELL) == Baseline(since=820_000_000, tunnels=3, started_at=5)
    assert baseline_of(None) == Baseline(since=0, tunnels=0)


# -- a fleet


def roll(machines: list[FakeMachine], deb: Path, **numbers: int) -> tuple[Ended, list[Event]]:
    desk, events = FakeDesk(machines), []  # type: ignore[var-annotated]

    async def main() -> Ended:
        members = await choose(desk, Part.BUOY, [])
        return await upgrade(
            members, connect=desk.connect, desk=desk, options=Options(deb=deb), emit=events.append, **numbers
        )

    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0)), events


@pytest.fixture
def machines() -> list[FakeMachine]:
    return [FakeMachine(name) for name in NAMES]


@pytest.fixture
def deb(tmp_path: Path) -> Path:
    return write_deb(tmp_path)


def test_whole_fleet_is_upgraded(machines: list[FakeMachine], deb: Path) -> None:
    ended, events = roll(machines, deb, canaries=1, at_once=3)
    assert ended.well
    assert ended.outcomes == dict.fromkeys(NAMES, Outcome.UPGRADED)
    assert {machine.agent for machine in machines} == {NEW}
    last = event_json(events[-1])
    assert (last["event"], last["outcomes"]) == ("ended", dict.fromkeys(NAMES, "upgraded"))
    # The canary was over before another one began.
    (over,) = [n for n, e in enumerate(events) if isinstance(e, MemberEnded) and e.member == "amsterdam"]
    assert {e.member for e in events[:over] if isinstance(e, StepBegun)} == {"amsterdam"}


def test_broken_version_costs_the_canary_a_minute_and_the_others_nothing(
    machines: list[FakeMachine], deb: Path
) -> None:
    for machine in machines:
        machine.dumb = {NEW}
    ended, _ = roll(machines, deb, canaries=1, at_once=3)
    assert ended.outcomes == {"amsterdam": Outcome.ROLLED_BACK} | dict.fromkeys(NAMES[1:], Outcome.LEFT)
    assert {machine.agent for machine in machines} == {OLD}
    assert [machine.dials for machine in machines] == [1, 0, 0, 0, 0]
    # Mended, the same command does them all.
    for machine in machines:
        machine.dumb = set()
    assert roll(machines, deb, canaries=1, at_once=3)[0].well


def test_same_upgrade_again_does_those_that_are_left(machines: list[FakeMachine], deb: Path) -> None:
    machines[2].unpackable = {NEW}
    ended, _ = roll(machines, deb, at_once=1)
    assert [ended.outcomes[name].value for name in NAMES] == ["upgraded", "upgraded", "rolled_back", "left", "left"]
    machines[2].unpackable = set()
    ended, _ = roll(machines, deb, at_once=1)
    assert [ended.outcomes[name].value for name in NAMES] == ["already", "already", *["upgraded"] * 3]
    assert machines[0].log.count("apt") == 1


def test_helm_that_goes_away_ends_it_in_its_own_words(machines: list[FakeMachine], deb: Path) -> None:
    class Gone(FakeDesk):
        async def health(self, member: Member, since: int) -> Health | None:
            raise CommandError("helm went away")

    desk = Gone(machines)

    async def main() -> None:
        await upgrade(
            [machine.member for machine in machines],
            connect=desk.connect,
            desk=desk,
            options=Options(deb=deb),
            emit=lambda _event: None,
        )

    with pytest.raises(CommandError, match="helm went away"):
        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert {machine.version for machine in machines} == {OLD}


async def test_members_are_chosen_by_name_or_id() -> None:
    desk = FakeDesk([FakeMachine("amsterdam"), FakeMachine("berlin"), FakeMachine("gate", part=Part.BEACON)])
    assert names(await choose(desk, Part.BUOY, ["berlin", "id-berlin"])) == ["berlin"]
    assert names(await choose(desk, Part.BEACON, [])) == ["gate"]
    with pytest.raises(NotFoundError, match="there is no node 'gate'; see: helm nodes list"):
        await choose(desk, Part.BUOY, ["gate"])
