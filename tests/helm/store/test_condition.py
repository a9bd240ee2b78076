"""A store that cannot write says so, lets everybody read, and comes back by itself."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
import trio
import trio.testing

from pharos.helm.errors import BusyError, DatabaseCorruptError, ReadOnlyError
from pharos.helm.store import watch
from pharos.helm.store.condition import Health, State
from pharos.helm.store.database import CORE, TELEMETRY, Database, Store, open_store
from pharos.helm.store.outbox import append_entry, entries_after
from pharos.helm.store.watch import watch_store


def write(db: Database, kind: str = "sample", size: int = 1) -> None:
    append_entry(db, at=1, kind=kind, subject="s", actor="a", detail="x" * size)


def kinds(db: Database) -> list[str]:
    return [entry.kind for entry in entries_after(db, 0)]


def health(store: Store) -> Health:
    return store.condition.state.health


def fill_disk(db: Database) -> None:
    """As far as SQLite can tell: not one page more than there are."""
    db.execute("PRAGMA max_page_count = 1")


def make_room(db: Database) -> None:
    db.execute("PRAGMA max_page_count = 1000000")


async def make_read_only(store: Store) -> None:
    await store.run(fill_disk)
    with pytest.raises(ReadOnlyError, match="the disk is full"):
        await store.run(write, "much", 1_000_000)


async def test_full_disk_refuses_changes_and_lets_everybody_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with open_store(tmp_path, create=True, retry_after=1_000) as store:
        await store.run(write, "before")
        await make_read_only(store)
        state = store.condition.state
        assert state.health is Health.READ_ONLY
        assert "Make room, and helm goes on by itself" in state.reason
        assert caplog.text.count("Make room") == 1
        # It is not tried again by every caller.
        for _ in range(3):
            with pytest.raises(ReadOnlyError, match="the disk is full"):
                await store.run(write, "small")
        assert await store.run(kinds) == await store.read(kinds) == ["before"]
        assert store.condition.state == state
        assert store.telemetry.condition.state.health is Health.WRITABLE
    caplog.clear()


async def test_first_change_that_succeeds_ends_the_alarm(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with open_store(tmp_path, create=True, retry_after=0) as store:
        await make_read_only(store)
        await store.run(make_room)
        assert health(store) is Health.READ_ONLY
        await store.run(write, "after")
        assert health(store) is Health.WRITABLE
        assert await store.read(kinds) == ["after"]
    assert "can be written again" in caplog.text
    caplog.clear()


async def test_full_disk_fails_one_group_and_no_more(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    refused: list[str] = []
    with open_store(tmp_path, create=True, retry_after=0) as store:
        await store.run(fill_disk)

        async def call(number: int) -> None:
            try:
                await store.run(write, str(number), 1_000_000)
            except ReadOnlyError:
                refused.append(str(number))

        async with trio.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(call, number)
        assert sorted(refused) == ["0", "1", "2", "3", "4"]
        await store.run(make_room)
        await store.run(write, "after")
        assert await store.read(kinds) == ["after"]
    caplog.clear()


async def test_store_recovers_without_any_caller_and_says_both(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    announced: list[tuple[str, Health]] = []
    changed = trio.Event()

    async def announce(path: Path, state: State) -> None:
        nonlocal changed
        announced.append((path.name, state.health))
        changed.set()
        changed = trio.Event()

    with open_store(tmp_path, create=True, retry_after=0) as store:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: watch_store(store, announce, every=0.01))
            await trio.testing.wait_all_tasks_blocked()
            heard = changed
            await make_read_only(store)
            await heard.wait()
            assert announced == [(CORE, Health.READ_ONLY)]
            heard = changed
            # The watch may be probing, which fails: then the room is made on the next try.
            await store.run(make_room)
            with trio.fail_after(10):
                await heard.wait()
            nursery.cancel_scope.cancel()
    assert announced == [(CORE, Health.READ_ONLY), (CORE, Health.WRITABLE)]
    caplog.clear()


async def test_disk_without_room_is_not_probed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watch, "ROOM", 1 << 80)
    with open_store(tmp_path, create=True, retry_after=0) as store:
        await make_read_only(store)
        await store.run(make_room)
        await watch._try_again(store.core)
        assert health(store) is Health.READ_ONLY
        monkeypatch.undo()
        await watch._try_again(store.core)
        assert health(store) is Health.WRITABLE
    caplog.clear()


async def test_database_that_another_program_holds_is_busy_and_not_read_only(tmp_path: Path) -> None:
    with open_store(tmp_path, create=True, busy_timeout=0.05) as store:
        await store.run(write, "before")
        other = sqlite3.connect(tmp_path / CORE, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(BusyError, match="held by another program; nothing was changed, try again") as caught:
            await store.run(write, "meanwhile")
        assert not isinstance(caught.value, ReadOnlyError)
        assert await store.read(kinds) == ["before"]
        assert health(store) is Health.WRITABLE
        other.execute("ROLLBACK")
        other.close()
        await store.run(write, "after")
        assert await store.read(kinds) == ["before", "after"]


async def test_database_that_is_held_at_start_is_busy_and_not_corrupt(tmp_path: Path) -> None:
    with open_store(tmp_path, create=True) as store:
        await store.run(write)
    other = sqlite3.connect(tmp_path / CORE, isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(BusyError), open_store(tmp_path, busy_timeout=0.05):
        pass
    other.close()


async def test_damage_found_while_helm_runs_ends_all_writing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with open_store(tmp_path, create=True) as store:
        for _ in range(20):
            await store.run(write, "x", 10_000)
    raw = bytearray((tmp_path / CORE).read_bytes())
    with open_store(tmp_path, retry_after=0) as store:
        await store.run(lambda db: db.execute("PRAGMA shrink_memory").fetchall())
        # Behind its back, all but the pages that say what tables there are.
        with (tmp_path / CORE).open("r+b") as file:
            file.seek(len(raw) // 2)
            file.write(b"\xa5" * (len(raw) - len(raw) // 2))
        with pytest.raises(DatabaseCorruptError, match="stop helm"):
            await store.run(lambda db: db.execute("UPDATE outbox SET detail = detail || 'x'").rowcount)
        assert health(store) is Health.CORRUPT
        with pytest.raises(DatabaseCorruptError, match="stop helm"):
            await store.run(write)
    caplog.clear()


async def test_large_telemetry_is_looked_at_first_and_checked_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_store(tmp_path, create=True) as store:
        await store.record(
            lambda db: db.executemany(
                "INSERT INTO events (at, kind, detail) VALUES (?, 'k', ?)", [(1, "x" * 500)] * 500
            )
        )
        assert store.telemetry_checked
    path = tmp_path / TELEMETRY
    with open_store(tmp_path, checked_at_once=1_000) as store:
        assert not store.telemetry_checked
        # What cannot be opened now is no damage, and is looked at again.
        tries = iter([ReadOnlyError("no descriptor is left"), sqlite3.OperationalError("disk I/O error")])
        look = watch._damage_in

        def fail_twice(file: Path) -> str:
            for error in tries:
                raise error
            return look(file)

        with monkeypatch.context() as failing:
            failing.setattr(watch, "CHECK_AGAIN", 0.01)
            failing.setattr(watch, "_damage_in", fail_twice)
            await watch.check_telemetry(store)
        assert caplog.text.count("could not be checked") == 2
        assert store.telemetry.condition.state.health is Health.WRITABLE
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) // 2])
    with pytest.raises(DatabaseCorruptError, match="malformed"), open_store(tmp_path, checked_at_once=1_000):
        pass
    path.write_bytes(raw[: len(raw) // 2] + b"\xa5" * (len(raw) - len(raw) // 2))
    with open_store(tmp_path, checked_at_once=1_000) as store:
        await watch.check_telemetry(store)
        assert store.telemetry.condition.state.health is Health.CORRUPT
        assert f"mv {path}*" in store.telemetry.condition.state.reason
    caplog.clear()
