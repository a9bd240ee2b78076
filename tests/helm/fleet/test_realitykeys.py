"""A node's word for its REALITY key counts once, if its derive key has signed it; any other one raises an alert."""

from __future__ import annotations

import attrs
import pytest

from pharos.helm.fleet import realitykeys as module
from pharos.helm.fleet.realitykeys import note_reality, reality_news
from pharos.helm.fleet.reissue import reissue_node
from pharos.helm.onboard.readopt import readopt
from pharos.helm.store.bundles import profiles_revision
from pharos.helm.store.fleet import get_fleet
from pharos.helm.store.realitykeys import reality_keys, served_reality
from pharos.wire.agent import AgentRequest
from pharos.wire.ids import NodeId
from pharos.wire.noise.keys import KeyPair
from pharos.wire.pki.csr import make_csr
from pharos.wire.pki.keys import generate_key
from pharos.wire.pki.roles import Role
from pharos.wire.reports import RealityReport
from tests.support.helm import adopt_sample_node, fleet_in_memory, sample_act
from tests.support.realitynode import Machine, machine


def test_proven_key_is_kept_and_told_of_once() -> None:
    with machine() as node:
        before = get_fleet(node.db).revision
        assert node.says(node.key())
        assert reality_keys(node.db, node.node.id)[1].public_key == node.key().public_key
        assert get_fleet(node.db).revision == before, "no profile names a node that serves no REALITY"
        assert served_reality(node.db) == {}
        assert not node.says(node.key()), "another signature by the same key says nothing new"
        assert not node.says(), "nor does what is left out"


def test_profiles_are_sealed_anew_when_the_node_begins_to_serve() -> None:
    with machine() as node:
        node.says(node.key())
        before = profiles_revision(node.db)
        assert node.says(node.key(), port=443)
        assert profiles_revision(node.db) == before + 1
        assert served_reality(node.db)[node.node.id].port == 443
        assert not node.says(port=443)
        assert node.says(port=0)
        assert served_reality(node.db) == {}


def test_key_without_the_nodes_own_word_is_refused_and_somebody_hears_of_it() -> None:
    with machine() as node:
        for false in (
            node.key(pair=KeyPair.generate(), by=KeyPair.generate()),
            attrs.evolve(node.key(), proof=bytes(64)),
            attrs.evolve(node.key(), public_key=KeyPair.generate().public),
        ):
            node.says(false, port=443)
            assert reality_keys(node.db, node.node.id) == {}
            assert "has not signed" in node.alert
        assert not node.says(false, port=443), "the alert stands, and is not raised again"
        assert node.says(node.key(), port=443)
        assert node.alert == ""


def test_without_the_proof_a_strangers_key_would_be_handed_to_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """The attack on a weakened build: what a node says is believed."""
    monkeypatch.setattr(module, "verify_reality_key", lambda key, _proof, **_context: key)
    with machine() as node:
        enemy = KeyPair.generate()
        node.says(node.key(pair=enemy, by=enemy), port=443)
        assert served_reality(node.db)[node.node.id].keys[1].public_key == enemy.public


def test_first_word_stays_though_the_node_signs_another() -> None:
    """A machine whose derive key was stolen may sign what it likes; devices go by one key a generation."""
    with machine() as node:
        node.says(node.key(), port=443)
        other = node.key(pair=KeyPair.generate())
        assert node.says(other, port=443)
        assert "another REALITY key of generation 1" in node.alert
        assert reality_keys(node.db, node.node.id)[1].public_key == node.key().public_key
        assert not node.says(other, port=443)
        assert node.says(node.key(), port=443)
        assert node.alert == ""


def test_generations_that_it_was_never_given_are_passed_over() -> None:
    with machine() as node:
        assert not node.says(node.key(2), node.key(9))
        changed = reissue_node(node.db, sample_act(), node.node.id, node.node.version)
        now = attrs.evolve(node, node=changed)
        assert now.says(node.key(2), node.key(1), node.key(9))
        assert sorted(reality_keys(node.db, node.node.id)) == [1, 2]


def test_port_that_is_not_believed_now_leaves_the_rest_to_be_written() -> None:
    with machine() as node:
        report = RealityReport(keys=(node.key(),), port=443)
        note_reality(node.db, sample_act(), node.node.id, report, moves=False)
        assert sorted(reality_keys(node.db, node.node.id)) == [1]
        assert served_reality(node.db) == {}


def test_node_that_is_unknown_and_one_of_an_earlier_version_say_nothing() -> None:
    with machine() as node:
        assert not reality_news(node.db, node.fleet, NodeId("gone"), RealityReport(keys=(node.key(),))).is_news
        assert not reality_news(node.db, node.fleet, node.node.id, None).is_news


def test_node_with_new_keys_proves_its_reality_key_anew() -> None:
    with fleet_in_memory() as (db, authority):
        first, second = KeyPair.generate(), KeyPair.generate()
        requests = [
            AgentRequest(
                role=Role.NODE, csr=make_csr(generate_key()), awg_key=KeyPair.generate().public, derive_key=key.public
            )
            for key in (first, second)
        ]
        node, _ = adopt_sample_node(db, authority, request=requests[0])
        before = Machine(db, node, first, authority)
        before.says(before.key(), port=443)
        readopt(db, sample_act(), authority, Role.NODE, node.id, node.version, requests[1], new_keys=True)
        assert reality_keys(db, node.id) == {}
        after = Machine(db, node, second, authority)
        assert after.says(after.key(), port=443)
        assert served_reality(db)[node.id].keys[1].public_key == after.key().public_key
        assert after.alert == ""
