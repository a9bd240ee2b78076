"""What members keep of the audit: they hold the largest checkpoint they were shown, and so find out a forked record."""

from __future__ import annotations

from typing import Final

from pharos.helm.alerts.acts import raise_alert
from pharos.helm.ca.authority import Authority
from pharos.helm.errors import AuditError
from pharos.helm.model.alerts import Severity
from pharos.helm.store.audit import audit_head, audit_rows
from pharos.helm.store.changes import Act
from pharos.helm.store.checkpoints import find_checkpoint
from pharos.helm.store.database import Database
from pharos.wire.errors import RemoteProtocolError
from pharos.wire.seal.checkpoint import Checkpoint, verify_checkpoint

FORKED: Final = "audit_forked"
"""One alert for the fleet: every member that was up has seen the same."""


def hear_checkpoint(db: Database, authority: Authority, act: Act, member_id: str, blob: bytes) -> int:
    """Return the size of the checkpoint that a member keeps, 0 for none; one that our record denies is an alert.

    A blob that the fleet did not sign is the member's own lie, and says nothing about us.
    """
    if not blob:
        return 0
    try:
        kept = verify_checkpoint(blob, fleet=authority.trust.fleet, signing_keys=authority.verify_keys)
    except RemoteProtocolError:
        return 0
    if not is_ours(db, kept):
        raise_alert(
            db,
            act,
            FORKED,
            Severity.CRITICAL,
            f"a member keeps a signed checkpoint of audit row {kept.size} that this record does not hold: it was"
            " altered, or restored from a backup",
            evidence={"size": kept.size, "head": kept.head.hex(), "at": kept.at, "member": member_id},
        )
    return kept.size


def is_ours(db: Database, kept: Checkpoint) -> bool:
    """Return whether this record holds the row that a checkpoint names, or can deny nothing of it."""
    if kept.size > audit_head(db).sequence:
        return False
    known = find_checkpoint(db, kept.size)
    if known is not None:
        return known.hash == kept.head
    try:
        rows = audit_rows(db, kept.size - 1, 1)
    except AuditError:
        # Whoever verifies the chain reports that row.
        return True
    # Rows and checkpoints that were pruned can deny nothing any more.
    return not rows or rows[0].sequence != kept.size or rows[0].hash == kept.head
