"""The store: private files, whole transactions, one at a time, and no damaged file is ever touched."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from pathlib import Path

import pytest
import trio
import trio.testing

from pharos.helm.errors import DatabaseCorruptError, NotInitialisedError
from pharos.helm.store import database
from pharos.helm.store.database import CORE, TELEMETRY, Database, microseconds, open_store, transact
from pharos.helm.store.outbox import append_entry, entries_after, last_sequence


def write(db: Database, kind: str = "sample") -> int:
    append_entry(db, at=1, kind=kind, subject="s", actor="a", detail="d")
    return last_sequence(db)


def kinds(db: Database) -> list[str]:
    return [entry.kind for entry in entries_after(db, 0)]


async def test_what_was_committed_is_there_after_reopening(tmp_path: Path) -> None:
    with open_store(tmp_path, create=True) as store:
        assert await store.run(write, "first") == 1
        assert await store.run(write, kind="second") == 2
    with open_store(tmp_path) as store:
        assert await store.run(kinds) == ["first", "second"]


async def test_exception_rolls_the_whole_transaction_back_and_propagates(tmp_path: Path) -> None:
    def write_and_fail(db: Database) -> None:
        write(db, "half")
        raise ZeroDivisionError

    with open_store(tmp_path, create=True) as store:
        with pytest.raises(ZeroDivisionError):
            await store.run(write_and_fail)
        assert store.commits == 0
        assert await store.run(write, "whole") == 1
        assert await store.run(kinds) == ["whole"]


async def test_full_disk_fails_the_one_transaction_and_the_store_recovers(tmp_path: Path) -> None:
    def limit(db: Database, pages: int) -> None:
        db.execute(f"PRAGMA max_page_count = {pages}")

    def write_much(db: Database) -> None:
        for _ in range(100):
            append_entry(db, at=1, kind="much", subject="s", actor="a", detail="x" * 10_000)

    with open_store(tmp_path, create=True) as store:
        await store.run(write, "before")
        await store.run(limit, 1)
        with pytest.raises(sqlite3.OperationalError, match="full"):
            await store.run(write_much)
        await store.run(limit, 1_000_000)
        await store.run(write, "after")
        assert await store.run(kinds) == ["before", "after"]


def test_commit_that_fails_leaves_no_transaction_open() -> None:
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.execute("PRAGMA foreign_keys = ON")
    db.execute("CREATE TABLE parent (id INTEGER PRIMARY KEY)")
    db.execute("CREATE TABLE child (parent INTEGER REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED)")

    def orphan(db: Database) -> None:
        db.execute("INSERT INTO child VALUES (1)")

    # The deferred constraint is checked by COMMIT itself.
    with pytest.raises(sqlite3.IntegrityError):
        transact(db, orphan)
    assert not db.in_transaction
    assert db.execute("SELECT count(*) FROM child").fetchone()[0] == 0
    transact(db, lambda db: db.execute("INSERT INTO parent VALUES (1)"))
    db.close()


async def test_transactions_run_one_after_the_other(tmp_path: Path) -> None:
    running = 0
    most = 0
    met = threading.Lock()

    def count(db: Database, number: int) -> int:
        nonlocal running, most
        with met:
            running += 1
            most = max(most, running)
        sequence = write(db, str(number))
        with met:
            running -= 1
        return sequence

    sequences: list[int] = []
    with open_store(tmp_path, create=True) as store:

        async def one(number: int) -> None:
            sequences.append(await store.run(count, number))

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(one, number)
        assert most == 1
        assert sorted(sequences) == list(range(1, 21))
        assert store.commits == 20


async def test_telemetry_never_waits_for_the_record(tmp_path: Path) -> None:
    release, entered = threading.Event(), trio.Event()

    def hold(_db: Database, token: trio.lowlevel.TrioToken) -> None:
        token.run_sync_soon(entered.set)
        assert release.wait(10)

    with open_store(tmp_path, create=True) as store:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.run, hold, trio.lowlevel.current_trio_token())
            await entered.wait()
            assert await store.record(lambda db: db.execute("SELECT count(*) FROM events").fetchone()[0]) == 0
            release.set()


async def test_cancelled_caller_still_finishes_its_transaction(tmp_path: Path) -> None:
    release, entered = threading.Event(), trio.Event()

    def slow(db: Database, token: trio.lowlevel.TrioToken) -> None:
        token.run_sync_soon(entered.set)
        assert release.wait(10)
        write(db, "kept")

    with open_store(tmp_path, create=True) as store:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.run, slow, trio.lowlevel.current_trio_token())
            await entered.wait()
            nursery.cancel_scope.cancel()
            release.set()
        assert (await store.run(kinds), store.commits) == (["kept"], 1)


async def test_commit_wakes_every_listener_and_a_read_wakes_none(tmp_path: Path) -> None:
    woken: list[int] = []
    with open_store(tmp_path, create=True) as store:

        async def listen() -> None:
            woken.append(await store.wait_commit(0))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            nursery.start_soon(listen)
            await trio.testing.wait_all_tasks_blocked()
            await store.run(kinds)
            await trio.testing.wait_all_tasks_blocked()
            assert woken == []
            await store.run(write)
        assert woken == [1, 1]
        # Who comes late does not wait for what has been.
        assert await store.wait_commit(0) == 1


def modes_in(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


async def test_files_are_private_from_their_first_byte(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with open_store(tmp_path, create=True) as store:
            await store.run(write)
            await store.record(lambda db: db.execute("INSERT INTO events (at, kind, detail) VALUES (1, 'k', 'd')"))
            modes = modes_in(tmp_path)
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(
        ["core.db", "core.db-wal", "core.db-shm", "telemetry.db", "telemetry.db-wal", "telemetry.db-shm"], 0o600
    )


async def test_record_is_durable_by_full_synchronous_wal(tmp_path: Path) -> None:
    def pragmas(db: Database) -> tuple[str, int, int]:
        return tuple(
            db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous", "foreign_keys")
        )

    with open_store(tmp_path, create=True) as store:
        assert await store.run(pragmas) == ("wal", 2, 1)
        assert await store.record(pragmas) == ("wal", 1, 1)


def test_directory_without_a_fleet_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(NotInitialisedError, match="helm init"), open_store(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


async def filled(tmp_path: Path) -> None:
    def write_some(db: Database) -> None:
        for _ in range(200):
            write(db, "x" * 200)

    with open_store(tmp_path, create=True) as store:
        await store.run(write_some)


def _not_sqlite(raw: bytes) -> bytes:
    return b"This is no database. " * 500


def _bad_magic(raw: bytes) -> bytes:
    return b"X" + raw[1:]


def _bad_pages(raw: bytes) -> bytes:
    return raw[:4096] + b"\xa5" * (len(raw) - 4096)


def _truncated(raw: bytes) -> bytes:
    return raw[: len(raw) // 2]


def _emptied(raw: bytes) -> bytes:
    return b""


@pytest.mark.parametrize("name", [CORE, TELEMETRY])
@pytest.mark.parametrize("damage", [_not_sqlite, _bad_magic, _bad_pages, _truncated, _emptied])
async def test_damaged_file_is_refused_by_name_with_the_way_out_and_left_alone(
    tmp_path: Path, name: str, damage: object
) -> None:
    await filled(tmp_path)
    path = tmp_path / name
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    before = path.read_bytes()
    with pytest.raises(DatabaseCorruptError) as caught, open_store(tmp_path):
        pass
    assert str(path) in str(caught.value)
    assert "put a copy from a backup in its place" in str(caught.value)
    assert path.read_bytes() == before


def test_migration_that_fails_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_store(tmp_path, create=True):
        pass
    broken = database.Migrations("helm")
    broken._migrations = list(database.core_migrations._migrations)

    @broken()
    def m9999_broken(db: database.sqlite_utils.Database) -> None:
        db.execute("CREATE TABLE half (id TEXT)")
        db.execute("DROP TABLE outbox")
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(database, "core_migrations", broken)
        with pytest.raises(ZeroDivisionError), open_store(tmp_path):
            pass
    core = sqlite3.connect(tmp_path / CORE)
    tables = {row[0] for row in core.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    core.close()
    assert "outbox" in tables
    assert "half" not in tables


def test_time_is_kept_in_whole_microseconds() -> None:
    assert microseconds(1.0000019) == 1_000_001
