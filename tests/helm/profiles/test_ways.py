"""A profile names a way in by REALITY only where the node serves it, has proven its key, and the device may use it."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import pytest

from pharos.helm.fleet.nodes import move_node
from pharos.helm.fleet.reissue import reissue_node
from pharos.helm.model.devices import Device
from pharos.helm.model.nodes import NodeAct
from pharos.helm.model.users import Group, Protocol
from pharos.helm.profiles.build import profile_of
from pharos.helm.profiles.record import read_record, read_record_for
from pharos.helm.profiles.render import Renderer
from pharos.helm.store.nodes import NODES
from pharos.helm.store.records import add_record, get_record
from pharos.helm.store.settings import put_setting
from pharos.helm.store.users import GROUPS
from pharos.wire.ids import NodeId
from pharos.wire.profile import AmneziaWgAccess, ProfileNode, RealityAccess, parse_profile, render_profile
from pharos.wire.seal.realitykey import verify_reality_key
from tests.support.helm import enrol_sample_device, sample_act
from tests.support.realitynode import Machine, machine


@attrs.frozen
class Scene:
    machine: Machine
    device: Device

    def shown(self) -> ProfileNode | None:
        """The node in the device's profile, alike by both ways of making one."""
        record = read_record(self.machine.db)
        profile = profile_of(record, self.device)
        assert Renderer(record).render(self.device) == render_profile(profile)
        assert parse_profile(render_profile(profile)) == profile
        assert read_record_for(self.machine.db, self.device.id).reality == record.reality
        return profile.nodes[0] if profile.nodes else None

    def reality(self) -> tuple[RealityAccess, ...]:
        node = self.shown()
        return () if node is None else node.reality

    def grant(self, *protocols: Protocol) -> None:
        group = Group(id="g", name="g", everybody=True, protocols=protocols)
        add_record(self.machine.db, GROUPS, group, sample_act())


@pytest.fixture
def scene() -> Iterator[Scene]:
    with machine() as made:
        yield Scene(made, enrol_sample_device(made.db, 1))


def test_way_in_says_what_the_node_has_proven(scene: Scene) -> None:
    made, reality = scene.machine, scene.machine.node.reality
    assert reality is not None
    made.says(made.key(), port=8444)
    way, spare = scene.reality()
    assert spare == attrs.evolve(way, port=2053)
    assert (way.host, way.port, way.generation) == (made.node.address, 8444, 1)
    assert (way.server_names, way.short_ids) == (reality.server_names, reality.short_ids)
    node = scene.shown()
    assert node is not None
    verify_reality_key(
        way.public_key,
        way.proof,
        derive_key=node.derive_key,
        fleet=made.fleet,
        node=node.id,
        generation=way.generation,
    )


def test_without_a_port_or_a_key_there_is_none(scene: Scene) -> None:
    made = scene.machine
    assert scene.reality() == ()
    made.says(port=443)
    assert scene.reality() == (), "its key is not known"
    made.says(made.key(), port=443)
    assert len(scene.reality()) == 2
    made.says(made.key(), port=0)
    assert scene.reality() == (), "it does not serve it any more"
    node = scene.shown()
    assert node is not None
    assert len(node.amneziawg) == 2


def test_ways_in_use_come_first_then_those_of_before(scene: Scene) -> None:
    made = scene.machine
    made.says(made.key(), port=443)
    changed = reissue_node(made.db, sample_act(), made.node.id, made.node.version)
    attrs.evolve(made, node=changed).says(made.key(2), made.key(1), port=443)
    node = scene.shown()
    assert node is not None
    seen = [
        ("awg", way.port, way.parameters == changed.awg_parameters)
        if isinstance(way, AmneziaWgAccess)
        else ("reality", way.port, way.generation == 2)
        for way in node.access
    ]
    assert seen == [
        *(("awg", 443, True), ("awg", 2053, True), ("reality", 443, True), ("reality", 2053, True)),
        *(("awg", 2053, False), ("awg", 443, False), ("reality", 2053, False), ("reality", 443, False)),
    ]


def test_device_gets_the_protocols_that_it_may_use(scene: Scene) -> None:
    made = scene.machine
    made.says(made.key(), port=443)
    scene.grant(Protocol.AMNEZIAWG)
    node = scene.shown()
    assert node is not None
    assert (len(node.amneziawg), node.reality) == (2, ())


def test_node_that_is_open_by_reality_alone_tells_the_key_that_secrets_are_derived_of(scene: Scene) -> None:
    made = scene.machine
    scene.grant(Protocol.REALITY)
    assert scene.shown() is None, "it serves none yet"
    made.says(made.key(), port=443)
    node = scene.shown()
    assert node is not None
    assert (node.amneziawg, len(node.reality), node.awg_key) == ((), 2, made.node.awg_key)


def test_fleet_that_offers_no_reality_names_none(scene: Scene) -> None:
    made = scene.machine
    made.says(made.key(), port=443)
    put_setting(made.db, sample_act(), "protocols", 0, ["amneziawg"])
    assert scene.reality() == ()


def test_draining_node_is_left_out_as_before(scene: Scene) -> None:
    made = scene.machine
    made.says(made.key(), port=443)
    node = get_record(made.db, NODES, NodeId(made.node.id))
    move_node(made.db, sample_act(), node.id, node.version, NodeAct.DRAIN)
    assert scene.shown() is None


def test_way_by_reality_costs_a_profile_some_hundred_octets(scene: Scene) -> None:
    made = scene.machine
    record = read_record(made.db)
    before = len(Renderer(record).render(scene.device))
    made.says(made.key(), port=443)
    after = len(Renderer(read_record(made.db)).render(scene.device))
    assert after - before < 450
