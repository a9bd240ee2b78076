"""Both ends of a pair say what they derived; a pair moves on only once its device has acknowledged it."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import pytest

from pharos.helm.alerts.acts import move_alert
from pharos.helm.ca.authority import Authority
from pharos.helm.fleet.peers import Allowed, NodePeers, PeerMaker
from pharos.helm.model.alerts import AlertState
from pharos.helm.model.devices import Device
from pharos.helm.model.nodes import Node
from pharos.helm.profiles.build import profile_of
from pharos.helm.profiles.pairs import (
    DESYNC,
    MAX_COMMITMENTS,
    move_pairs,
    node_news,
    note_commitments,
    note_node_commitments,
)
from pharos.helm.profiles.record import read_record
from pharos.helm.store.alerts import standing_alert
from pharos.helm.store.bundles import profiles_revision
from pharos.helm.store.database import Database
from pharos.helm.store.fleet import get_fleet
from pharos.helm.store.pairs import Pair, Said, pairs_of_device, pairs_of_node
from pharos.wire.convert import PeerReport
from pharos.wire.ids import NodeId
from tests.support.helm import adopt_sample_node, enrol_sample_device, fleet_in_memory, sample_act

ONE, OTHER = b"11111111", b"22222222"
Scene = tuple[Database, Authority, Node, Device]


@pytest.fixture
def scene() -> Iterator[Scene]:
    """A node and a device."""
    with fleet_in_memory() as (db, authority):
        node, _ = adopt_sample_node(db, authority)
        yield db, authority, node, enrol_sample_device(db, 1)


def says(commitment: bytes, generation: int = 1) -> Said:
    return Said(generation=generation, commitment=commitment)


def report(device: Device, commitment: bytes, generation: int = 1) -> PeerReport:
    return PeerReport(
        device_id=device.id,
        awg_key=device.awg_key,
        last_handshake=0,
        received=0,
        sent=0,
        commitment=commitment,
        generation=generation,
    )


def test_what_agrees_raises_nothing_and_is_written_once(scene: Scene) -> None:
    db, _, node, device = scene
    revision = get_fleet(db).revision
    note_commitments(db, sample_act(), device.id, [(node.id, says(ONE))])
    note_node_commitments(db, sample_act(), node.id, [report(device, ONE)])
    (pair,) = pairs_of_device(db, device.id).values()
    assert (pair.device, pair.node, pair.differs) == (says(ONE), says(ONE), False)
    changes = db.total_changes
    note_commitments(db, sample_act(), device.id, [(node.id, says(ONE))])
    note_node_commitments(db, sample_act(), node.id, [report(device, ONE)])
    assert db.total_changes == changes
    assert get_fleet(db).revision == revision
    assert standing_alert(db, DESYNC, node.id) is None


@pytest.mark.parametrize("node_first", [False, True])
def test_what_differs_raises_one_alert_for_the_node(scene: Scene, *, node_first: bool) -> None:
    db, _, node, device = scene
    phone = enrol_sample_device(db, 2)
    for each in (device, phone):
        note_commitments(db, sample_act(), each.id, [(node.id, says(ONE))])
    if node_first:
        note_node_commitments(db, sample_act(), node.id, [report(device, ONE), report(phone, ONE)])
        note_commitments(db, sample_act(), device.id, [(node.id, says(OTHER))])
    else:
        note_node_commitments(db, sample_act(), node.id, [report(device, OTHER), report(phone, OTHER)])
    alert = standing_alert(db, DESYNC, node.id)
    assert alert is not None
    assert alert.evidence["devices"] == (1 if node_first else 2)
    assert db.execute("SELECT COUNT(*) FROM alerts").fetchone()[0] == 1


def test_alert_ends_when_they_agree_again(scene: Scene) -> None:
    db, _, node, device = scene
    note_commitments(db, sample_act(), device.id, [(node.id, says(ONE))])
    note_node_commitments(db, sample_act(), node.id, [report(device, OTHER)])
    note_node_commitments(db, sample_act(), node.id, [report(device, ONE)])
    assert standing_alert(db, DESYNC, node.id) is None


def test_pair_moves_only_once_the_alert_is_confirmed_and_the_device_has_acknowledged(scene: Scene) -> None:
    db, _, node, device = scene
    note_commitments(db, sample_act(), device.id, [(node.id, says(ONE))])
    disagreement = [report(device, OTHER)]
    note_node_commitments(db, sample_act(), node.id, disagreement)
    assert pairs_of_device(db, device.id)[node.id].generation == 1
    # Nothing moves while nobody has looked, however often it is seen.
    note_node_commitments(db, sample_act(), node.id, disagreement)
    alert = standing_alert(db, DESYNC, node.id)
    assert alert is not None
    assert alert.state is AlertState.OPEN
    move_alert(db, sample_act(), alert.id, alert.version, "acknowledge")
    assert node_news(db, node.id, disagreement)
    before = profiles_revision(db)
    note_node_commitments(db, sample_act(), node.id, disagreement)
    pair = pairs_of_device(db, device.id)[node.id]
    assert (pair.generation, pair.acknowledged) == (2, 1)
    assert profiles_revision(db) > before
    assert standing_alert(db, DESYNC, node.id) is None
    # The device hears of the next one, and the node uses the old one still.
    (shown,) = profile_of(read_record(db), device).nodes
    assert (shown.generation, shown.next_generation) == (1, 2)
    revision = get_fleet(db).revision
    note_commitments(db, sample_act(), device.id, [(node.id, says(ONE, generation=2))])
    assert get_fleet(db).revision > revision
    assert pairs_of_device(db, device.id)[node.id].acknowledged == 2
    (shown,) = profile_of(read_record(db), device).nodes
    assert (shown.generation, shown.next_generation) == (2, 0)


def test_words_about_two_generations_are_not_compared(scene: Scene) -> None:
    db, _, node, device = scene
    note_commitments(db, sample_act(), device.id, [(node.id, says(ONE))])
    move_pairs(db, sample_act(), pairs_of_node(db, node.id).values())
    note_commitments(db, sample_act(), device.id, [(node.id, says(OTHER, generation=2))])
    note_node_commitments(db, sample_act(), node.id, [report(device, ONE, generation=1)])
    assert standing_alert(db, DESYNC, node.id) is None


def test_pair_on_its_way_does_not_move_again(scene: Scene) -> None:
    db, _, node, device = scene
    pair = Pair(device_id=device.id, node_id=node.id)
    assert move_pairs(db, sample_act(), [pair]) == 1
    assert move_pairs(db, sample_act(), pairs_of_node(db, node.id).values()) == 0
    assert move_pairs(db, sample_act(), [attrs.evolve(pair, generation=2**32 - 1, acknowledged=2**32 - 1)]) == 0


def test_words_of_strangers_and_about_strangers_are_passed_over(scene: Scene) -> None:
    db, _, node, device = scene
    many = [(NodeId(f"n{number}"), says(ONE)) for number in range(MAX_COMMITMENTS + 1)]
    note_commitments(db, sample_act(), device.id, [*many, (node.id, says(ONE))])
    note_commitments(db, sample_act(), device.id, [(node.id, says(b"short"))])
    assert pairs_of_device(db, device.id) == {}
    note_node_commitments(db, sample_act(), node.id, [report(device, ONE)])
    assert pairs_of_node(db, node.id) == {}


def test_node_hears_of_a_generation_through_its_peer(scene: Scene) -> None:
    db, _, node, device = scene
    note_commitments(db, sample_act(), device.id, [(node.id, says(ONE))])
    move_pairs(db, sample_act(), pairs_of_node(db, node.id).values())
    allowed = Allowed(devices={device.id: device}, user_ends={}, leases={})
    maker = PeerMaker()
    assert NodePeers(read_record(db), allowed, maker).of(node)[device.id].generation == 1
    note_commitments(db, sample_act(), device.id, [(node.id, says(ONE, generation=2))])
    assert NodePeers(read_record(db), allowed, maker).of(node)[device.id].generation == 2
