"""Old records of a fleet, and their restore by the rules of the product (security.md §2h)."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import attrs

from pharos.helm.backup.restore import renew_record
from pharos.helm.live.board import now_us
from pharos.helm.store.database import CORE, transact
from pharos.wire.world import inhabiting
from tests.sim.fleet import TAGS, SimFleet
from tests.sim.ledger import Ledger
from tests.support.helm import sample_act


@attrs.frozen(kw_only=True)
class Copy:
    """A record as it was at some time."""

    content: bytes
    ledger: Ledger
    at: int
    """Microseconds since 1970, by helm's clock."""


async def take_copy(fleet: SimFleet, ledger: Ledger) -> Copy:
    """Return the record as it is, and what the ledger says of it."""
    content = await fleet.helm.value.store.read(lambda db: db.serialize())
    with inhabiting(fleet.helm.world):
        return Copy(content=content, ledger=ledger.copy(), at=now_us())


def restore_record(fleet: SimFleet, ledger: Ledger, copy: Copy) -> None:
    """Put an old record into the place of the one that is, while helm is down; the ledger goes back with it."""
    core = fleet.helm.folder / CORE
    for name in (CORE, f"{CORE}-wal", f"{CORE}-shm", f"{CORE}.sum"):
        (core.parent / name).unlink(missing_ok=True)
    core.touch(mode=0o600)
    core.write_bytes(copy.content)
    with inhabiting(fleet.helm.world), closing(sqlite3.connect(core, isolation_level=None)) as db:
        db.row_factory = sqlite3.Row
        db.execute("PRAGMA journal_mode = WAL")
        transact(db, renew_record, sample_act(at=now_us()), made_at=copy.at, source="a copy")
    ledger.restore(copy.ledger, TAGS)
