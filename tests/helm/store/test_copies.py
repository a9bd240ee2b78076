"""Hourly copies: whole, private, kept for a day or three, made beside the writer, and the way back from damage."""

from __future__ import annotations

import functools
import itertools
import random
import shlex
import sqlite3
import stat
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from pharos.helm.errors import BusyError, DatabaseCorruptError, ReadOnlyError
from pharos.helm.store import copies
from pharos.helm.store.checks import list_copies, newest_good_copy
from pharos.helm.store.condition import Health
from pharos.helm.store.copies import AGAIN, INTERVAL, copy_database, make_copy, run_copies
from pharos.helm.store.database import CORE, Database, open_store
from pharos.helm.store.outbox import append_entry, entries_after
from tests.support.descriptors import no_descriptors

NOON = 1_800_000_000_000_000
HOUR = 3_600_000_000


def write(db: Database, kind: str = "sample", size: int = 1) -> None:
    append_entry(db, at=1, kind=kind, subject="s", actor="a", detail="x" * size)


def kinds(db: Database) -> list[str]:
    return [entry.kind for entry in entries_after(db, 0, 1_000)]


def kinds_in(path: Path) -> list[str]:
    db = sqlite3.connect(path)
    found = [kind for (kind,) in db.execute("SELECT kind FROM outbox ORDER BY sequence")]
    db.close()
    return found


async def test_copy_holds_the_newest_commit_and_is_private(tmp_path: Path) -> None:
    with open_store(tmp_path, create=True) as store:
        await store.run(write, "newest")
        copy = make_copy(tmp_path, NOON, keep=2)
        assert copy == tmp_path / "copies" / "core-20270115T080000Z.db"
        assert sorted(path.name for path in copy.parent.iterdir()) == [copy.name, f"{copy.name}.sum"]
    assert kinds_in(copy) == ["newest"]
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert stat.S_IMODE(copy.parent.stat().st_mode) == 0o700


def test_only_the_newest_are_kept_and_other_files_are_let_be(tmp_path: Path) -> None:
    with open_store(tmp_path, create=True):
        for hour in range(5):
            make_copy(tmp_path, NOON + hour * HOUR, keep=3)
            (tmp_path / "copies" / "core-before-the-holidays.db").touch(0o600)
        assert [path.name for path in list_copies(tmp_path)] == [
            f"core-20270115T{hour}0000Z.db" for hour in ("10", "11", "12")
        ]
        assert (tmp_path / "copies" / "core-before-the-holidays.db").exists()
        assert len(list((tmp_path / "copies").glob("*.sum"))) == 3


async def test_writers_go_on_while_a_copy_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release, entered = threading.Event(), trio.Event()
    token = trio.lowlevel.current_trio_token()

    def connect_slowly(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        steps = itertools.count()

        def wait() -> int:
            # The first steps read the schema; the copy is of the moment after that.
            if next(steps) == 400:
                token.run_sync_soon(entered.set)
                assert release.wait(10)
            return 0

        db: sqlite3.Connection = sqlite3.connect(*args, **kwargs)
        db.set_progress_handler(wait, 10)
        return db

    @attrs.frozen
    class Slow:
        connect = staticmethod(connect_slowly)
        Error = sqlite3.Error

    with open_store(tmp_path, create=True) as store:
        for _ in range(100):
            await store.run(write, "before")
        monkeypatch.setattr(copies, "sqlite3", Slow)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, lambda: make_copy(tmp_path, NOON, keep=2))
            await entered.wait()
            await store.run(write, "meanwhile")
            assert (await store.read(kinds))[-1] == "meanwhile"
            release.set()
    # One moment: the copy is as it was when it began.
    assert kinds_in(list_copies(tmp_path)[0]) == ["before"] * 100


def copy_badly(core: Path, scratch: Path) -> None:
    """Copy all but the end."""
    copy_database(core, scratch)
    scratch.write_bytes(scratch.read_bytes()[:-8192])


async def test_copy_that_is_not_whole_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_store(tmp_path, create=True):
        good = make_copy(tmp_path, NOON, keep=2)
        monkeypatch.setattr(copies, "copy_database", copy_badly)
        with pytest.raises(DatabaseCorruptError, match="not whole"):
            make_copy(tmp_path, NOON + HOUR, keep=2)
        assert sorted(path.name for path in good.parent.iterdir()) == [good.name, f"{good.name}.sum"]


async def test_copy_that_cannot_be_read_says_nothing_about_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No descriptor is left at the moment at which the copy is looked at, as in a flood of connections."""
    with open_store(tmp_path, create=True), ExitStack() as stack:

        def copy_with_the_last(core: Path, scratch: Path) -> None:
            copy_database(core, scratch)
            stack.enter_context(no_descriptors())

        monkeypatch.setattr(copies, "copy_database", copy_with_the_last)
        with stack, pytest.raises(BusyError, match="cannot be"):
            make_copy(tmp_path, NOON, keep=2)
        assert list_copies(tmp_path) == []


async def test_helm_without_a_descriptor_goes_on_and_copies_later(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, made: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    with open_store(tmp_path, create=True) as store:
        make_copy(tmp_path, NOON - HOUR, keep=2)
        async with trio.open_nursery() as nursery:
            with no_descriptors():
                nursery.start_soon(functools.partial(run_copies, store, keep_24, clock=Clock()))
                await trio.sleep(1)
            assert "Too many open files" in caplog.text
            caplog.clear()
            await trio.sleep(AGAIN)
            nursery.cancel_scope.cancel()
        assert len(list_copies(tmp_path)) == 2


async def test_copy_without_room_is_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_store(tmp_path, create=True):
        monkeypatch.setattr(copies, "SPARE", 1 << 80)
        with pytest.raises(ReadOnlyError, match="MiB free, and the next copy needs"):
            make_copy(tmp_path, NOON, keep=2)
        assert list_copies(tmp_path) == []


class Clock:
    """Wall clock that follows Trio's."""

    def __init__(self) -> None:
        self.start = trio.current_time()

    def __call__(self) -> int:
        return NOON + round((trio.current_time() - self.start) * 1e6)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """When copies were asked for, after noon. They are made without a thread: virtual time does not wait for one."""
    asked: list[int] = []

    async def run_now(function: Any, **_options: Any) -> Any:
        return function()

    monkeypatch.setattr(trio.to_thread, "run_sync", run_now)
    return asked


async def keep_24() -> int:
    return 24


async def test_copies_are_made_each_hour_and_one_is_due_at_start(
    tmp_path: Path, made: list[int], monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    real = make_copy

    def note(state: Path, at: int, *, keep: int) -> Path:
        made.append(at - NOON)
        assert keep == 24
        return real(state, at, keep=keep)

    monkeypatch.setattr(copies, "make_copy", note)
    with open_store(tmp_path, create=True) as store:
        # Ten minutes ago another helm made one; one of the future, when a clock was wrong, says nothing.
        real(tmp_path, NOON - HOUR // 6, keep=24)
        real(tmp_path, NOON + 1_000 * HOUR, keep=24)
        with trio.move_on_after(3.5 * INTERVAL):
            await run_copies(store, keep_24, clock=Clock())
    assert [round(at / HOUR, 2) for at in made] == [0.83, 1.83, 2.83]


async def test_copy_that_fails_is_told_and_tried_again_soon(
    tmp_path: Path,
    made: list[int],
    monkeypatch: pytest.MonkeyPatch,
    autojump_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    real = make_copy

    def fail_twice(state: Path, at: int, *, keep: int) -> Path:
        made.append(at - NOON)
        if len(made) <= 2:
            raise ReadOnlyError("no room")
        return real(state, at, keep=keep)

    monkeypatch.setattr(copies, "make_copy", fail_twice)
    with open_store(tmp_path, create=True) as store:
        with trio.move_on_after(1.5 * INTERVAL):
            await run_copies(store, keep_24, clock=Clock())
        assert store.condition.state.health is Health.WRITABLE
    assert [round(at / HOUR * 60) for at in made] == [0, 5, 10, 70]
    assert caplog.text.count("the hourly copy of the record was not made: no room") == 2
    caplog.clear()


async def test_damage_that_a_copy_finds_ends_all_writing(
    tmp_path: Path,
    made: list[int],
    monkeypatch: pytest.MonkeyPatch,
    autojump_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(copies, "copy_database", copy_badly)
    with open_store(tmp_path, create=True) as store:
        with trio.move_on_after(2 * INTERVAL):
            await run_copies(store, keep_24, clock=Clock())
        assert store.condition.state.health is Health.CORRUPT
    assert caplog.text.count("not whole") == 1
    caplog.clear()


async def damaged(state: Path) -> None:
    """A record with two copies and one change since; then its end is lost, and the newer copy's too."""
    with open_store(state, create=True) as store:
        for hour in range(2):
            await store.run(write, f"hour {hour}", 20_000)
            make_copy(state, NOON + hour * HOUR, keep=24)
        await store.run(write, "since")
    for path in (state / CORE, list_copies(state)[-1]):
        path.write_bytes(path.read_bytes()[:-8192])


async def test_damaged_record_is_refused_and_the_command_it_names_brings_the_newest_good_copy_back(
    tmp_path: Path,
) -> None:
    state = tmp_path / "Ada's state"
    state.mkdir(mode=0o700)
    await damaged(state)
    before = (state / CORE).read_bytes()
    with pytest.raises(DatabaseCorruptError) as caught, open_store(state):
        pass
    text = str(caught.value)
    good = list_copies(state)[0]
    assert newest_good_copy(state) == good
    assert f"The newest good copy is {good}." in text
    assert (state / CORE).read_bytes() == before
    command = text.partition("To go on with it: ")[2]
    assert shlex.quote(str(good)) in command
    await trio.run_process(command, shell=True)
    with open_store(state) as store:
        assert await store.read(kinds) == ["hour 0"]
    # What was damaged is kept for whoever can make more of it.
    assert [path.read_bytes() for path in state.glob("damaged-*/core.db")] == [before]


async def test_old_log_is_not_written_into_the_copy(tmp_path: Path) -> None:
    await damaged(tmp_path)
    (tmp_path / f"{CORE}-wal").write_bytes(b"what the log of the damaged one held")
    (tmp_path / f"{CORE}-wal").chmod(0o600)
    with pytest.raises(DatabaseCorruptError) as caught, open_store(tmp_path):
        pass
    await trio.run_process(str(caught.value).partition("To go on with it: ")[2], shell=True)
    assert not (tmp_path / f"{CORE}-wal").exists()


async def test_damaged_record_without_a_good_copy_says_so(tmp_path: Path) -> None:
    await damaged(tmp_path)
    list_copies(tmp_path)[0].write_bytes(b"")
    with pytest.raises(DatabaseCorruptError, match="copies holds no good copy of it"), open_store(tmp_path):
        pass


def rows_in(db: Database) -> dict[str, list[Any]]:
    """Every row of every table, by table; texts as octets, for a flipped bit can make them no UTF-8."""
    db.text_factory = bytes
    tables = [
        name.decode() for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
    ]
    return {name: [tuple(row) for row in db.execute(f"SELECT * FROM {name}")] for name in tables}


async def flipped(tmp_path: Path, *, seed: int, flips: int) -> tuple[int, int, list[str]]:
    """Flip one bit at a time in a record that was not closed cleanly, and has no checksum.

    Return how many starts were refused, how many were not, and what was then amiss.
    """
    with open_store(tmp_path, create=True) as store:
        for number in range(120):
            await store.run(write, f"row {number}", 300)
        before = await store.read(rows_in)
    path = tmp_path / CORE
    whole = path.read_bytes()
    chance = random.Random(seed)
    refused = opened = 0
    amiss: list[str] = []
    for number in range(flips):
        # Every other one where a page says what is where in it: its header and the first pointers to its rows.
        octet = (
            chance.randrange(len(whole)) if number % 2 else chance.randrange(0, len(whole), 4096) + chance.randrange(64)
        )
        bit = octet * 8 + chance.randrange(8)
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        (tmp_path / f"{CORE}.sum").unlink(missing_ok=True)
        try:
            with open_store(tmp_path) as store:
                after = await store.read(rows_in)
        except (DatabaseCorruptError, sqlite3.DatabaseError, UnicodeDecodeError):
            # At start or, where the name of a column is no text any more, at the first read: loudly in any case.
            refused += 1
            continue
        opened += 1
        if {name: len(rows) for name, rows in after.items()} != {name: len(rows) for name, rows in before.items()}:
            amiss.append(f"bit {bit}: a row is gone")
            continue
        different = [
            (old, new) for name in before for old, new in zip(before[name], after[name], strict=True) if old != new
        ]
        # What quick_check cannot see: another value in one place of one row.
        if len(different) > 1 or any(sum(a != b for a, b in zip(*pair, strict=True)) > 1 for pair in different):
            amiss.append(f"bit {bit}: {len(different)} rows differ")
    return refused, opened, amiss


@pytest.mark.parametrize("flips", [100, pytest.param(1_000, marks=pytest.mark.system)])
async def test_flipped_bit_is_refused_or_leaves_every_row_in_its_place(tmp_path: Path, flips: int) -> None:
    refused, opened, amiss = await flipped(tmp_path, seed=4, flips=flips)
    assert amiss == []
    assert refused
    assert opened


async def test_without_the_check_a_flipped_bit_loses_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("pharos.helm.store.connections.find_damage", lambda _db: "")
    lost = False
    # Which bit loses a row depends on where the rows lie, and so on every step of the schema.
    for seed in range(4, 12):
        folder = tmp_path / str(seed)
        folder.mkdir(mode=0o700)
        _, _, amiss = await flipped(folder, seed=seed, flips=200)
        lost = lost or any("a row is gone" in text for text in amiss)
        if lost:
            break
    assert lost
    caplog.clear()
