"""Which site a node's REALITY stands before: in turn by the fleet's list, another with each re-issue, or by hand."""

from __future__ import annotations

from typing import Any

import pytest

from pharos.helm.errors import ConflictError, InvalidRequestError, StaleVersionError
from pharos.helm.fleet.nodes import move_node
from pharos.helm.fleet.reality import add_missing, change_target
from pharos.helm.fleet.reissue import LIFETIME, end_reissues, reissue_node
from pharos.helm.live.board import now_us
from pharos.helm.model.nodes import Node, NodeAct
from pharos.helm.model.reality import PRESET, PRESETS
from pharos.helm.model.settings import KNOWN
from pharos.helm.store.database import Database
from pharos.helm.store.fleet import get_fleet
from pharos.helm.store.nodes import NODES, list_nodes
from pharos.helm.store.records import get_record
from pharos.helm.store.settings import put_setting, setting
from pharos.wire.reality.params import RealityParameters
from tests.support.helm import adopt_sample_node, fleet_in_memory, sample_act

SITES = ["a.example:443", "203.0.113.9:8443 b.example c.example"]


def reality_of(node: Node) -> RealityParameters:
    assert node.reality is not None
    return node.reality


def test_nodes_get_the_targets_of_the_list_in_turn() -> None:
    with fleet_in_memory() as (db, authority):
        put_setting(db, sample_act(), "reality.targets", 0, SITES)
        made = [reality_of(adopt_sample_node(db, authority, name)[0]) for name in "abc"]
        assert [one.target for one in made] == ["a.example:443", "203.0.113.9:8443", "a.example:443"]
        assert [one.server_names for one in made] == [("a.example",), ("b.example", "c.example"), ("a.example",)]
        assert [one.generation for one in made] == [1, 1, 1]
        assert len({one.short_ids for one in made}) == 3


def test_each_reissue_takes_the_next_target_and_another_generation() -> None:
    with fleet_in_memory() as (db, authority):
        put_setting(db, sample_act(), "reality.targets", 0, SITES)
        node, _ = adopt_sample_node(db, authority)
        seen = [reality_of(node)]
        for _ in range(2):
            node = reissue_node(db, sample_act(), node.id, node.version)
            seen.append(reality_of(node))
            end_reissues(db, sample_act(at=now_us() + LIFETIME))
        assert [one.target for one in seen] == ["a.example:443", "203.0.113.9:8443", "a.example:443"]
        assert [one.generation for one in seen] == [1, 2, 3]
        assert len({one.short_ids for one in seen}) == 3


def test_target_by_hand_takes_hold_at_once_and_stays_through_a_reissue() -> None:
    with fleet_in_memory() as (db, authority):
        node, _ = adopt_sample_node(db, authority)
        first, revision = reality_of(node), get_fleet(db).revision
        node = change_target(db, sample_act(), node.id, node.version, "203.0.113.9:8443", ["own.example"])
        assert get_fleet(db).revision == revision + 1
        changed = reality_of(node)
        assert (changed.target, changed.server_names) == ("203.0.113.9:8443", ("own.example",))
        assert (changed.generation, changed.short_ids) == (first.generation, first.short_ids), "under the same key"
        node = reissue_node(db, sample_act(), node.id, node.version)
        assert (reality_of(node).target, reality_of(node).generation) == ("203.0.113.9:8443", 2)
        same = change_target(db, sample_act(), node.id, node.version, "203.0.113.9:8443", ["own.example"])
        assert same == node


def test_target_that_is_none_and_a_node_that_is_gone_are_refused() -> None:
    with fleet_in_memory() as (db, authority):
        node, _ = adopt_sample_node(db, authority)
        for target, names in (
            ("own.example", ()),
            ("own.example:0", ()),
            ("203.0.113.9:443", ()),
            ("own.example:443", ("*.example",)),
            ("own.example:443", ("a b",)),
            ("own.example:443 a.example", ("a.example",)),
        ):
            with pytest.raises(InvalidRequestError):
                change_target(db, sample_act(), node.id, node.version, target, names)
        with pytest.raises(StaleVersionError):
            change_target(db, sample_act(), node.id, node.version + 1, "own.example:443")
        move_node(db, sample_act(), node.id, node.version, NodeAct.REVOKE)
        with pytest.raises(ConflictError, match="revoked"):
            change_target(db, sample_act(), node.id, node.version + 1, "own.example:443")


def without_reality(db: Database) -> None:
    """Make the record one of an earlier version."""
    db.execute("UPDATE nodes SET reality = 'null'")


def test_nodes_of_an_earlier_record_get_their_first_parameters_once() -> None:
    with fleet_in_memory() as (db, authority):
        put_setting(db, sample_act(), "reality.targets", 0, SITES)
        for name in "abc":
            adopt_sample_node(db, authority, name)
        gone = get_record(db, NODES, list_nodes(db)[2].id)
        move_node(db, sample_act(), gone.id, gone.version, NodeAct.REVOKE)
        without_reality(db)
        assert [node.reality for node in list_nodes(db)] == [None, None, None]
        assert add_missing(db, sample_act()) == 2
        a, b, c = list_nodes(db)
        assert (reality_of(a).target, reality_of(b).target, c.reality) == (*("a.example:443", "203.0.113.9:8443"), None)
        revision = get_fleet(db).revision
        assert add_missing(db, sample_act()) == 0
        assert get_fleet(db).revision == revision


def test_node_of_an_earlier_record_that_is_reissued_first_has_nothing_to_keep() -> None:
    with fleet_in_memory() as (db, authority):
        adopt_sample_node(db, authority)
        without_reality(db)
        (node,) = list_nodes(db)
        assert reality_of(reissue_node(db, sample_act(), node.id, node.version)).generation == 1


@pytest.mark.parametrize(
    "value",
    [
        *([], "a.example:443", ["a.example"], ["a.example:443 "], ["a.example:443", "a.example:443"], [5], None),
        *(["203.0.113.9:443"], ["a.example:443  b.example"], [f"n{number}.example:1" for number in range(33)]),
    ],
)
def test_list_that_is_none_is_refused(value: Any) -> None:
    with fleet_in_memory() as (db, _), pytest.raises(InvalidRequestError, match=r"www\.example\.org"):
        put_setting(db, sample_act(), "reality.targets", 0, value)


def test_presets_are_what_the_setting_takes() -> None:
    known = KNOWN["reality.targets"]
    for preset in (known.personal, known.enterprise):
        assert known.check(preset)
    assert (known.personal, known.enterprise) == ([PRESET], [*PRESETS])
    with fleet_in_memory() as (db, authority):
        assert setting(db, "reality.targets") == [PRESET]
        assert reality_of(adopt_sample_node(db, authority)[0]).target == PRESET
