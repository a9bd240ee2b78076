"""The store: whole transactions, durable in groups, readers beside them, and what it does when it cannot write."""

from __future__ import annotations

import contextvars
import os
import sqlite3
import stat
import threading
from pathlib import Path

import pytest
import sqlite_utils
import trio
import trio.testing
from sqlite_utils import Migrations

from pharos.helm.errors import DatabaseCorruptError, NotInitialisedError
from pharos.helm.store import database
from pharos.helm.store.condition import Health
from pharos.helm.store.database import CORE, TELEMETRY, Database, microseconds, open_store, transact
from pharos.helm.store.migrations import core_migrations
from pharos.helm.store.outbox import append_entry, entries_after, last_sequence
from pharos.helm.store.writer import transact_together


def write(db: Database, kind: str = "sample") -> int:
    append_entry(db, at=1, kind=kind, subject="s", actor="a", detail="d")
    return last_sequence(db)


def kinds(db: Database) -> list[str]:
    return [entry.kind for entry in entries_after(db, 0, 1_000)]


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


async def test_changes_that_wait_together_share_one_commit(tmp_path: Path) -> None:
    statements: list[str] = []
    with open_store(tmp_path, create=True) as store:
        await store.run(lambda db: db.set_trace_callback(statements.append))
        release, entered = threading.Event(), trio.Event()

        def hold(db: Database, token: trio.lowlevel.TrioToken) -> None:
            token.run_sync_soon(entered.set)
            assert release.wait(10)
            write(db, "first")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.run, hold, trio.lowlevel.current_trio_token())
            await entered.wait()
            for number in range(10):
                nursery.start_soon(store.run, write, str(number))
            await trio.testing.wait_all_tasks_blocked()
            release.set()
        # The third is the end of the transaction that switched tracing on.
        assert statements.count("COMMIT") == 3
        assert store.commits == 11
        assert sorted(await store.run(kinds)) == [*map(str, range(10)), "first"]


async def test_function_that_fails_takes_nobody_with_it(tmp_path: Path) -> None:
    def write_and_fail(db: Database) -> None:
        write(db, "half")
        raise ZeroDivisionError

    failed: list[int] = []
    with open_store(tmp_path, create=True) as store:

        async def fail(number: int) -> None:
            with pytest.raises(ZeroDivisionError):
                await store.run(write_and_fail)
            failed.append(number)

        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(store.run, write, "whole")
                nursery.start_soon(fail, number)
        assert (len(failed), store.commits) == (10, 10)
        assert await store.run(kinds) == ["whole"] * 10


def test_commit_that_fails_fails_everybody_in_it() -> None:
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.execute("PRAGMA foreign_keys = ON")
    db.execute("CREATE TABLE parent (id INTEGER PRIMARY KEY)")
    db.execute("CREATE TABLE child (parent INTEGER REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED)")

    def orphan(db: Database) -> None:
        db.execute("INSERT INTO child VALUES (1)")

    def harmless(db: Database) -> int:
        return int(db.execute("SELECT 7").fetchone()[0])

    for done in transact_together(db, [orphan, harmless]):
        with pytest.raises(sqlite3.IntegrityError):
            done.unwrap()
    assert not db.in_transaction
    assert [done.unwrap() for done in transact_together(db, [harmless, harmless])] == [(7, False)] * 2
    db.close()


async def test_each_function_has_the_context_of_its_own_caller(tmp_path: Path) -> None:
    whose: contextvars.ContextVar[int] = contextvars.ContextVar("whose")
    seen: list[tuple[int, int]] = []

    def look(db: Database, number: int) -> None:
        write(db)
        seen.append((number, whose.get()))

    with open_store(tmp_path, create=True) as store:

        async def call(number: int) -> None:
            whose.set(number)
            await store.run(look, number)

        async with trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(call, number)
    assert sorted(seen) == [(number, number) for number in range(8)]


async def test_reading_waits_for_no_writer_and_sees_what_was_acknowledged(tmp_path: Path) -> None:
    release, entered = threading.Event(), trio.Event()

    def hold(db: Database, token: trio.lowlevel.TrioToken) -> None:
        write(db, "uncommitted")
        token.run_sync_soon(entered.set)
        assert release.wait(10)

    with open_store(tmp_path, create=True) as store:
        for number in range(50):
            await store.run(write, str(number))
            assert (await store.read(kinds))[-1] == str(number)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.run, hold, trio.lowlevel.current_trio_token())
            await entered.wait()
            assert len(await store.read(kinds)) == 50
            release.set()
        assert len(await store.read(kinds)) == 51


async def test_reading_is_one_snapshot(tmp_path: Path) -> None:
    release, entered = threading.Event(), trio.Event()

    def count_twice(db: Database, token: trio.lowlevel.TrioToken) -> tuple[int, int]:
        before = len(kinds(db))
        token.run_sync_soon(entered.set)
        assert release.wait(10)
        return before, len(kinds(db))

    counts: list[tuple[int, int]] = []
    with open_store(tmp_path, create=True) as store:

        async def read() -> None:
            counts.append(await store.read(count_twice, trio.lowlevel.current_trio_token()))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await entered.wait()
            await store.run(write)
            release.set()
        assert counts == [(0, 0)]


async def test_reading_changes_nothing(tmp_path: Path) -> None:
    with open_store(tmp_path, create=True) as store:
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            await store.read(write)
        assert await store.run(kinds) == []
        assert store.condition.state.health is Health.WRITABLE


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
    assert f'mv {path}* "$(mktemp -d' in str(caught.value)
    assert path.read_bytes() == before


def test_migration_that_fails_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_store(tmp_path, create=True):
        pass
    broken = Migrations("helm")
    broken._migrations = list(core_migrations._migrations)

    @broken()
    def m9999_broken(db: sqlite_utils.Database) -> None:
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
