"""While another program holds the database helm is patient for 5 s and drops nothing in silence. (6 s)"""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
import trio

from pharos.helm.errors import BusyError
from pharos.helm.store.connections import BUSY_TIMEOUT
from pharos.helm.store.database import CORE, open_store
from pharos.helm.store.outbox import append_entry, entries_after
from tests.support.figures import Fault, record

SLACK = 3
"""By which a deadline is stretched on a busy machine."""


async def test_changes_wait_for_another_program_and_are_refused_in_time(tmp_path: Path) -> None:
    with open_store(tmp_path, create=True) as store:
        other = sqlite3.connect(tmp_path / CORE, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        begun = trio.current_time()
        with pytest.raises(BusyError, match="try again"):
            await store.run(lambda db: append_entry(db, at=1, kind="refused", subject="s", actor="a", detail=""))
        patience = trio.current_time() - begun
        other.execute("ROLLBACK")
        other.close()
        await store.run(lambda db: append_entry(db, at=1, kind="taken", subject="s", actor="a", detail=""))
        found = [entry.kind for entry in await store.read(lambda db: list(entries_after(db, 0)))]
    record(Fault.LOCKED, "until a change is refused that another program keeps waiting", patience, "s")
    record(Fault.LOCKED, "changes acknowledged and not made, or refused and made", len({*found} ^ {"taken"}))
    assert 0.9 * BUSY_TIMEOUT <= patience < SLACK * BUSY_TIMEOUT
    assert found == ["taken"]
