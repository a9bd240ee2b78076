"""The epoch after a restore: larger than whatever was ever said in the fleet's name (security.md §2h)."""

from __future__ import annotations

from typing import Final

from pharos.helm.errors import ConflictError
from pharos.helm.store.audit import append_audit
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.fleet import next_revision
from pharos.wire.units import DAYS

# An epoch is the second of a restore, by a clock that may have been wrong, or one more than another epoch. A node that
# names one beyond these ten years lies: believed, it could use up all epochs that there are.
FARTHEST: Final = round(3_652 * DAYS)

_SECOND: Final = 1_000_000


def next_epoch(before: int, now: int) -> int:
    """Return the epoch of a helm that is restored from a backup of epoch ``before``, ``now`` in µs since 1970."""
    return max(before + 1, now // _SECOND)


def raise_epoch(db: Database, seen: int, *, at: int) -> int:
    """Make the fleet's epoch larger than one that a node obeys and that this record never spoke under; return it.

    Another helm was restored from the same backup, or from a later one. Nodes that were read stay so, and the profiles
    are sealed anew. A smaller ``seen`` changes nothing. ``at`` is in microseconds since 1970.

    Raises: ConflictError — no helm of this fleet can have been there.
    """
    epoch: int = db.execute("SELECT epoch FROM fleet").fetchone()[0]
    if seen < epoch:
        return epoch
    if seen > max(epoch, at // _SECOND) + FARTHEST:
        raise ConflictError(f"it obeys epoch {seen}, which no helm of this fleet can have reached; adopt it anew")
    set_epoch(db, seen + 1)
    # Since they were read, nobody but this helm has told them anything.
    db.execute("UPDATE member_states SET read_epoch = ? WHERE read_epoch = ?", (seen + 1, epoch))
    act = Act(actor="helm", at=at, via="helm")
    detail = f"{epoch} became {seen + 1}: another helm has spoken since the backup was made"
    append_audit(db, at=act.at, actor=act.actor, via=act.via, verb="epoch_raised", detail=detail)
    return seen + 1


def set_epoch(db: Database, epoch: int) -> None:
    """Begin an epoch: whatever nodes and devices hold is of an older one."""
    db.execute("UPDATE fleet SET epoch = ?", (epoch,))
    next_revision(db)
