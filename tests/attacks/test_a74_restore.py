"""Row 74. Position: restores an old backup, or makes somebody do it. Wants: who was revoked since is in again; two
orders under one number; a ticket of before.

Countermeasure (security.md §2h): a restored helm begins an epoch that is larger than any that was ever spoken in, takes
over each node's deny list before it tells it anything, and voids what lets anybody in.
"""

from __future__ import annotations

import datetime

import pytest

from pharos.helm.accounts.tickets import invite_device
from pharos.helm.backup.adoption import take_inventory
from pharos.helm.ca.authority import Authority
from pharos.helm.model.devices import DeviceState
from pharos.helm.profiles.seal import current_bundle
from pharos.helm.store.adoptions import must_be_read
from pharos.helm.store.database import Database
from pharos.helm.store.denials import deny_list
from pharos.helm.store.devices import get_device, list_allowed_devices
from pharos.helm.store.fleet import get_fleet
from pharos.helm.store.tickets import consume_ticket
from pharos.wire.desired import Fence
from pharos.wire.ids import DeviceId, TicketId
from pharos.wire.pki.roles import Role
from pharos.wire.seal.ticket import TicketLink
from tests.support.helm import adopt_sample_node, adopt_sample_relay, sample_act
from tests.support.restore import VAULT, Story, opened, story

Number = tuple[int, int]
BY_EPOCH = "pharos.helm.backup.restore.next_epoch"


def numbers(db: Database, authority: Authority, story: Story, names: tuple[str, ...]) -> dict[Number, bytes]:
    """Change the fleet under so many names, and give each profile of one device by the number under which it went."""
    issued = {}
    for name in names:
        adopt_sample_node(db, authority, name)
        bundle = current_bundle(db, authority, get_device(db, story.kept.id), at=sample_act().at)
        issued[bundle.epoch, bundle.revision] = bundle.profile_hash
    return issued


def collisions(one: dict[Number, bytes], two: dict[Number, bytes]) -> set[Number]:
    """Numbers that name two different profiles."""
    return {number for number in one.keys() & two.keys() if one[number] != two[number]}


@pytest.mark.red_inside
def test_a74_restored_helm_never_repeats_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    with story() as told:
        issued = numbers(told.db, told.authority, told, ("oslo", "rome"))
        with told.restored() as (db, restored):
            assert restored.fleet.epoch > get_fleet(told.db).epoch
            assert not collisions(issued, numbers(db, told.authority, told, ("faro", "bonn")))
        # Red: a helm that goes on in the epoch of the backup seals other profiles under the same numbers.
        monkeypatch.setattr(BY_EPOCH, lambda before, _now: before)
        with told.restored() as (db, _):
            assert collisions(issued, numbers(db, told.authority, told, ("faro", "bonn")))


@pytest.mark.red_inside
def test_a74_same_backup_restored_twice_never_repeats_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the same second, or by clocks of which one was set back: the node that both reach tells the second."""
    at = sample_act().at
    with story() as told:
        with told.restored(at=at) as (db, first):
            take_inventory(db, told.authority, told.node.id, told.inventory(), at=at)
            issued = numbers(db, told.authority, told, ("oslo", "rome"))
            spoken = get_fleet(db)
        held = told.inventory(applied=Fence(spoken.epoch, 2, spoken.revision))
        with told.restored(at=at) as (db, second):
            assert second.fleet.epoch == first.fleet.epoch
            taken = take_inventory(db, told.authority, told.node.id, held, at=at)
            assert taken.epoch == get_fleet(db).epoch > spoken.epoch
            assert not collisions(issued, numbers(db, told.authority, told, ("faro", "bonn")))
        # Red: a helm that does not listen.
        monkeypatch.setattr("pharos.helm.backup.adoption.raise_epoch", lambda *_args, **_more: 0)
        with told.restored(at=at) as (db, _):
            take_inventory(db, told.authority, told.node.id, held, at=at)
            assert collisions(issued, numbers(db, told.authority, told, ("faro", "bonn")))


def allowed(db: Database) -> set[DeviceId]:
    return {device.id for device in list_allowed_devices(db, sample_act().at)}


@pytest.mark.red_inside
def test_a74_device_revoked_after_the_backup_stays_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with story() as told:
        with told.restored() as (db, _):
            # The old record does not know better, so nothing may be told to a node before it was read.
            assert told.lost.id in allowed(db)
            assert must_be_read(db, told.node.id)
            taken = take_inventory(db, told.authority, told.node.id, told.inventory(), at=sample_act().at)
            assert taken.revoked == 1
            assert not must_be_read(db, told.node.id)
            assert told.lost.id not in allowed(db)
            assert get_device(db, told.lost.id).state is DeviceState.REVOKED
            merged = deny_list(db)
            assert merged.denies_member(Role.DEVICE, told.lost.id)
            assert merged.denies_tunnel_key(told.lost.awg_key)
            assert merged.newer_than(deny_list(told.db))
        # Red: a helm that believes its backup.
        with told.restored() as (db, _), monkeypatch.context() as patch:
            patch.setattr("pharos.helm.backup.adoption._deny_list_of", lambda *_args: None)
            take_inventory(db, told.authority, told.node.id, told.inventory(), at=sample_act().at)
            assert told.lost.id in allowed(db)
            assert not deny_list(db).denies_member(Role.DEVICE, told.lost.id)


@pytest.mark.red_inside
def test_a74_ticket_of_before_is_void(monkeypatch: pytest.MonkeyPatch) -> None:
    with story() as told:
        adopt_sample_relay(told.db, told.authority)
        hour = datetime.timedelta(hours=1)
        invited = invite_device(told.db, sample_act(), told.authority, VAULT, device_name="phone", lifetime=hour)
        ticket: TicketId = TicketLink.parse(invited.link).ticket_id
        backup = told.db.serialize()

        def use(db: Database) -> bool:
            return consume_ticket(db, ticket, sample_act(), keys=bytes(32), device_id=told.kept.id)

        # It was used after the backup, and would be good a second time.
        with opened(backup) as db:
            assert use(db)
        again = Story(
            db=told.db,
            authority=told.authority,
            kit=told.kit,
            backup=backup,
            node=told.node,
            kept=told.kept,
            lost=told.lost,
            late=told.late,
        )
        with again.restored() as (db, restored):
            assert restored.tickets == 1
            assert not use(db)
        # Red: a restore that only copies.
        monkeypatch.setattr("pharos.helm.backup.restore._withdraw_tickets", lambda *_args: 0)
        with again.restored() as (db, _):
            assert use(db)
