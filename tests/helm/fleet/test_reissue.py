"""New parameters take hold at once, and the old ones end only when nobody needs them any more."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import pytest

from pharos.helm.ca.authority import Authority
from pharos.helm.errors import ConflictError
from pharos.helm.fleet.nodes import change_node
from pharos.helm.fleet.reissue import LIFETIME, end_reissues, reissue_fleet, reissue_node
from pharos.helm.model.devices import Device
from pharos.helm.model.users import Protocol
from pharos.helm.profiles.build import profile_of
from pharos.helm.profiles.record import read_record_for
from pharos.helm.profiles.seal import current_bundle
from pharos.helm.store.bundles import find_bundle, note_held
from pharos.helm.store.database import Database
from pharos.helm.store.fleet import get_fleet
from pharos.helm.store.nodes import NODES
from pharos.helm.store.records import get_record
from pharos.helm.store.reissues import previous_endpoints
from tests.support.helm import STARTED_AT, adopt_sample_node, enrol_sample_device, fleet_in_memory, sample_act
from tests.support.realitynode import Machine, machine

LATER = STARTED_AT + 10**9
ACT = sample_act(at=LATER)


def syncs(db: Database, authority: Authority, device: Device, at: int) -> None:
    """The device fetches its newest bundle, and says so the next time."""
    current_bundle(db, authority, device, at=at)
    bundle = find_bundle(db, device.id)
    assert bundle is not None
    note_held(db, device.id, epoch=bundle.epoch, revision=bundle.revision, at=at)


def test_old_parameters_stay_on_the_spare_port_while_a_device_may_need_them() -> None:
    with fleet_in_memory() as (db, authority):
        node, _ = adopt_sample_node(db, authority)
        here, away = (enrol_sample_device(db, number) for number in (1, 2))
        for device in (here, away):
            syncs(db, authority, device, STARTED_AT)
        before = get_fleet(db).revision
        changed = reissue_node(db, ACT, node.id, node.version)
        assert changed.awg_parameters != node.awg_parameters
        assert get_fleet(db).revision == before + 1
        ((endpoint,),) = previous_endpoints(db).values()
        assert (endpoint.port, endpoint.awg, endpoint.until) == (2053, node.awg_parameters, LATER + LIFETIME)
        syncs(db, authority, here, LATER + 1)
        assert end_reissues(db, sample_act(at=LATER + 2)) == 0
        syncs(db, authority, away, LATER + 3)
        assert end_reissues(db, sample_act(at=LATER + 4)) == 1
        assert previous_endpoints(db) == {}
        assert get_fleet(db).revision == before + 2


def test_device_that_only_was_sealed_a_newer_bundle_has_acknowledged_nothing() -> None:
    with fleet_in_memory() as (db, authority):
        node, _ = adopt_sample_node(db, authority)
        device = enrol_sample_device(db, 1)
        syncs(db, authority, device, STARTED_AT)
        reissue_node(db, ACT, node.id, node.version)
        current_bundle(db, authority, device, at=LATER + 1)
        assert end_reissues(db, sample_act(at=LATER + 2)) == 0
        assert end_reissues(db, sample_act(at=LATER + LIFETIME - 1)) == 0
        assert end_reissues(db, sample_act(at=LATER + LIFETIME)) == 1, "a device that never came back holds up nothing"


def test_node_that_still_serves_older_ones_is_left_as_it_is() -> None:
    with fleet_in_memory() as (db, authority):
        a, _ = adopt_sample_node(db, authority, "a")
        b, _ = adopt_sample_node(db, authority, "b")
        device = enrol_sample_device(db, 1)
        syncs(db, authority, device, STARTED_AT)
        a = reissue_node(db, ACT, a.id, a.version)
        with pytest.raises(ConflictError, match="1 devices"):
            reissue_node(db, ACT, a.id, a.version)
        done, left = reissue_fleet(db, ACT)
        assert [node.name for node in done] == ["b"]
        assert list(left) == ["a"]
        assert get_record(db, NODES, b.id).awg_parameters != b.awg_parameters


def test_node_without_a_spare_port_has_no_place_for_the_old_ones() -> None:
    with fleet_in_memory() as (db, authority):
        node, _ = adopt_sample_node(db, authority)
        node = change_node(db, ACT, node.id, node.version, {"spare_ports": []})
        with pytest.raises(ConflictError, match="no spare port"):
            reissue_node(db, ACT, node.id, node.version)
        assert attrs.evolve(node) == get_record(db, NODES, node.id)


@pytest.mark.parametrize(
    "protocols", [{Protocol.AMNEZIAWG}, {Protocol.REALITY}, set(Protocol)], ids=["amneziawg", "reality", "both"]
)
def test_only_what_is_asked_for_is_replaced_and_stays_served(protocols: set[Protocol]) -> None:
    with fleet_in_memory() as (db, authority):
        node, _ = adopt_sample_node(db, authority)
        changed = reissue_node(db, ACT, node.id, node.version, protocols)
        assert (changed.awg_parameters != node.awg_parameters) is (Protocol.AMNEZIAWG in protocols)
        assert (changed.reality != node.reality) is (Protocol.REALITY in protocols)
        ((endpoint,),) = previous_endpoints(db).values()
        assert endpoint.awg == (node.awg_parameters if Protocol.AMNEZIAWG in protocols else None)
        assert endpoint.reality == (node.reality if Protocol.REALITY in protocols else None)
        assert endpoint.port == 2053


def test_one_protocol_waits_for_itself_alone() -> None:
    with fleet_in_memory() as (db, authority):
        node, _ = adopt_sample_node(db, authority)
        syncs(db, authority, enrol_sample_device(db, 1), STARTED_AT)
        node = reissue_node(db, ACT, node.id, node.version, {Protocol.REALITY})
        for protocols in ({Protocol.REALITY}, set(Protocol)):
            with pytest.raises(ConflictError, match="1 devices"):
                reissue_node(db, ACT, node.id, node.version, protocols)
        node = reissue_node(db, ACT, node.id, node.version, {Protocol.AMNEZIAWG})
        ((of_reality, of_amneziawg),) = previous_endpoints(db).values()
        assert (of_reality.awg, of_amneziawg.reality) == (None, None)
        assert of_reality.port == of_amneziawg.port == 2053, "TCP and UDP do not get in each other's way"


def test_device_that_may_not_use_what_is_new_holds_up_nothing() -> None:
    """Its bundle stays what it was: that it was compared since the re-issue is enough."""
    with fleet_in_memory() as (db, authority):
        node, _ = adopt_sample_node(db, authority)
        device = enrol_sample_device(db, 1)
        syncs(db, authority, device, STARTED_AT)
        held = find_bundle(db, device.id)
        # No profile names REALITY, for the node does not serve it.
        reissue_node(db, ACT, node.id, node.version, {Protocol.REALITY})
        assert end_reissues(db, sample_act(at=LATER + 1)) == 0
        syncs(db, authority, device, LATER + 2)
        assert find_bundle(db, device.id) == held
        assert end_reissues(db, sample_act(at=LATER + 3)) == 1


def test_reissue_of_an_earlier_version_ends_by_the_time_of_bundles() -> None:
    with fleet_in_memory() as (db, authority):
        node, _ = adopt_sample_node(db, authority)
        device = enrol_sample_device(db, 1)
        syncs(db, authority, device, STARTED_AT)
        reissue_node(db, ACT, node.id, node.version)
        db.execute("UPDATE reissues SET revision = 0, reality = 'null'")
        assert end_reissues(db, sample_act(at=LATER + 1)) == 0
        syncs(db, authority, device, LATER + 2)
        assert end_reissues(db, sample_act(at=LATER + 3)) == 1


@attrs.frozen
class Scene:
    """A node that serves REALITY, and three devices that know it."""

    machine: Machine
    devices: list[Device]

    @property
    def db(self) -> Database:
        return self.machine.db

    def syncs(self, device: Device, at: int) -> None:
        syncs(self.db, self.machine.authority, device, at)

    def reissue(self) -> Machine:
        node = get_record(self.db, NODES, self.machine.node.id)
        return attrs.evolve(self.machine, node=reissue_node(self.db, ACT, node.id, node.version))

    def ways_of(self, device: Device) -> list[tuple[int, int]]:
        """Port and generation of each way in by REALITY in the newest profile."""
        (node,) = profile_of(read_record_for(self.db, device.id), device).nodes
        return [(way.port, way.generation) for way in node.reality]


@pytest.fixture
def scene() -> Iterator[Scene]:
    with machine() as made:
        devices = [enrol_sample_device(made.db, number) for number in (1, 2, 3)]
        made.says(made.key(1), port=443)
        for device in devices:
            syncs(made.db, made.authority, device, STARTED_AT)
        yield Scene(made, devices)


def test_devices_hear_of_the_new_key_one_by_one_and_the_old_one_stays_for_the_last(scene: Scene) -> None:
    db, devices = scene.db, scene.devices
    assert scene.ways_of(devices[0]) == [(443, 1), (2053, 1)]
    after = scene.reissue()
    # The node has not said its key yet; where the old one went is known.
    assert scene.ways_of(devices[0]) == [(2053, 1), (443, 1)]
    after.says(after.key(2), after.key(1), port=443)
    for number, device in enumerate(devices):
        assert scene.ways_of(device) == [(443, 2), (2053, 2), (2053, 1), (443, 1)]
        assert end_reissues(db, sample_act(at=LATER + number)) == 0
        scene.syncs(device, LATER + number)
    assert end_reissues(db, sample_act(at=LATER + 9)) == 1
    assert scene.ways_of(devices[0]) == [(443, 2), (2053, 2)]


def test_who_has_heard_of_the_reissue_but_not_of_the_new_key_has_not_heard_enough(scene: Scene) -> None:
    db = scene.db
    after = scene.reissue()
    for device in scene.devices:
        scene.syncs(device, LATER + 1)
    assert end_reissues(db, sample_act(at=LATER + 2)) == 0, "they would lose REALITY, not knowing the new key"
    after.says(after.key(2), after.key(1), port=443)
    assert end_reissues(db, sample_act(at=LATER + 3)) == 0
    for device in scene.devices:
        scene.syncs(device, LATER + 4)
    assert end_reissues(db, sample_act(at=LATER + 5)) == 1


def test_node_that_never_says_its_new_key_keeps_the_old_one_for_fourteen_days(scene: Scene) -> None:
    db = scene.db
    scene.reissue()
    for device in scene.devices:
        scene.syncs(device, LATER + 1)
    assert end_reissues(db, sample_act(at=LATER + LIFETIME - 1)) == 0
    assert scene.ways_of(scene.devices[0]) == [(2053, 1), (443, 1)]
    assert end_reissues(db, sample_act(at=LATER + LIFETIME)) == 1
    assert scene.ways_of(scene.devices[0]) == []


def test_away_device_finds_the_new_key_s_profile_for_fourteen_days(scene: Scene) -> None:
    db, (here, there, away) = scene.db, scene.devices
    after = scene.reissue()
    after.says(after.key(2), after.key(1), port=443)
    for device in (here, there):
        scene.syncs(device, LATER + 1)
    assert end_reissues(db, sample_act(at=LATER + LIFETIME - 1)) == 0
    assert previous_endpoints(db)[scene.machine.node.id][0].reality == scene.machine.node.reality
    assert end_reissues(db, sample_act(at=LATER + LIFETIME)) == 1
    assert previous_endpoints(db) == {}
    assert scene.ways_of(away) == [(443, 2), (2053, 2)]
