"""Endpoints rotate when they are old: one node after the other, and none that is away or not done yet."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
import trio

from pharos.helm.ca.authority import Authority
from pharos.helm.fleet import endpoints as module
from pharos.helm.fleet.endpoints import DAY, rotate_next, run_endpoints
from pharos.helm.fleet.nodes import change_node, move_node
from pharos.helm.fleet.reissue import end_reissues, reissue_node
from pharos.helm.model.nodes import Node, NodeAct
from pharos.helm.model.users import Protocol
from pharos.helm.onboard.agents import adopt_node
from pharos.helm.store.database import Database
from pharos.helm.store.nodes import NODES, list_nodes
from pharos.helm.store.records import get_record
from pharos.helm.store.settings import put_setting
from pharos.wire.link import LinkState
from tests.support.helm import (
    STARTED_AT,
    adopt_sample_node,
    enrol_sample_device,
    fleet_in_memory,
    new_node,
    node_request,
    open_helm,
    sample_act,
)

HOUR = DAY // 24
PERIOD = 30 * DAY
TARGETS = ["one.example:443", "two.example:443"]


@attrs.frozen
class Fleet:
    """Nodes that joined at once, in a fleet without devices: a re-issue is done at the next look."""

    db: Database
    authority: Authority

    def rotate(self, at: int, *, away: frozenset[str] = frozenset()) -> str | None:
        """What a look at this time makes new, with every link up but those of ``away``, by name."""
        end_reissues(self.db, sample_act(at=at))
        up = {node.id for node in list_nodes(self.db) if node.name not in away}
        node = rotate_next(self.db, sample_act(at=at), up)
        return None if node is None else node.name

    def looks(self, first: int, last: int, **how: frozenset[str]) -> list[tuple[str, int]]:
        """Who was rotated in an hourly look from day ``first`` to day ``last``, and at which hour."""
        hours = range(first * 24, last * 24)
        found = [(self.rotate(STARTED_AT + hour * HOUR, **how), hour) for hour in hours]
        return [(name, hour) for name, hour in found if name is not None]

    def node(self, name: str = "a") -> Node:
        return next(node for node in list_nodes(self.db) if node.name == name)


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    with fleet_in_memory() as (db, authority):
        put_setting(db, sample_act(), "endpoints.rotate", 0, True)  # noqa: FBT003 -- a setting's value
        put_setting(db, sample_act(), "reality.targets", 0, TARGETS)
        for name in "abcd":
            adopt_node(db, sample_act(at=STARTED_AT), authority, node_request(), new_node(name))
        yield Fleet(db, authority)


def test_nothing_rotates_until_it_is_asked_for() -> None:
    with fleet_in_memory() as (db, authority):
        adopt_sample_node(db, authority, "a")
        assert Fleet(db, authority).looks(0, 90) == []


def test_node_gets_both_protocols_another_key_and_the_next_target(fleet: Fleet) -> None:
    before = fleet.node()
    assert fleet.rotate(STARTED_AT + PERIOD - HOUR) is None
    assert fleet.rotate(STARTED_AT + PERIOD) == "a"
    after = fleet.node()
    assert after.awg_parameters != before.awg_parameters
    assert before.reality is not None
    assert after.reality is not None
    assert {before.reality.target, after.reality.target} == set(TARGETS)
    assert after.reality.generation == before.reality.generation + 1
    row = fleet.db.execute("SELECT actor, verb, subject FROM audit WHERE verb = 'node_reissued'").fetchone()
    assert (row["verb"], row["subject"]) == ("node_reissued", before.id)


def test_nodes_of_one_day_are_spread_over_half_a_period_and_each_has_its_turn(fleet: Fleet) -> None:
    first = fleet.looks(0, 60)
    assert [name for name, _ in first] == ["a", "b", "c", "d"]
    hours = [hour for _, hour in first]
    assert hours[0] == 30 * 24
    pause = 30 * 24 / (2 * 4)
    assert all(later - earlier >= pause for earlier, later in itertools.pairwise(hours))
    assert hours[-1] - hours[0] <= 15 * 24
    # From then on they keep their distance, each thirty days after its last time.
    second = fleet.looks(60, 90)
    assert [(name, hour - 30 * 24) for name, hour in second] == first


def test_node_that_is_away_waits_and_holds_up_nobody(fleet: Fleet) -> None:
    assert [name for name, _ in fleet.looks(30, 50, away=frozenset("a"))] == ["b", "c", "d"]
    assert fleet.rotate(STARTED_AT + 50 * DAY) == "a"


def test_node_that_still_serves_older_parameters_is_left_alone(fleet: Fleet) -> None:
    enrol_sample_device(fleet.db, 1)
    node = fleet.node()
    reissue_node(fleet.db, sample_act(at=STARTED_AT + 29 * DAY), node.id, node.version, {Protocol.REALITY})
    # The device never comes, and fourteen days end it.
    rotated = fleet.looks(30, 45)
    name, hour = rotated.pop()
    assert (name, hour >= (29 + 14) * 24) == ("a", True)
    assert [name for name, _ in rotated] == ["b", "c", "d"]


def test_node_whose_parameters_were_replaced_by_hand_is_not_due(fleet: Fleet) -> None:
    node = fleet.node()
    reissue_node(fleet.db, sample_act(at=STARTED_AT + 20 * DAY), node.id, node.version)
    assert [name for name, _ in fleet.looks(30, 49)] == ["b", "c", "d"]
    assert fleet.rotate(STARTED_AT + 50 * DAY) == "a"


@pytest.mark.parametrize("act", [NodeAct.DRAIN, NodeAct.DISABLE, NodeAct.REVOKE])
def test_node_that_takes_no_new_devices_does_not_rotate(fleet: Fleet, act: NodeAct) -> None:
    node = fleet.node()
    move_node(fleet.db, sample_act(), node.id, node.version, act)
    assert "a" not in {name for name, _ in fleet.looks(30, 60)}


def test_node_without_a_spare_port_does_not_rotate(fleet: Fleet) -> None:
    node = fleet.node()
    change_node(fleet.db, sample_act(), node.id, node.version, {"spare_ports": []})
    assert "a" not in {name for name, _ in fleet.looks(30, 60)}


def test_clock_that_once_was_ahead_stops_no_rotation(fleet: Fleet) -> None:
    assert fleet.rotate(STARTED_AT + 3650 * DAY) == "a"
    assert [name for name, _ in fleet.looks(30, 60)] == ["a", "b", "c", "d"]


async def test_task_rotates_what_is_due_over_links_that_are_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_EVERY", 0.01)
    async with open_helm(tmp_path) as helm, trio.open_nursery() as nursery:
        await helm.store.run(put_setting, sample_act(), "endpoints.rotate", 0, True)  # noqa: FBT003 -- its value
        there, _ = await helm.store.run(adopt_sample_node, helm.authority, "there")
        away, _ = await helm.store.run(adopt_sample_node, helm.authority, "away")
        helm.context.board.report(there.id, there.name, LinkState.UP, "")
        helm.context.board.report(away.id, away.name, LinkState.LOST, "no route")
        commits = helm.store.commits
        nursery.start_soon(lambda: run_endpoints(helm.store, helm.context.board, clock=lambda: STARTED_AT + PERIOD))
        with trio.fail_after(30):
            await helm.store.wait_commit(commits)
        nursery.cancel_scope.cancel()
        assert (await helm.store.run(get_record, NODES, there.id)).awg_parameters != there.awg_parameters
        assert (await helm.store.run(get_record, NODES, away.id)).awg_parameters == away.awg_parameters
