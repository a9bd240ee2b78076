"""What a restored helm takes over from its nodes, and what people make of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import pytest

from pharos.helm.backup.adoption import UNREADABLE, take_inventory
from pharos.helm.backup.decide import adopt_peer, refuse_peer
from pharos.helm.backup.fence import FARTHEST, next_epoch, raise_epoch
from pharos.helm.errors import ConflictError, StaleVersionError
from pharos.helm.model.adoptions import Adoption, AdoptionState
from pharos.helm.store.adoptions import adoptions_of, held_peers, must_be_read, waiting_nodes
from pharos.helm.store.alerts import standing_alert
from pharos.helm.store.database import Database
from pharos.helm.store.denials import deny_list
from pharos.helm.store.devices import get_device, list_devices
from pharos.helm.store.fleet import get_fleet
from pharos.helm.store.pairs import pairs_of_node
from pharos.helm.store.pools import take_addresses
from pharos.helm.trust.witness import FORKED, hear_checkpoint
from pharos.wire.desired import Fence, Peer
from pharos.wire.errors import RemoteProtocolError
from pharos.wire.ids import DeviceId, NodeId
from pharos.wire.pki.roles import Role
from tests.support.helm import adopt_sample_node, enrol_sample_device, sample_act, sample_keys
from tests.support.restore import Story, peer_of, story


@pytest.fixture
def told() -> Iterator[Story]:
    with story() as made:
        yield made


@pytest.fixture
def db(told: Story) -> Iterator[Database]:
    with told.restored() as (restored, _):
        yield restored


def take(db: Database, told: Story, node_id: NodeId | None = None, **changes: Any) -> None:
    take_inventory(db, told.authority, node_id or told.node.id, told.inventory(**changes), at=sample_act().at)


def waiting(db: Database, device_id: DeviceId) -> Adoption:
    (adoption,) = [a for a in adoptions_of(db, device_id) if a.state is AdoptionState.WAITING]
    return adoption


def test_device_enrolled_after_the_backup_is_held_until_somebody_decides(told: Story, db: Database) -> None:
    assert held_peers(db, told.node.id) == []
    take(db, told)
    assert held_peers(db, told.node.id) == [peer_of(told.late)]
    assert waiting_nodes(db) == [told.node.id]
    # Read again, as after a lost answer, it is one row all the same.
    take(db, told)
    assert waiting(db, told.late.id).as_peer() == peer_of(told.late)
    other, _ = adopt_sample_node(db, told.authority, "oslo")
    assert held_peers(db, other.id) == []


def test_adopted_device_is_of_the_record_with_the_keys_and_addresses_of_its_tunnel(told: Story, db: Database) -> None:
    take(db, told)
    before = get_fleet(db).revision
    found = waiting(db, told.late.id)
    adopted = adopt_peer(db, sample_act(), found.id, found.version, name="phone")
    assert adopted.state is AdoptionState.ADOPTED
    device = get_device(db, told.late.id)
    assert (device.name, device.awg_key, device.derive_key) == ("phone", told.late.awg_key, told.late.derive_key)
    assert (device.address4, device.address6) == (told.late.address4, told.late.address6)
    assert "enrols anew" in device.note
    assert not {device.sealing_key, device.noise_key} & {told.late.sealing_key, told.late.noise_key}
    assert held_peers(db, told.node.id) == []
    assert get_fleet(db).revision > before
    with pytest.raises(StaleVersionError):
        adopt_peer(db, sample_act(), found.id, found.version)
    with pytest.raises(ConflictError, match="adopted already"):
        adopt_peer(db, sample_act(), found.id, adopted.version)
    # Told again, it is nobody new.
    take(db, told)
    assert [a.state for a in adoptions_of(db, told.late.id)] == [AdoptionState.ADOPTED]


def test_refused_device_is_denied_everywhere_and_not_asked_about_again(told: Story, db: Database) -> None:
    take(db, told)
    found = waiting(db, told.late.id)
    assert refuse_peer(db, sample_act(), found.id, found.version).state is AdoptionState.REFUSED
    assert deny_list(db).denies_member(Role.DEVICE, told.late.id)
    assert deny_list(db).denies_tunnel_key(told.late.awg_key)
    assert held_peers(db, told.node.id) == []
    take(db, told)
    assert [a.state for a in adoptions_of(db, told.late.id)] == [AdoptionState.REFUSED]


def test_decision_holds_at_every_node_that_tells_the_same_keys(told: Story, db: Database) -> None:
    other, _ = adopt_sample_node(db, told.authority, "oslo")
    liar, _ = adopt_sample_node(db, told.authority, "rome")
    take(db, told)
    take(db, told, other.id)
    take(db, told, liar.id, peers=(peer_of(told.late, awg_key=sample_keys(99).awg),))
    found = adoptions_of(db, told.late.id)
    assert {a.node_id for a in found} == {told.node.id, other.id, liar.id}
    adopt_peer(db, sample_act(), found[0].id, found[0].version)
    states = {a.node_id: a.state for a in adoptions_of(db, told.late.id)}
    assert states == {
        told.node.id: AdoptionState.ADOPTED,
        other.id: AdoptionState.ADOPTED,
        liar.id: AdoptionState.REFUSED,
    }


def test_held_addresses_are_given_to_nobody_else(told: Story, db: Database) -> None:
    take(db, told)
    # The pool of the backup would give the next device what the late one has.
    assert told.late.address4 not in take_addresses(db)
    new = enrol_sample_device(db, 9, "new")
    assert new.address4 != told.late.address4
    assert held_peers(db, told.node.id) == [peer_of(told.late)]


@pytest.mark.parametrize("same", ["awg_key", "derive_key", "addresses", "device_id"])
def test_peer_that_would_take_over_a_recorded_device_is_not_held(told: Story, db: Database, same: str) -> None:
    fake = attrs.evolve(peer_of(told.late), **{same: getattr(peer_of(told.kept), same)})
    take(db, told, peers=(fake,))
    assert held_peers(db, told.node.id) == []
    assert len(list_devices(db)) == 2


def test_generation_that_a_pair_moved_on_to_after_the_backup_comes_back(told: Story, db: Database) -> None:
    peers = (peer_of(told.kept, generation=3), peer_of(told.late, generation=2))
    take(db, told, peers=peers)
    assert pairs_of_node(db, told.node.id)[told.kept.id].acknowledged == 3
    found = waiting(db, told.late.id)
    adopt_peer(db, sample_act(), found.id, found.version)
    assert pairs_of_node(db, told.node.id)[told.late.id].generation == 2
    # One that is behind is not believed back.
    take(db, told, peers=(peer_of(told.kept, generation=1),))
    assert pairs_of_node(db, told.node.id)[told.kept.id].acknowledged == 3


def test_device_that_enrols_anew_with_its_tunnel_key_is_no_longer_held(told: Story, db: Database) -> None:
    take(db, told)
    assert held_peers(db, told.node.id)
    enrol_sample_device(db, 3, "late again")
    assert held_peers(db, told.node.id) == []


def test_node_that_lists_two_devices_with_one_key_is_not_believed(told: Story, db: Database) -> None:
    twin = peer_of(told.late, device_id=DeviceId("twin"), addresses=("10.9.9.9/32", "fd00::9/128"))
    with pytest.raises(RemoteProtocolError, match="the same AmneziaWG key"):
        take(db, told, peers=(peer_of(told.late), twin))


def test_node_that_lists_strangers_without_end_is_refused(
    told: Story, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pharos.helm.backup.adoption.MAX_WAITING", 3)
    strangers = tuple(
        Peer(
            device_id=DeviceId(f"stranger-{number}"),
            awg_key=sample_keys(100 + number).awg,
            derive_key=sample_keys(100 + number).derive,
            generation=1,
            addresses=(f"10.86.9.{number}/32", f"fd00::{number}/128"),
        )
        for number in range(1, 5)
    )
    with pytest.raises(ConflictError, match="nobody knows"):
        take(db, told, peers=strangers)


def test_subnet_of_a_router_cannot_be_adopted_as_a_device(told: Story, db: Database) -> None:
    take(db, told, peers=(peer_of(told.late, addresses=("10.99.0.0/24",)),))
    found = waiting(db, told.late.id)
    with pytest.raises(ConflictError, match="not the two addresses of a device"):
        adopt_peer(db, sample_act(), found.id, found.version)


def test_lost_audit_rows_are_told_once(told: Story, db: Database) -> None:
    take(db, told)
    alert = standing_alert(db, FORKED, "")
    assert alert is not None
    assert alert.evidence["head"] == told.inventory().checkpoint.decode("latin1").split('"head":"')[1][:64]
    other, _ = adopt_sample_node(db, told.authority, "oslo")
    take(db, told, other.id)
    count = db.execute("SELECT COUNT(*) FROM alerts WHERE kind = ?", (FORKED,)).fetchone()[0]
    assert count == 1
    # And what members keep showing is the same cause.
    assert hear_checkpoint(db, told.authority, sample_act(), other.id, told.inventory().checkpoint) > 0
    assert db.execute("SELECT COUNT(*) FROM alerts WHERE kind = ?", (FORKED,)).fetchone()[0] == 1


def test_nothing_is_told_of_an_audit_that_lost_nothing(told: Story) -> None:
    inventory = told.inventory()
    whole = attrs.evolve(told, backup=told.db.serialize())
    with whole.restored() as (db, _):
        take_inventory(db, told.authority, told.node.id, inventory, at=sample_act().at)
        assert standing_alert(db, FORKED, "") is None


@pytest.mark.parametrize("part", ["deny_list", "checkpoint"])
def test_what_the_fleet_did_not_sign_is_not_believed_and_told(told: Story, db: Database, part: str) -> None:
    blob: bytes = getattr(told.inventory(), part)
    changes: dict[str, Any] = {part: blob[:5] + bytes([blob[5] ^ 1]) + blob[6:]}
    take(db, told, **changes)
    assert standing_alert(db, UNREADABLE, told.node.id) is not None
    assert deny_list(db).denies_member(Role.DEVICE, told.lost.id) is (part != "deny_list")


def test_epoch_is_larger_than_the_backups_the_clocks_and_any_nodes() -> None:
    assert next_epoch(5, 9_000_000) == 9
    assert next_epoch(5, 2_000_000) == 6


def test_node_that_obeys_a_later_epoch_raises_the_fleets(told: Story, db: Database) -> None:
    epoch = get_fleet(db).epoch
    other, _ = adopt_sample_node(db, told.authority, "oslo")
    take(db, told)
    assert get_fleet(db).epoch == epoch
    take(db, told, other.id, applied=Fence(epoch + 7, 1, 1))
    assert get_fleet(db).epoch == epoch + 8
    # Nobody but this helm has told the first one anything since it was read.
    assert not must_be_read(db, told.node.id)
    assert not must_be_read(db, other.id)
    third, _ = adopt_sample_node(db, told.authority, "rome")
    assert must_be_read(db, third.id)


def test_node_that_names_an_epoch_out_of_reach_is_refused(told: Story, db: Database) -> None:
    at = sample_act().at
    with pytest.raises(ConflictError, match="no helm of this fleet"):
        raise_epoch(db, get_fleet(db).epoch + FARTHEST + 10, at=at)
    assert raise_epoch(db, 1, at=at) == get_fleet(db).epoch


def test_fleet_that_was_never_restored_reads_nobody_first(told: Story) -> None:
    assert not must_be_read(told.db, told.node.id)
