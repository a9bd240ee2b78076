"""New parameters take hold at once, and the old ones end only when nobody needs them any more."""

from __future__ import annotations

import attrs
import pytest

from pharos.helm.ca.authority import Authority
from pharos.helm.errors import ConflictError
from pharos.helm.fleet.nodes import change_node
from pharos.helm.fleet.reissue import LIFETIME, end_reissues, reissue_fleet, reissue_node
from pharos.helm.model.devices import Device
from pharos.helm.profiles.seal import current_bundle
from pharos.helm.store.bundles import find_bundle, note_held
from pharos.helm.store.database import Database
from pharos.helm.store.fleet import get_fleet
from pharos.helm.store.nodes import NODES
from pharos.helm.store.records import get_record
from pharos.helm.store.reissues import previous_endpoints
from tests.support.helm import STARTED_AT, adopt_sample_node, enrol_sample_device, fleet_in_memory, sample_act

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
        assert (endpoint.port, endpoint.awg, endpoint.until) == (8443, node.awg_parameters, LATER + LIFETIME)
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
