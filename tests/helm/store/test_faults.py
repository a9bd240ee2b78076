"""No acknowledged change is lost, and none is half: whichever write point of helm is its last, or fails.

There are some hundred write points in each story. A quick run takes a few of them, the heavy suites every one at
which helm can die, and four times as many of the others.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio

from pharos.helm.audit.chain import Link, verify_rows
from pharos.helm.model.users import User
from pharos.helm.store.audit import audit_rows
from pharos.helm.store.checks import is_good, list_copies, newest_good_copy
from pharos.helm.store.database import CORE, Database, open_store
from pharos.helm.store.outbox import entries_after
from pharos.helm.store.records import add_record, get_record
from pharos.helm.store.users import USERS
from tests.helm.store.test_migrations import check_first_fleet, lay_down
from tests.support.faultfs import Attempt, Fate, Rehearsal, rehearsing
from tests.support.faultwork import ACT, CALLERS, CHANGES, WRITES, user_id

DEATHS = [Fate.KILL, Fate.TEAR, Fate.POWER]
ERRORS = [Fate.EIO, Fate.FULL]
Prepare = Callable[[Path], None]


@pytest.fixture(scope="module")
def rehearsal() -> Iterator[Rehearsal]:
    with rehearsing() as running:
        yield running


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A record with a few users, closed."""
    state = tmp_path_factory.mktemp("record")

    def add(db: Database) -> None:
        for number in range(CALLERS):
            add_record(db, USERS, User(id=user_id(number), name=f"user {number}"), ACT)

    with open_store(state, create=True) as store:
        trio_run(store.run, add)
    return state


def trio_run(function: Callable[..., object], *args: object) -> None:
    trio.run(function, *args)  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where files are hurt: in memory where there is such a place, for there no fsync is waited for.

    It makes no difference to what is lost: a killed process loses nothing that it wrote, and the power cut is our own.
    """
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        yield Path(name)


def fresh(record: Path, folder: Path) -> Path:
    """Return a copy of the record to be hurt."""
    state = folder / "state"
    shutil.rmtree(state, ignore_errors=True)
    shutil.copytree(record, state)
    return state


@pytest.fixture(params=[False, pytest.param(True, marks=pytest.mark.system)], ids=["some", "many"])
def thorough(request: pytest.FixtureRequest) -> bool:
    """Whether minutes may be spent."""
    return bool(request.param)


def some_of(points: int, wanted: int, *, thorough: bool, or_all: bool = False) -> range:
    """Return write points to fail at, evenly spread; which ones depends on how many there happen to be."""
    if thorough:
        wanted = points if or_all else 4 * wanted
    step = max(points // wanted, 1)
    return range(1 + random.Random(points).randrange(step), points + 1, step)


def find_losses(state: Path, attempt: Attempt) -> list[str]:
    """Open the record as helm does after a crash, and return whatever is not as it was acknowledged."""
    acknowledged = dict.fromkeys(range(CALLERS), 1)
    for number, version in attempt.acknowledged:
        acknowledged[number] = version
    found: list[str] = []

    def look(db: Database) -> None:
        if db.execute("PRAGMA integrity_check").fetchone()[0] != "ok":
            found.append("the database is damaged")
        rows = audit_rows(db, 0)
        verify_rows(rows, Link())
        entries = entries_after(db, 0, 1_000)
        for number, version in acknowledged.items():
            user = get_record(db, USERS, user_id(number))
            if user.version < version:
                found.append(f"user {number} is at {user.version}, and {version} was acknowledged")
            if user.version > 1 and user.note != f"note {user.version}":
                found.append(f"user {number} has another version's note")
            versions = list(range(1, user.version + 1))
            if [row.version for row in rows if row.subject == user.id] != versions:
                found.append(f"the audit of user {number} does not fit its record")
            if [entry.version for entry in entries if entry.subject == user.id] != versions:
                found.append(f"the outbox of user {number} does not fit its record")

    with open_store(state) as store:
        trio_run(store.run, look)
    return found


@pytest.mark.parametrize("work", ["users", "checkpoints"])
@pytest.mark.parametrize("fate", DEATHS)
def test_no_acknowledged_change_is_lost_wherever_helm_dies(
    folder: Path, rehearsal: Rehearsal, record: Path, fate: Fate, work: str, thorough: bool
) -> None:
    whole = rehearsal.attempt(work, fresh(record, folder))
    assert (whole.finished, len(whole.acknowledged)) == (True, CALLERS * CHANGES)
    died = 0
    for n in some_of(whole.points, 8, thorough=thorough, or_all=True):
        state = fresh(record, folder)
        attempt = rehearsal.attempt(work, state, n=n, fate=fate, seed=n)
        died += not attempt.finished
        assert find_losses(state, attempt) == [], f"write point {n}"
    assert died


@pytest.mark.parametrize("work", ["users", "checkpoints"])
@pytest.mark.parametrize("fate", ERRORS)
def test_failed_write_is_refused_and_helm_goes_on(
    folder: Path, rehearsal: Rehearsal, record: Path, fate: Fate, work: str, thorough: bool
) -> None:
    whole = rehearsal.attempt(work, fresh(record, folder))
    for n in some_of(whole.points, 7, thorough=thorough, or_all=True):
        state = fresh(record, folder)
        attempt = rehearsal.attempt(work, state, n=n, fate=fate)
        assert (attempt.finished, len(attempt.acknowledged)) == (True, CALLERS * CHANGES), f"write point {n}"
        assert find_losses(state, attempt) == [], f"write point {n}"


def test_no_acknowledged_change_is_lost_whenever_helm_is_killed(
    folder: Path, rehearsal: Rehearsal, record: Path, thorough: bool
) -> None:
    chance = random.Random(4)
    for _ in range(80 if thorough else 10):
        state = fresh(record, folder)
        after = chance.uniform(0.001, 0.12)
        assert find_losses(state, rehearsal.attempt("users", state, after=after)) == [], f"after {after} s"


@pytest.mark.parametrize(
    ("weak", "fate", "loss"),
    [
        ("later", Fate.KILL, "was acknowledged"),
        ("lazy", Fate.POWER, "was acknowledged"),
        ("apart", Fate.KILL, "does not fit its record"),
    ],
)
def test_losses_of_a_weaker_store_are_found(
    folder: Path, rehearsal: Rehearsal, record: Path, weak: str, fate: Fate, loss: str
) -> None:
    whole = rehearsal.attempt("users", fresh(record, folder), weak=weak)
    for n in range(whole.points, 0, -1):
        state = fresh(record, folder)
        attempt = rehearsal.attempt("users", state, n=n, fate=fate, seed=n, weak=weak)
        if any(loss in text for text in find_losses(state, attempt)):
            return
    pytest.fail("a store that loses changes passed for a good one")


@pytest.mark.parametrize("fate", [Fate.KILL, *ERRORS])
def test_state_file_is_the_old_or_the_new_one_whole(folder: Path, rehearsal: Rehearsal, fate: Fate) -> None:
    state = folder / "state"
    state.mkdir()
    for n in itertools.count(1):
        attempt = rehearsal.attempt("files", state, n=n, fate=fate)
        file = state / "file"
        content = file.read_bytes() if file.exists() else b""
        newest = attempt.acknowledged[-1][0] if attempt.acknowledged else 0
        assert content in (content[:1] * 10_000, b"")
        assert int(content[:1] or b"0") >= newest
        file.unlink(missing_ok=True)
        if attempt.finished and (fate is Fate.KILL or n > WRITES * 10):
            break


@pytest.mark.parametrize("fate", [Fate.KILL, Fate.TEAR, *ERRORS])
def test_copy_is_whole_or_not_there(
    folder: Path, rehearsal: Rehearsal, record: Path, fate: Fate, thorough: bool
) -> None:
    whole = rehearsal.attempt("copies", fresh(record, folder))
    names = [name for (name,) in whole.acknowledged]
    for n in some_of(whole.points, 6, thorough=thorough):
        state = fresh(record, folder)
        attempt = rehearsal.attempt("copies", state, n=n, fate=fate)
        copies = list_copies(state)
        assert all(is_good(path) for path in copies)
        if attempt.acknowledged:
            newest = newest_good_copy(state)
            assert newest is not None
            assert newest.name >= attempt.acknowledged[-1][0]
        assert {path.name for path in copies} <= set(names)
        # And the next one is made in spite of what was left.
        assert rehearsal.attempt("copies", state).acknowledged == whole.acknowledged
        assert [path.name for path in list_copies(state)] == names[-2:]


@pytest.mark.parametrize("fate", [*DEATHS, *ERRORS])
def test_migration_that_is_cut_short_is_done_again(
    folder: Path, rehearsal: Rehearsal, fate: Fate, thorough: bool
) -> None:
    old = folder / "old"
    old.mkdir(mode=0o700)
    lay_down(old, "m0001", "telemetry-m0001")
    whole = rehearsal.attempt("migrate", fresh(old, folder))
    assert whole.finished
    for n in some_of(whole.points, 5, thorough=thorough):
        state = fresh(old, folder)
        rehearsal.attempt("migrate", state, n=n, fate=fate, seed=n)
        with open_store(state) as store:
            trio_run(store.run, check_first_fleet)
        db = sqlite3.connect(state / CORE)
        assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        db.close()
