"""A database that has no room for the n-th page, or that somebody else holds: refused, whole, and back within 5 s.

What a really full file system does, see tests/system/test_full_disk.py. It costs 5 s.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import trio

from pharos.helm.errors import BusyError, ReadOnlyError
from pharos.helm.store.condition import Health
from pharos.helm.store.database import CORE, Database, open_store
from pharos.helm.store.outbox import append_entry, entries_after
from pharos.helm.web.problems import STATUSES
from pharos.wire.errors import StateFileError
from pharos.wire.files import lock_state_directory
from tests.support.figures import Fault, record

PAGES = 40
PROMISED = 5
"""Seconds from there being room to there being changes again."""


def write(db: Database, number: int) -> None:
    append_entry(db, at=1, kind=f"entry {number}", subject="s", actor="a", detail="x" * 9_000)


def kinds(db: Database) -> list[str]:
    return [entry.kind for entry in entries_after(db, 0, 1_000)]


def allow(db: Database, more: int) -> None:
    """Let the database be so many pages larger than it is."""
    pages = db.execute("PRAGMA page_count").fetchone()[0]
    db.execute(f"PRAGMA max_page_count = {pages + more}")


async def test_change_that_meets_the_last_page_anywhere_is_refused_whole(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    acknowledged: list[str] = []
    refused = 0
    with open_store(tmp_path, create=True, retry_after=0) as store:
        for number in range(PAGES):
            # A change of some pages has room for so many of them.
            await store.run(allow, number % 5)
            try:
                await store.run(write, number)
            except ReadOnlyError:
                refused += 1
                assert store.condition.state.health is Health.READ_ONLY
            else:
                acknowledged.append(f"entry {number}")
            assert await store.read(kinds) == acknowledged
    assert min(refused, len(acknowledged)) > 5
    caplog.clear()
    with open_store(tmp_path) as store:
        assert await store.read(kinds) == acknowledged
    with closing(sqlite3.connect(tmp_path / CORE)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    record(Fault.DISK_FULL, "changes lost or half of those that met a full database", 0, f"of {PAGES}")


async def test_store_is_back_by_itself_within_what_is_promised(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with open_store(tmp_path, create=True) as store:
        await store.run(allow, 0)
        with pytest.raises(ReadOnlyError, match="the disk is full"):
            await store.run(write, 1)
        with trio.fail_after(10):
            # There is room again: the limit is the connection's own, and the store asks nobody for it.
            store.core._writer._db.execute("PRAGMA max_page_count = 1000000")
            began = trio.current_time()
            while True:
                try:
                    await store.run(write, 2)
                    break
                except ReadOnlyError:
                    await trio.sleep(0.01)
        took = trio.current_time() - began
        assert await store.read(kinds) == ["entry 2"]
    # Three times as long is still no failure on a busy machine.
    assert took < 3 * PROMISED
    record(Fault.DISK_FULL, "from room on the disk to the next change", took, "s")
    caplog.clear()


async def test_database_that_another_holds_is_said_to_be_busy_and_loses_nothing(tmp_path: Path) -> None:
    with open_store(tmp_path, create=True, busy_timeout=0.2) as store:
        await store.run(write, 1)
        with closing(sqlite3.connect(tmp_path / CORE, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            began = trio.current_time()
            with pytest.raises(BusyError, match="nothing was changed, try again"):
                await store.run(write, 2)
            waited = trio.current_time() - began
            assert await store.read(kinds) == ["entry 1"]
            other.execute("ROLLBACK")
        await store.run(write, 2)
        assert await store.read(kinds) == ["entry 1", "entry 2"]
    assert waited >= 0.2
    assert (BusyError, 503) in STATUSES
    record(Fault.LOCKED, "changes dropped silently while another held the database", 0, "of 1")


def test_second_helm_refuses_the_directory_of_the_first(tmp_path: Path) -> None:
    with (
        lock_state_directory(tmp_path),
        pytest.raises(StateFileError, match="in use by process"),
        lock_state_directory(tmp_path),
    ):
        pass
    record(Fault.LOCKED, "second helms that were let in", 0, "of 1")
