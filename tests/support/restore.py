"""A fleet whose record was backed up and went on: what its nodes then have, and the record as it was."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import sqlite_utils

from pharos.helm.audit.checkpoints import sign_next
from pharos.helm.backup.restore import Restored, begin_anew
from pharos.helm.ca.authority import Authority, create_fleet, load_authority
from pharos.helm.ca.sealedfile import BackupHeader
from pharos.helm.ca.vault import RecoveryKit, Vault
from pharos.helm.model.adoptions import Inventory
from pharos.helm.model.devices import Device
from pharos.helm.model.fleet import Posture
from pharos.helm.model.nodes import Node
from pharos.helm.store.changes import Act
from pharos.helm.store.checkpoints import latest_checkpoint
from pharos.helm.store.database import Database
from pharos.helm.store.denials import deny_list, deny_member
from pharos.helm.store.fleet import get_fleet
from pharos.helm.store.migrations import core_migrations
from pharos.wire.desired import Fence, Peer
from pharos.wire.pki.roles import Role
from pharos.wire.seal.denylist import sign_deny_list
from tests.support.helm import adopt_sample_node, enrol_sample_device, now, revoke_sample_device, sample_act

VAULT = Vault(bytes(32))


@attrs.frozen(kw_only=True)
class Story:
    """A record with two devices, backed up; then one of them was revoked, and a third enrolled."""

    db: Database
    """The record as it went on."""
    authority: Authority
    kit: RecoveryKit
    backup: bytes
    node: Node
    kept: Device
    lost: Device
    """Revoked after the backup."""
    late: Device
    """Enrolled after the backup."""

    def inventory(self, **changes: Any) -> Inventory:
        """What the node has by now."""
        fleet = get_fleet(self.db)
        sign_next(self.db, self.authority, at=sample_act().at, everything=True)
        stored = latest_checkpoint(self.db)
        assert stored is not None
        told = Inventory(
            applied=Fence(fleet.epoch, 1, fleet.revision),
            peers=(peer_of(self.kept), peer_of(self.late)),
            deny_list=sign_deny_list(deny_list(self.db), signing_key=self.authority.signing),
            checkpoint=stored.blob(fleet.id),
        )
        return attrs.evolve(told, **changes)

    @contextmanager
    def restored(self, *, at: int | None = None) -> Iterator[tuple[Database, Restored]]:
        """A helm that was restored from the backup."""
        with opened(self.backup) as db:
            fleet = get_fleet(db)
            header = BackupHeader(
                fleet=fleet.id, at=fleet.created_at, epoch=fleet.epoch, with_root=True, by="test", kit=b"", helm=b""
            )
            yield db, begin_anew(db, VAULT, self.kit, header, Act(actor="operator", at=at or sample_act().at))


@contextmanager
def opened(content: bytes) -> Iterator[Database]:
    """A record in memory."""
    db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    try:
        db.deserialize(content)
        db.execute("PRAGMA foreign_keys = ON")
        db.row_factory = sqlite3.Row
        yield db
    finally:
        db.close()


@contextmanager
def story() -> Iterator[Story]:
    """Tell it."""
    empty = sqlite3.connect(":memory:", isolation_level=None)
    empty.row_factory = sqlite3.Row
    core_migrations.apply(sqlite_utils.Database(empty))
    kit = create_fleet(empty, VAULT, bytes(32), Posture.PERSONAL, now=now())
    content = empty.serialize()
    empty.close()
    with opened(content) as db:
        authority = load_authority(db, VAULT, now=now())
        node, _ = adopt_sample_node(db, authority)
        kept, lost = enrol_sample_device(db, 1, "kept"), enrol_sample_device(db, 2, "lost")
        backup = db.serialize()
        late = enrol_sample_device(db, 3, "late")
        revoke_sample_device(db, lost.id)
        deny_member(db, sample_act(), Role.DEVICE, lost.id, tunnel_key=lost.awg_key)
        yield Story(db=db, authority=authority, kit=kit, backup=backup, node=node, kept=kept, lost=lost, late=late)


def peer_of(device: Device, **changes: Any) -> Peer:
    """A device as a node serves it."""
    peer = Peer(
        device_id=device.id,
        awg_key=device.awg_key,
        derive_key=device.derive_key,
        generation=1,
        addresses=(f"{device.address4}/32", f"{device.address6}/128"),
    )
    return attrs.evolve(peer, **changes)
