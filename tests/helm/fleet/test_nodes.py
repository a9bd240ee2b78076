"""Acts on nodes and relays: one table of states for both, versions, and what devices and nodes hear of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pharos.helm.errors import ConflictError, InvalidRequestError, StaleVersionError
from pharos.helm.fleet.nodes import change_node, move_node, remove_node
from pharos.helm.fleet.relays import change_relay, move_relay, remove_relay
from pharos.helm.model.nodes import NodeAct, NodeState
from pharos.helm.store.certificates import certificates_of
from pharos.helm.store.database import Database
from pharos.helm.store.fleet import get_fleet
from pharos.helm.store.nodes import list_nodes
from pharos.helm.store.outbox import entries_after
from pharos.helm.store.relays import list_relays
from tests.support.helm import adopt_sample_node, adopt_sample_relay, fleet_in_memory, sample_act

# Written down anew, so that a slip in the product's own table is seen.
TABLE = {
    ("joining", "join"): "active",
    ("active", "drain"): "draining",
    ("draining", "resume"): "active",
    ("active", "disable"): "disabled",
    ("draining", "disable"): "disabled",
    ("disabled", "enable"): "active",
    **{(state, "revoke"): "revoked" for state in ("joining", "active", "draining", "disabled")},
}
KINDS: dict[str, tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any], Callable[..., Any]]] = {
    "node": (adopt_sample_node, change_node, move_node, remove_node),
    "relay": (adopt_sample_relay, change_relay, move_relay, remove_relay),
}


def members(db: Database, kind: str) -> list[Any]:
    return list_nodes(db) if kind == "node" else list_relays(db)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("state", NodeState)
@pytest.mark.parametrize("verb", NodeAct)
def test_act_makes_of_a_state_what_the_table_says_or_is_refused(kind: str, state: NodeState, verb: NodeAct) -> None:
    adopt, _, move, _ = KINDS[kind]
    with fleet_in_memory() as (db, authority):
        member, _ = adopt(db, authority)
        db.execute(f"UPDATE {kind}s SET state = ?", (state.value,))
        before, target = get_fleet(db).revision, TABLE.get((state.value, verb.value))
        if target is None:
            with pytest.raises(ConflictError, match=f"a {kind} that is {state.value} cannot be"):
                move(db, sample_act(), member.id, 1, verb)
            assert get_fleet(db).revision == before
            return
        moved = move(db, sample_act(), member.id, 1, verb)
        assert (moved.state.value, moved.version) == (target, 2)
        assert get_fleet(db).revision == before + 1
        kinds = [entry.kind for entry in entries_after(db, 0) if entry.noun == kind]
        assert kinds == [f"{kind}_added", f"{kind}_{verb.past}"]
        states = [certificate.state.value for certificate in certificates_of(db, member.id)]
        assert states == ["revoked" if target == "revoked" else "active"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_an_operator_says_is_changed_with_the_version_that_was_seen(kind: str) -> None:
    adopt, change, _, _ = KINDS[kind]
    with fleet_in_memory() as (db, authority):
        member, _ = adopt(db, authority)
        before = get_fleet(db).revision
        changed = change(db, sample_act(), member.id, 1, {"name": "new", "note": "n", "address": "NEW.example"})
        assert (changed.name, changed.note, changed.address, changed.version) == ("new", "n", "new.example", 2)
        assert get_fleet(db).revision == before + 1
        with pytest.raises(StaleVersionError) as stale:
            change(db, sample_act(), member.id, 1, {"name": "newer"})
        assert stale.value.current["name"] == "new"
        assert change(db, sample_act(), member.id, 2, {"name": "new"}) == changed
        assert get_fleet(db).revision == before + 1, "nothing was changed"
        for values in ({"name": "a/b"}, {"address": "a]b"}, {"note": "\x00"}):
            with pytest.raises(InvalidRequestError):
                change(db, sample_act(), member.id, 2, values)


@pytest.mark.parametrize("kind", KINDS)
def test_name_of_another_one_is_a_conflict(kind: str) -> None:
    adopt, change, _, _ = KINDS[kind]
    with fleet_in_memory() as (db, authority):
        adopt(db, authority, "a")
        member, _ = adopt(db, authority, "b")
        with pytest.raises(ConflictError, match="same name"):
            change(db, sample_act(), member.id, 1, {"name": "a"})


def test_ports_of_a_relay_stay_apart() -> None:
    with fleet_in_memory() as (db, authority):
        relay, _ = adopt_sample_relay(db, authority)
        with pytest.raises(InvalidRequestError, match="differ"):
            change_relay(db, sample_act(), relay.id, 1, {"ingress_port": relay.tunnel_port})


def test_tags_are_sorted_and_each_stands_once() -> None:
    with fleet_in_memory() as (db, authority):
        node, _ = adopt_sample_node(db, authority)
        assert change_node(db, sample_act(), node.id, 1, {"tags": ("fast", "eu", "eu")}).tags == ("eu", "fast")
        with pytest.raises(InvalidRequestError):
            change_node(db, sample_act(), node.id, 2, {"tags": ("Eu",)})


@pytest.mark.parametrize("kind", KINDS)
def test_only_a_revoked_one_is_removed_and_its_certificates_are_remembered(kind: str) -> None:
    adopt, change, move, remove = KINDS[kind]
    with fleet_in_memory() as (db, authority):
        member, _ = adopt(db, authority)
        with pytest.raises(ConflictError, match="revoke it first"):
            remove(db, sample_act(), member.id, 1)
        move(db, sample_act(), member.id, 1, NodeAct.REVOKE)
        with pytest.raises(ConflictError, match="revoked"):
            change(db, sample_act(), member.id, 2, {"note": "back"})
        with pytest.raises(StaleVersionError):
            remove(db, sample_act(), member.id, 1)
        remove(db, sample_act(), member.id, 2)
        assert members(db, kind) == []
        assert [certificate.state.value for certificate in certificates_of(db, member.id)] == ["revoked"]
