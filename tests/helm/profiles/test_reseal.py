"""Profiles are sealed anew when something in them changes, in batches, and devices that are online hear of it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from nacl.signing import SigningKey

from pharos.helm.ca.authority import Authority
from pharos.helm.errors import BusyError, NotFoundError
from pharos.helm.fleet.nodes import change_node
from pharos.helm.model.devices import Device
from pharos.helm.profiles import reseal as module
from pharos.helm.profiles.record import read_record
from pharos.helm.profiles.render import Renderer
from pharos.helm.profiles.reseal import reseal, run_reseal
from pharos.helm.profiles.seal import current_bundle, order_reseal
from pharos.helm.store.bundles import Bundle, due_bundles, find_bundle, is_checked, profiles_revision, put_checked
from pharos.helm.store.database import Database
from pharos.helm.store.devices import get_device
from pharos.helm.store.fleet import next_revision
from pharos.wire.errors import BundleSignatureError
from pharos.wire.ids import DeviceId
from pharos.wire.noise.keys import KeyPair
from pharos.wire.seal.envelope import open_bundle
from tests.support.helm import (
    SampleHelm,
    adopt_sample_node,
    enrol_sample_device,
    fleet_in_memory,
    open_helm,
    revoke_sample_device,
    sample_act,
)

AT = 1_800_000_000_000_000
SEALING = KeyPair.generate()


class ProfileAloneHash:
    """A hash that leaves out the signing key."""

    @staticmethod
    def sha256(data: bytes) -> Any:
        return hashlib.sha256(data[32:])


@attrs.define
class Ears:
    """An edge where everybody is online."""

    heard: list[tuple[str, int]] = attrs.field(factory=list)
    wake: trio.Event = attrs.field(factory=trio.Event)

    def notify(self, device_id: DeviceId, epoch: int, rev: int) -> bool:
        assert epoch > 0
        self.heard.append((device_id, rev))
        self.wake.set()
        return True

    async def wait_heard(self, count: int) -> None:
        with trio.fail_after(20):
            while len(self.heard) < count:
                self.wake = trio.Event()
                await self.wake.wait()


def enrol_some(db: Database, count: int) -> list[DeviceId]:
    return [enrol_sample_device(db, number).id for number in range(count)]


async def revisions(helm: SampleHelm, ids: list[DeviceId]) -> list[int]:
    found = [await helm.store.read(find_bundle, device_id) for device_id in ids]
    return [0 if bundle is None else bundle.revision for bundle in found]


async def test_change_reseals_every_device_batch_by_batch_and_tells_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH", 3)
    async with open_helm(tmp_path) as helm:
        ids = await helm.store.run(enrol_some, 8)
        ears = Ears()
        await reseal(helm.store, helm.context.authorities, ears)
        assert sorted(ears.heard) == [(device_id, 1) for device_id in sorted(ids)]
        await helm.store.run(adopt_sample_node, helm.authority)
        ears.heard.clear()
        commits = helm.store.commits
        done = await reseal(helm.store, helm.context.authorities, ears)
        assert helm.store.commits - commits == 3
        assert done == await helm.store.read(profiles_revision)
        assert sorted(ears.heard) == [(device_id, 2) for device_id in sorted(ids)]
        assert await helm.store.read(due_bundles, at=AT, after="", limit=9) == []


async def test_what_did_not_change_is_checked_and_nobody_is_told(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm:
        ids = await helm.store.run(enrol_some, 2)
        await reseal(helm.store, helm.context.authorities, Ears())
        await helm.store.run(next_revision)
        assert not await helm.store.read(is_checked, ids[0])
        ears = Ears()
        await reseal(helm.store, helm.context.authorities, ears)
        assert (ears.heard, await revisions(helm, ids)) == ([], [1, 1])
        assert await helm.store.read(is_checked, ids[0])


async def test_device_that_may_not_use_the_fleet_gets_no_bundle(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm:
        ids = await helm.store.run(enrol_some, 2)
        await helm.store.run(revoke_sample_device, ids[0])
        await reseal(helm.store, helm.context.authorities, Ears())
        assert await revisions(helm, ids) == [0, 1]


async def test_running_helm_seals_whatever_changes(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm, trio.open_nursery() as nursery:
        ids = await helm.store.run(enrol_some, 2)
        ears = Ears()
        nursery.start_soon(run_reseal, helm.store, helm.context.authorities, ears)
        await ears.wait_heard(2)
        await helm.store.run(adopt_sample_node, helm.authority)
        await ears.wait_heard(4)
        assert await revisions(helm, ids) == [2, 2]
        await helm.store.run(order_reseal, sample_act(), ids[1])
        await ears.wait_heard(5)
        assert await revisions(helm, ids) == [2, 3]
        nursery.cancel_scope.cancel()


def test_bundle_that_was_replaced_meanwhile_stays() -> None:
    with fleet_in_memory() as (db, authority):
        device = enrol_sample_device(db, 1)
        (due,) = due_bundles(db, at=AT, after="", limit=9)
        assert due.bundle is None
        newer = current_bundle(db, authority, device, at=AT)
        late = Bundle(epoch=newer.epoch, revision=1, profile_hash=b"old", sealed=b"old")
        assert put_checked(db, [(device.id, None, late)], checked=profiles_revision(db)) == []
        assert find_bundle(db, device.id) == newer


def test_change_while_a_batch_is_sealed_leaves_it_due() -> None:
    with fleet_in_memory() as (db, authority):
        device = enrol_sample_device(db, 1)
        read = profiles_revision(db)
        adopt_sample_node(db, authority)
        sealed = Bundle(epoch=1, revision=1, profile_hash=b"h", sealed=b"s")
        assert put_checked(db, [(device.id, None, sealed)], checked=read) == [(device.id, sealed)]
        assert [due.device_id for due in due_bundles(db, at=AT, after="", limit=9)] == [device.id]


def test_order_to_reseal_names_one_device_or_all() -> None:
    with fleet_in_memory() as (db, authority):
        devices = [enrol_sample_device(db, number) for number in range(3)]
        for device in devices:
            current_bundle(db, authority, device, at=AT)
        with pytest.raises(NotFoundError):
            order_reseal(db, sample_act(), DeviceId("stranger"))
        assert order_reseal(db, sample_act(), devices[0].id) == 1
        assert current_bundle(db, authority, get_device(db, devices[0].id), at=AT).revision == 2
        assert order_reseal(db, sample_act()) == 3
        assert [current_bundle(db, authority, device, at=AT).revision for device in devices] == [3, 2, 2]


def with_another_signing_key(authority: Authority) -> Authority:
    return attrs.evolve(authority, signing=SigningKey.generate())


def opens_with(helm: SampleHelm, bundle: Bundle, device: Device, authority: Authority) -> bool:
    try:
        open_bundle(
            bundle.sealed,
            fleet=helm.authority.trust.fleet,
            device=device.id,
            sealing_key=SEALING,
            signing_keys=[bytes(authority.signing.verify_key)],
        )
    except BundleSignatureError:
        return False
    return True


def enrol_one_who_can_read(db: Database) -> Device:
    device = enrol_sample_device(db, 1)
    db.execute("UPDATE devices SET sealing_key = ?", (SEALING.public,))
    return get_device(db, device.id)


@pytest.mark.parametrize("hashed", [False, True], ids=["weakened", "as built"])
async def test_bundle_that_was_being_sealed_while_the_signing_key_changed_is_sealed_by_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, hashed: bool
) -> None:
    """The profile is the same under both keys: were it alone what tells bundles apart, the old signature would stay."""
    if not hashed:
        monkeypatch.setattr("pharos.helm.profiles.seal.hashlib", ProfileAloneHash)
    async with open_helm(tmp_path) as helm:
        device = await helm.store.run(enrol_one_who_can_read)
        authorities = helm.context.authorities
        await helm.store.run(order_reseal, sample_act())
        old, new, seal = authorities.current, with_another_signing_key(authorities.current), module._seal

        def seal_while_it_changes(*args: Any) -> Any:
            if authorities.current is old:
                trio.from_thread.run_sync(authorities.replace, new)
                trio.from_thread.run(helm.store.run, order_reseal, sample_act())
            return seal(*args)

        monkeypatch.setattr(module, "_seal", seal_while_it_changes)
        await reseal(helm.store, authorities, Ears())
        bundle = await helm.store.read(find_bundle, device.id)
        assert bundle is not None
        assert opens_with(helm, bundle, device, new) is hashed
        assert opens_with(helm, bundle, device, old) is not hashed
        assert await helm.store.read(due_bundles, at=AT, after="", limit=9) == []


async def test_change_while_the_last_batch_is_sealed_is_in_the_profiles_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, late = module._seal, trio.Event()

    def seal(*args: Any) -> Any:
        if not late.is_set():
            trio.from_thread.run_sync(late.set)
            trio.from_thread.run(helm.store.run, rename_node, node.id)
        return real(*args)

    async with open_helm(tmp_path) as helm:
        node, _ = await helm.store.run(adopt_sample_node, helm.authority)
        device = await helm.store.run(enrol_sample_device, 1)
        monkeypatch.setattr(module, "_seal", seal)
        await reseal(helm.store, helm.context.authorities, Ears())
        record = await helm.store.read(read_record)
        profile = Renderer(record).render(device)
        bundle = await helm.store.read(find_bundle, device.id)
        assert bundle is not None
        assert bundle.profile_hash == hashlib.sha256(bytes(helm.authority.signing.verify_key) + profile).digest()
        assert await helm.store.read(is_checked, device.id)


def rename_node(db: Database, node_id: str) -> None:
    change_node(db, sample_act(), node_id, 1, {"name": "renamed"})


@pytest.mark.parametrize("busy", ["read", "run"])
async def test_busy_store_is_what_the_caller_hears_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, busy: str
) -> None:
    """Alone: who seals tries again, and a group would end helm."""

    def refuse(*_: Any, **__: Any) -> None:
        raise BusyError("held")

    async with open_helm(tmp_path) as helm:
        await helm.store.run(adopt_sample_node, helm.authority)
        await helm.store.run(enrol_some, 3)
        monkeypatch.setattr(module, "_read_batch" if busy == "read" else "put_checked", refuse)
        with pytest.raises(BusyError):
            await reseal(helm.store, helm.context.authorities, Ears())
        monkeypatch.undo()
        await reseal(helm.store, helm.context.authorities, Ears())
        assert await helm.store.read(profiles_revision) > 0
