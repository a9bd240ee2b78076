"""Whoever is revoked is on the list in the same transaction, and a list of one version never changes."""

from __future__ import annotations

import attrs
import pytest

from pharos.helm.errors import ConflictError
from pharos.helm.fleet.nodes import move_node
from pharos.helm.fleet.relays import move_relay
from pharos.helm.model.nodes import NodeAct
from pharos.helm.store import denials
from pharos.helm.store.certificates import certificates_of
from pharos.helm.store.database import Database, transact
from pharos.helm.store.denials import add_denials, deny_list, deny_order, prune_denials
from pharos.helm.store.devices import get_device
from pharos.wire.ids import DeviceId
from pharos.wire.pki.denylist import DenyEntry
from pharos.wire.pki.roles import Role
from tests.support.helm import (
    adopt_sample_node,
    adopt_sample_relay,
    enrol_sample_device,
    fleet_in_memory,
    revoke_sample_device,
    sample_act,
)

DAY = 24 * 3600


def test_new_fleet_has_no_list() -> None:
    with fleet_in_memory() as (db, _):
        assert deny_order(db).version == 0
        assert deny_list(db).entries == ()


def test_revoked_node_relay_and_device_are_denied_with_their_tunnel_keys() -> None:
    with fleet_in_memory() as (db, authority):
        node, _ = adopt_sample_node(db, authority)
        relay, _ = adopt_sample_relay(db, authority)
        device = enrol_sample_device(db, 1)
        move_node(db, sample_act(), node.id, 1, NodeAct.REVOKE)
        move_relay(db, sample_act(), relay.id, 1, NodeAct.REVOKE)
        revoke_sample_device(db, device.id)
        denied = deny_list(db)
        assert denied.order == (deny_order(db).epoch, 3)
        for role, member in ((Role.NODE, node.id), (Role.RELAY, relay.id), (Role.DEVICE, device.id)):
            assert denied.denies_member(role, member)
        assert denied.denies_tunnel_key(node.awg_key)
        assert denied.denies_tunnel_key(device.awg_key)
        (entry,) = (entry for entry in denied.entries if entry.member is not None and entry.member.id == node.id)
        assert entry.not_after == certificates_of(db, node.id)[0].not_after_at // 1_000_000


def test_revocation_that_fails_leaves_the_list_alone() -> None:
    with fleet_in_memory() as (db, _):
        device = enrol_sample_device(db, 1)

        def revoke_and_fail(db: Database) -> None:
            revoke_sample_device(db, device.id)
            raise RuntimeError("killed")

        with pytest.raises(RuntimeError):
            transact(db, revoke_and_fail)
        assert (deny_order(db).version, deny_list(db).entries) == (0, ())
        assert get_device(db, DeviceId(device.id)).state.value == "active"


def test_list_is_the_same_as_long_as_its_version_is() -> None:
    with fleet_in_memory() as (db, _):
        device = enrol_sample_device(db, 1)
        revoke_sample_device(db, device.id)
        first = deny_list(db)
        end = first.entries[0].not_after
        assert not prune_denials(db, (end + DAY) * 1_000_000)
        assert deny_list(db) == first
        assert prune_denials(db, (end + DAY + 1) * 1_000_000)
        assert deny_list(db).newer_than(first)
        assert deny_list(db).entries == ()


def test_lists_that_come_back_from_members_are_added_and_nothing_is_forgotten() -> None:
    with fleet_in_memory() as (db, _):
        revoke_sample_device(db, enrol_sample_device(db, 1).id)
        (known,) = deny_list(db).entries
        other = DenyEntry(spki_hash=bytes(32), not_after=known.not_after)
        longer = attrs.evolve(known, not_after=known.not_after + DAY)
        shorter = attrs.evolve(known, not_after=known.not_after - DAY)
        at = sample_act().at
        assert add_denials(db, (other, longer), at=at)
        assert set(deny_list(db).entries) == {other, longer}
        version = deny_order(db).version
        assert not add_denials(db, (other, shorter, known), at=at), "it is all known"
        assert deny_order(db).version == version


def test_full_list_refuses_a_revocation_and_says_what_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(denials, "MAX_ENTRIES", 1)
    with fleet_in_memory() as (db, _):
        first, second = enrol_sample_device(db, 1), enrol_sample_device(db, 2)
        revoke_sample_device(db, first.id)
        with pytest.raises(ConflictError, match="helm ca rotate"):
            transact(db, revoke_sample_device, second.id)
        assert [entry.member.id for entry in deny_list(db).entries if entry.member] == [first.id]
