"""Row 72. Position: runs helm, with its signing key. Wants: devices to send their traffic to a node of theirs.

Countermeasure: a device knows the nodes of its first profile by their keys. One that appears later is not chosen by
itself for a day; one whose keys change is refused unless its old ones say so or the user does; a REALITY key counts
only with the word of the node that is known; and where there is a fleet lock, whose key helm never had, a node that it
has not signed is refused. What is attacked is caravel's own store and choice, with bundles that the fleet's true key
has signed and sealed.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest

from pharos.caravel.client import Client
from pharos.caravel.errors import NodeRefusedError, NoSuchNodeError
from pharos.caravel.profiles import ways
from pharos.caravel.profiles.pins import Pins, Standing
from pharos.caravel.profiles.store import Enrolled, ProfileStore, generate_secrets
from pharos.caravel.tunnel.realityplan import RealityPlan
from pharos.helm.ca.authority import Authority
from pharos.helm.fleet.lock import begin_lock, sign_nodes
from pharos.helm.model.devices import Device
from pharos.helm.model.nodes import Node
from pharos.helm.profiles.seal import current_bundle
from pharos.helm.store.database import Database
from pharos.helm.store.devices import get_device
from pharos.helm.store.fleet import get_fleet, next_revision
from pharos.helm.store.members import note_member
from pharos.helm.store.nodes import list_nodes
from pharos.helm.store.realitykeys import put_reality_key
from pharos.wire.ids import FleetId, NodeId
from pharos.wire.noise.keys import KeyPair
from pharos.wire.pki.keys import certificate_from_der
from pharos.wire.pki.profile import spki_hash
from pharos.wire.reports import RealityKey
from pharos.wire.seal.lock import LockKey
from pharos.wire.seal.realitykey import prove_reality_key
from tests.support.helm import adopt_sample_node, enrol_sample_device, fleet_in_memory, sample_act

AT = 1_800_000_000_000_000


@attrs.define
class Helm:
    """The enemy's: every right that helm has, and a device that believes what its fleet has signed."""

    db: Database
    authority: Authority
    device: Device
    store: ProfileStore
    enrolled: Enrolled

    @property
    def client(self) -> Client:
        return Client(self.store)

    def tell(self) -> None:
        """Let the device have the newest profile, as a sync does."""
        next_revision(self.db)
        bundle = current_bundle(self.db, self.authority, self.device, at=AT)
        manifest = self.enrolled.verified_manifest(datetime.datetime.now(datetime.UTC))
        kept = self.store.bundle()
        opened = self.enrolled.open(bundle.sealed, manifest, newest=None if kept is None else kept[0])
        self.store.save_bundle(opened, bundle.sealed)

    def add(self, name: str) -> Node:
        return adopt_sample_node(self.db, self.authority, name)[0]

    def rekey(self, node: Node) -> None:
        """Put keys of the enemy's in place of a node's: who dials it reaches them."""
        keys = (KeyPair.generate().public, KeyPair.generate().public, node.id)
        self.db.execute("UPDATE nodes SET awg_key = ?, derive_key = ? WHERE id = ?", keys)

    def hand_out(self, node: Node, pair: KeyPair) -> None:
        """Say that a node has this REALITY key: who dials it by that reaches the enemy, who stands before the node."""
        fleet = self.authority.trust.fleet
        proof = prove_reality_key(
            pair, fleet=fleet, node=node.id, generation=1, public_key=pair.public, random=os.urandom(64)
        )
        put_reality_key(self.db, node.id, RealityKey(generation=1, public_key=pair.public, proof=proof), at=AT)
        note_member(self.db, node.id, at=AT, reality_port=443)

    def drop(self, node: Node) -> None:
        self.db.execute("UPDATE nodes SET state = 'revoked' WHERE id = ?", (node.id,))

    def chosen(self) -> str:
        """Return the node that the device connects to when nobody names one."""
        self.client.connect()
        return self.client.source().choices().known[0].name

    def reality_keys(self, name: str) -> set[bytes]:
        """Return by which REALITY keys the device would dial a node that is named."""
        plans = [way.plan for way in self.client.source().choices(name).known]
        return {
            way.endpoint.settings.public_key for plan in plans if isinstance(plan, RealityPlan) for way in plan.ways
        }


@contextmanager
def enemy(folder: Path, *, lock: LockKey | None = None) -> Iterator[Helm]:
    """A fleet with one true node, and a device that has heard of it; then its helm falls."""
    with fleet_in_memory() as (db, authority):
        true, _ = adopt_sample_node(db, authority, "true")
        secrets = generate_secrets()
        sample = enrol_sample_device(db, 1)
        db.execute("UPDATE devices SET sealing_key = ? WHERE id = ?", (secrets.sealing.public, sample.id))
        if lock is not None:
            begin_lock(db, sample_act(), lock.public, {true.id: signed(lock, authority.trust.fleet, true)})
        store = ProfileStore(folder / "device")
        enrolled = Enrolled(
            device_id=sample.id,
            secrets=secrets,
            certificate=b"",
            root_hash=root_hash_of(db),
            manifest=authority.manifest,
            beacons=(),
        )
        store.save_enrolled(enrolled)
        helm = Helm(db, authority, get_device(db, sample.id), store, enrolled)
        helm.tell()
        yield helm


def root_hash_of(db: Database) -> bytes:
    return spki_hash(certificate_from_der(get_fleet(db).root).public_key())  # type: ignore[arg-type]


def signed(lock: LockKey, fleet: FleetId, node: Node) -> bytes:
    return lock.sign_node(fleet, NodeId(node.id), awg_key=node.awg_key, derive_key=node.derive_key)


def named(helm: Helm, name: str) -> Node:
    return next(node for node in list_nodes(helm.db) if node.name == name)


@pytest.fixture
def weak(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weakened: whatever helm has signed is known."""
    monkeypatch.setattr(Pins, "standing", lambda _pins, _fleet, _node, **_: Standing.KNOWN)


def test_a72_added_node_is_not_chosen(tmp_path: Path) -> None:
    with enemy(tmp_path) as helm:
        helm.add("false")
        helm.drop(named(helm, "true"))
        helm.tell()
        with pytest.raises(NoSuchNodeError, match="name one of them yourself"):
            helm.client.connect()


@pytest.mark.usefixtures("weak")
def test_a72_turns_red_without_pins(tmp_path: Path) -> None:
    with enemy(tmp_path) as helm:
        helm.add("false")
        helm.drop(named(helm, "true"))
        helm.tell()
        assert helm.chosen() == "false"


def test_a72_turns_red_without_the_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pharos.caravel.client.WAIT", 0)
    with enemy(tmp_path) as helm:
        helm.add("false")
        helm.drop(named(helm, "true"))
        helm.tell()
        assert helm.chosen() == "false"


def test_a72_known_node_stays_the_choice_beside_any_number_of_new_ones(tmp_path: Path) -> None:
    with enemy(tmp_path) as helm:
        for number in range(5):
            helm.add(f"false-{number}")
        helm.tell()
        assert helm.chosen() == "true"


def test_a72_substituted_node_is_refused(tmp_path: Path) -> None:
    with enemy(tmp_path) as helm:
        helm.rekey(named(helm, "true"))
        helm.tell()
        assert set(helm.client.standings().values()) == {Standing.CHANGED}
        for name in (None, "true"):
            with pytest.raises((NodeRefusedError, NoSuchNodeError)):
                helm.client.connect(name)
        # Not even by leaving it out for a while.
        helm.drop(named(helm, "true"))
        helm.tell()
        helm.db.execute("UPDATE nodes SET state = 'active'")
        helm.tell()
        with pytest.raises(NodeRefusedError, match="other keys"):
            helm.client.connect("true")


@pytest.mark.usefixtures("weak")
def test_a72_turns_red_for_a_substitute_without_pins(tmp_path: Path) -> None:
    with enemy(tmp_path) as helm:
        helm.rekey(named(helm, "true"))
        helm.tell()
        assert helm.chosen() == "true"


def test_a72_reality_key_of_the_enemys_for_a_known_node_is_not_used(tmp_path: Path) -> None:
    with enemy(tmp_path) as helm:
        helm.hand_out(named(helm, "true"), KeyPair.generate())
        helm.tell()
        (told,) = helm.client.profile().nodes
        assert len(told.reality) == 2
        (examined,) = helm.client.examined().values()
        assert examined.node.reality == ()
        assert all("is not signed by the node" in refused for refused in examined.refused)
        # By AmneziaWG, whose key is pinned, it is the node that it was.
        assert helm.chosen() == "true"
        assert helm.reality_keys("true") == set()


def test_a72_turns_red_without_the_nodes_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ways, "verify_reality_key", lambda key, _proof, **_context: key)
    with enemy(tmp_path) as helm:
        pair = KeyPair.generate()
        helm.hand_out(named(helm, "true"), pair)
        helm.tell()
        assert helm.reality_keys("true") == {pair.public}


def test_a72_where_there_is_a_lock_the_enemys_node_is_refused_by_name_and_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pharos.caravel.client.WAIT", 0)
    lock = LockKey.create()
    with enemy(tmp_path, lock=lock) as helm:
        false = helm.add("false")
        helm.tell()
        assert helm.chosen() == "true"
        with pytest.raises(NodeRefusedError, match="not signed by the fleet lock"):
            helm.client.connect("false")
        # A lock of the enemy's own, and a profile without any, change nothing.
        own = LockKey.create()
        fleet = helm.authority.trust.fleet
        helm.db.execute("UPDATE fleet SET lock_key = ?", (own.public,))
        sign_nodes(helm.db, sample_act(), {false.id: signed(own, fleet, false)})
        helm.tell()
        with pytest.raises(NodeRefusedError):
            helm.client.connect("false")
        helm.db.execute("UPDATE fleet SET lock_key = NULL")
        helm.tell()
        with pytest.raises(NodeRefusedError):
            helm.client.connect("false")


def test_a72_turns_red_without_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is lost without one: the wait gives its owner a day to see the node, and no more."""
    monkeypatch.setattr("pharos.caravel.client.WAIT", 0)
    with enemy(tmp_path) as helm:
        helm.add("false")
        helm.tell()
        helm.client.connect("false")
