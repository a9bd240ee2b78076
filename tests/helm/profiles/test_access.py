"""A group grants node tags times protocols to its members; without any group everybody may use everything."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.helm.accounts.devices import change_device
from pharos.helm.accounts.users import add_group, add_user, change_group, join_group, leave_group, remove_group
from pharos.helm.model.nodes import Node
from pharos.helm.model.users import Group, Protocol
from pharos.helm.profiles.access import AccessRules, AccessSet
from pharos.helm.profiles.build import profile_of
from pharos.helm.profiles.record import read_record
from pharos.helm.profiles.render import Renderer
from pharos.helm.store.bundles import profiles_revision
from pharos.helm.store.database import Database
from pharos.helm.store.fleet import get_fleet
from pharos.helm.store.settings import put_setting, reset_setting
from pharos.wire.profile import render_profile
from tests.support.helm import adopt_sample_node, enrol_sample_device, fleet_in_memory, sample_act
from tests.support.strategies import quick

with fleet_in_memory() as (_db, _authority):
    BERLIN = attrs.evolve(adopt_sample_node(_db, _authority, "berlin")[0], tags=("eu", "fast"))
    TOKYO = attrs.evolve(adopt_sample_node(_db, _authority, "tokyo")[0], tags=("asia",))
    PLAIN = adopt_sample_node(_db, _authority, "plain")[0]
NODES = (BERLIN, TOKYO, PLAIN)
EU = Group(id="eu", name="eu", node_tags=("eu",))
ALL = Group(id="all", name="all", everybody=True)
AWG_ASIA = Group(id="awg", name="awg", node_tags=("asia", "eu"), protocols=(Protocol.AMNEZIAWG,))


def rules(*groups: Group, nodes: tuple[Node, ...] = NODES, **memberships: list[str]) -> AccessRules:
    return AccessRules(groups=groups, memberships=memberships, nodes=nodes)


def names(access: AccessSet) -> dict[str, tuple[str, ...]]:
    return {node.name: access.nodes[node.id] for node in NODES if node.id in access.nodes}


def test_without_a_group_everybody_may_use_everything() -> None:
    for user in (None, "ada"):
        assert names(rules().of(user)) == {"berlin": (), "tokyo": (), "plain": ()}


def test_once_there_is_a_group_who_is_in_none_may_use_nothing() -> None:
    assert names(rules(EU).of("ada")) == {}
    assert names(rules(EU).of(None)) == {}


def test_group_opens_the_nodes_with_one_of_its_tags() -> None:
    assert names(rules(EU, ada=["eu"]).of("ada")) == {"berlin": ()}
    assert names(rules(AWG_ASIA, ada=["awg"]).of("ada")) == {"berlin": ("amneziawg",), "tokyo": ("amneziawg",)}


def test_groups_add_up() -> None:
    assert names(rules(EU, AWG_ASIA, ada=["eu", "awg"]).of("ada")) == {"berlin": (), "tokyo": ("amneziawg",)}


def test_group_for_everybody_has_whoever_is_in_no_list() -> None:
    """A device of nobody in particular, too: in a fleet of one owner devices have no user."""
    for user in (None, "ada"):
        assert names(rules(ALL, EU).of(user)) == {"berlin": (), "tokyo": (), "plain": ()}


def test_what_the_fleet_does_not_offer_nobody_gets() -> None:
    only = attrs.evolve(rules(EU, ada=["eu"]), offered=frozenset({"reality"}))
    assert names(only.of("ada")) == {"berlin": ("reality",)}
    assert names(attrs.evolve(rules(AWG_ASIA, ada=["awg"]), offered=frozenset({"reality"})).of("ada")) == {}


def test_devices_with_the_same_groups_share_one_set() -> None:
    shared = rules(EU, ada=["eu"], bob=["eu"], eve=[])
    assert shared.of("ada") is shared.of("bob")
    assert shared.of("eve") is shared.of(None) is not shared.of("ada")


group_lists = st.lists(
    st.builds(
        Group,
        id=st.uuids().map(str),
        name=st.just("g"),
        node_tags=st.lists(st.sampled_from(["eu", "asia", "fast"]), max_size=2).map(tuple),
        protocols=st.lists(st.sampled_from(list(Protocol)), min_size=1, max_size=2, unique=True).map(tuple),
        everybody=st.booleans(),
    ),
    min_size=1,
    max_size=4,
)


@quick
@given(group_lists, st.data())
def test_another_group_never_takes_anything_away(groups: list[Group], data: st.DataObject) -> None:
    listed = data.draw(st.lists(st.sampled_from([group.id for group in groups]), unique=True))
    more = data.draw(st.sampled_from([group.id for group in groups]))
    every = tuple(protocol.value for protocol in Protocol)

    def opened(ids: list[str]) -> set[tuple[str, str]]:
        access = rules(*groups, ada=ids).of("ada")
        return {(node, protocol) for node, some in access.nodes.items() for protocol in some or every}

    assert opened(listed) <= opened([*listed, more])


def act_on(db: Database, what: str) -> None:
    """One change that alters who may use what."""
    act = sample_act()
    user = add_user(db, act, {"name": what})
    if what == "group":
        add_group(db, act, {"name": "eu", "node_tags": ["eu"]})
        return
    if what == "setting":
        put_setting(db, act, "protocols", 0, ["amneziawg"])
        reset_setting(db, act, "protocols", 1)
        return
    if what == "owner":
        device = enrol_sample_device(db, 1)
        before = profiles_revision(db)
        change_device(db, act, device.id, device.version, {"user_id": user.id})
        assert profiles_revision(db) > before
        return
    group = add_group(db, act, {"name": "eu"})
    steps = {
        "join": lambda: join_group(db, act, group.id, user.id),
        "leave": lambda: (join_group(db, act, group.id, user.id), leave_group(db, act, group.id, user.id)),
        "change": lambda: change_group(db, act, group.id, group.version, {"node_tags": ["eu"]}),
        "remove": lambda: remove_group(db, act, group.id, group.version),
    }
    before = profiles_revision(db)
    steps[what]()
    assert profiles_revision(db) > before


@pytest.mark.parametrize("what", ["group", "setting", "owner", "join", "leave", "change", "remove"])
def test_change_of_access_is_one_that_nodes_and_profiles_hear_of(what: str) -> None:
    with fleet_in_memory() as (db, _):
        before = get_fleet(db).revision
        act_on(db, what)
        assert get_fleet(db).revision > before


@pytest.mark.parametrize(
    ("name", "value", "devices_hear"),
    [
        ("policy.peer_to_peer", True, False),
        ("policy.internet", False, False),
        ("policy.closed", ["192.168.0.0/16"], False),
        ("policy.resolvers", ["10.86.0.1"], True),
    ],
)
def test_policy_is_a_setting_that_nodes_hear_of(name: str, value: object, *, devices_hear: bool) -> None:
    with fleet_in_memory() as (db, _):
        before, profiles = get_fleet(db).revision, profiles_revision(db)
        put_setting(db, sample_act(), name, 0, value)
        assert get_fleet(db).revision > before
        assert (profiles_revision(db) > profiles) == devices_hear
        field = name.removeprefix("policy.")
        expected = tuple(value) if isinstance(value, list) else value
        assert getattr(read_record(db).policy, field) == expected
        again = get_fleet(db).revision
        put_setting(db, sample_act(), name, 1, value)
        assert get_fleet(db).revision == again


def test_what_is_rendered_for_many_is_each_ones_profile() -> None:
    with fleet_in_memory() as (db, authority):
        for name, tags in (("berlin", ("eu",)), ("tokyo", ("asia",))):
            adopt_sample_node(db, authority, name, tags=tags)
        ada = add_user(db, sample_act(), {"name": "Ada"})
        group = add_group(db, sample_act(), {"name": "eu", "node_tags": ["eu"]})
        add_group(db, sample_act(), {"name": "asia", "node_tags": ["asia"], "everybody": True})
        join_group(db, sample_act(), group.id, ada.id)
        devices = [enrol_sample_device(db, 1, user_id=ada.id), enrol_sample_device(db, 2)]
        record = read_record(db)
        renderer = Renderer(record)
        for device, count in zip(devices, (2, 1), strict=True):
            profile = profile_of(record, device)
            assert len(profile.nodes) == count
            assert renderer.render(device) == render_profile(profile)
