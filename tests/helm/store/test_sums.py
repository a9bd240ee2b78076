"""A database that was closed cleanly is refused when any bit of it is another, and no other one for its checksum.

A quick run costs 6 s.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import trio

from pharos.helm.errors import DatabaseCorruptError
from pharos.helm.store import sums
from pharos.helm.store.checks import is_good, list_copies, newest_good_copy
from pharos.helm.store.copies import make_copy
from pharos.helm.store.database import CORE, TELEMETRY, Database, open_store
from pharos.helm.store.outbox import append_entry, entries_after
from pharos.helm.store.sums import difference, keep, sum_of
from pharos.wire.errors import StateFileError
from tests.support.crashing import in_memory, quiet
from tests.support.diskimage import crashes, lay_down, read_tree
from tests.support.faultfs import Rehearsal, rehearsing
from tests.support.figures import Fault, record
from tests.support.helmstory import prepare

NOON = 1_800_000_000_000_000
HOUR = 3_600_000_000
BOTH = [CORE, TELEMETRY]


def write(db: Database, kind: str = "sample") -> None:
    append_entry(db, at=1, kind=kind, subject="s", actor="a", detail="quiet waters")


def kinds(db: Database) -> list[str]:
    return [entry.kind for entry in entries_after(db, 0)]


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    """A state directory whose store was closed."""
    with open_store(tmp_path, create=True) as store:
        trio.run(store.run, write)
        trio.run(
            store.record, lambda db: db.execute("INSERT INTO events (at, kind, detail) VALUES (1, 'k', 'quiet waters')")
        )
    return tmp_path


def hurt(path: Path) -> bytes:
    """Change one letter of a plain value, which no check of SQLite's sees; return the whole file."""
    damaged = path.read_bytes().replace(b"quiet waters", b"quiet Waters")
    path.write_bytes(damaged)
    assert damaged != b""
    return damaged


@pytest.mark.parametrize("name", BOTH)
def test_another_value_is_seen_at_the_next_start(closed: Path, name: str) -> None:
    damaged, before = hurt(closed / name), sum_of(closed / name).read_bytes()
    for _ in range(2):
        with pytest.raises(DatabaseCorruptError, match=f"{name} is corrupt .* was left as it is"), open_store(closed):
            pass
    assert ((closed / name).read_bytes(), sum_of(closed / name).read_bytes()) == (damaged, before)
    # The other one has its sum still.
    assert all(sum_of(closed / name).exists() for name in BOTH)


@pytest.mark.parametrize("name", BOTH)
def test_another_value_is_taken_where_the_sum_is_not_looked_at_turns_red(
    closed: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pharos.helm.store.database.difference", lambda _path: "")
    hurt(closed / name)
    with open_store(closed):
        pass
    assert b"quiet Waters" in (closed / name).read_bytes()


def test_operator_who_changed_it_on_purpose_is_told_how_to_say_so(closed: Path) -> None:
    with closing(sqlite3.connect(closed / CORE)) as db:
        db.execute("UPDATE outbox SET kind = 'by hand'")
        db.commit()
    with pytest.raises(DatabaseCorruptError, match=f"on purpose, accept that: rm {closed / 'core.db.sum'}"):
        open_store(closed).__enter__()
    sum_of(closed / CORE).unlink()
    with open_store(closed) as store:
        assert trio.run(store.read, kinds) == ["by hand"]
    assert difference(closed / CORE) == ""


def test_while_it_is_open_there_is_no_sum_and_readers_do_not_look(closed: Path) -> None:
    assert [sum_of(closed / name).exists() for name in BOTH] == [True, True]
    with open_store(closed) as store:
        assert [sum_of(closed / name).exists() for name in BOTH] == [False, False]
        trio.run(store.run, write)
        assert [difference(closed / name) for name in BOTH] == ["", ""]
    assert [sum_of(closed / name).stat().st_mode & 0o777 for name in BOTH] == [0o600, 0o600]
    assert sorted(path.name for path in closed.iterdir()) == [CORE, f"{CORE}.sum", TELEMETRY, f"{TELEMETRY}.sum"]


def test_who_asks_while_helm_begins_is_told_nothing_wrong(closed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def begin_meanwhile(database: Path) -> dict[str, object]:
        sum_of(database).unlink()
        return {}

    monkeypatch.setattr(sums, "_measured", begin_meanwhile)
    assert difference(closed / CORE) == ""


def test_no_sum_is_written_of_what_is_not_all_in_its_file(tmp_path: Path) -> None:
    with open_store(tmp_path, create=True) as store:
        # Somebody else has it open: SQLite leaves the log.
        with closing(sqlite3.connect(tmp_path / CORE)) as other:
            other.execute("SELECT count(*) FROM outbox").fetchone()
            trio.run(store.run, write)
            keep(tmp_path / CORE)
            assert not sum_of(tmp_path / CORE).exists()


def test_no_sum_is_written_of_what_is_known_to_be_damaged(closed: Path, caplog: pytest.LogCaptureFixture) -> None:
    with open_store(closed) as store:
        store.condition.found_corrupt("a page was not one")
    assert [sum_of(closed / name).exists() for name in BOTH] == [False, True]
    caplog.clear()


def test_large_telemetry_has_none(closed: Path) -> None:
    with open_store(closed, checked_at_once=1_000):
        pass
    assert [sum_of(closed / name).exists() for name in BOTH] == [True, False]


def test_full_disk_at_the_end_costs_the_sum_only(
    closed: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sums, "_sync", full)
    with open_store(closed) as store:
        trio.run(store.run, write, "last")
    assert "closed without a checksum (No space left on device)" in caplog.text
    caplog.clear()
    with open_store(closed) as store:
        assert trio.run(store.read, kinds)[-1] == "last"
    caplog.clear()


def test_damaged_sum_is_refused_with_what_to_do(closed: Path) -> None:
    raw = sum_of(closed / CORE).read_bytes()
    sum_of(closed / CORE).write_bytes(raw.replace(b'"size"', b'"sizE"'))
    with pytest.raises(StateFileError, match=r"core\.db\.sum is corrupt .* rm "), open_store(closed):
        pass


def test_sum_of_a_database_that_was_moved_away_counts_for_nothing(closed: Path) -> None:
    (closed / TELEMETRY).unlink()
    with open_store(closed):
        pass
    assert difference(closed / TELEMETRY) == ""


def test_copy_with_another_value_is_not_taken_for_a_good_one(closed: Path) -> None:
    with open_store(closed):
        older, newer = (make_copy(closed, NOON + hour * HOUR, keep=2) for hour in range(2))
    hurt(newer)
    assert newest_good_copy(closed) == older
    # The same name again is of the copy that has it now.
    with open_store(closed):
        assert is_good(make_copy(closed, NOON + HOUR, keep=2))
    with open_store(closed):
        make_copy(closed, NOON + 2 * HOUR, keep=1)
    assert [path.name for path in sorted((closed / "copies").iterdir())] == [
        name for path in list_copies(closed) for name in (path.name, f"{path.name}.sum")
    ]


@pytest.fixture(scope="module")
def rehearsal() -> Iterator[Rehearsal]:
    with rehearsing() as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with in_memory(tmp_path) as found:
        yield found


def refused_after_a_crash(
    rehearsal: Rehearsal, folder: Path, *, stride: int, weak: str = "", enough: int = 0
) -> tuple[int, list[str]]:
    """Open, change and close a record twice; return how many disks a crash left, and which of them were refused."""
    root = folder / "root"
    (root / "state").mkdir(mode=0o700, parents=True)
    prepare(root / "state")
    with open_store(root / "state"):
        pass
    before = read_tree(root)
    whole = rehearsal.attempt("opened twice", root / "state", weak=weak, note=root)
    assert whole.finished
    looked, refused = 0, []
    with quiet():
        for crash in crashes(before, whole.steps, powers=2, stride=stride):
            lay_down(crash.tree, root, folder / "image")
            looked += 1
            try:
                # The second of them is of a disk that a look has been at.
                for _ in range(2):
                    with open_store(folder / "image" / "state"):
                        pass
            except (DatabaseCorruptError, StateFileError) as error:
                refused.append(f"{crash.where}: {error}")
                if len(refused) == enough:
                    break
    return looked, refused


@pytest.mark.parametrize("stride", [7, pytest.param(1, marks=pytest.mark.system)])
def test_no_good_record_is_refused_after_any_crash(folder: Path, rehearsal: Rehearsal, stride: int) -> None:
    looked, refused = refused_after_a_crash(rehearsal, folder, stride=stride)
    assert refused == []
    assert looked > 60 / stride
    record(Fault.POWER_CUT, "disks of helm whose record was refused for its checksum", 0, f"of {looked}")


def test_good_record_is_refused_where_the_sum_outlives_it_turns_red(folder: Path, rehearsal: Rehearsal) -> None:
    _, refused = refused_after_a_crash(rehearsal, folder, stride=1, weak="stale sum", enough=1)
    assert refused
