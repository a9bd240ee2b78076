"""A database is changed only once it is copied whole; a helm of before refuses it, and the copy is its way back."""

from __future__ import annotations

import logging
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlite_utils import Migrations

from pharos.helm.backup.revert import revert
from pharos.helm.errors import BackupError, DatabaseCorruptError, NewerDatabaseError, ReadOnlyError
from pharos.helm.store import copies, database
from pharos.helm.store.checks import copies_before, list_copies
from pharos.helm.store.database import CORE, TELEMETRY, open_store
from pharos.helm.store.fleet import get_fleet
from pharos.helm.store.migrations import core_migrations, telemetry_migrations
from tests.support.datafiles import FOLDER, step_names
from tests.support.helm import make_fleet_files, sample_act

NEWEST = step_names(core_migrations)[-1]


def lay_down(state: Path, core: str, telemetry: str) -> None:
    for name, source in ((CORE, core), (TELEMETRY, telemetry)):
        with closing(sqlite3.connect(state / name)) as db:
            db.executescript((FOLDER / f"{source}.sql").read_text(encoding="utf-8"))
        (state / name).chmod(0o600)


def steps_in(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as db:
        return [name for (name,) in db.execute("SELECT name FROM _sqlite_migrations ORDER BY id")]


def rows_in(path: Path) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return list(db.execute("SELECT * FROM nodes ORDER BY id"))


def with_steps(migrations: Migrations, *more: str, without: int = 0) -> Migrations:
    """Return the steps of another version of helm."""
    other = Migrations(migrations.name)
    other._migrations = migrations._migrations[: len(migrations._migrations) - without]
    for name in more:
        other(name=name)(lambda db: db.execute("ALTER TABLE fleet ADD COLUMN colour TEXT NOT NULL DEFAULT ''"))
    return other


@pytest.fixture
def warned(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    caplog.set_level(logging.WARNING)
    yield caplog
    caplog.clear()


@pytest.fixture
def newer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warned: pytest.LogCaptureFixture) -> Path:
    """A fleet that a newer helm has run once; this one is here again."""
    for name, content in make_fleet_files()[0].items():
        (tmp_path / name).write_bytes(content)
        (tmp_path / name).chmod(0o600)
    with open_store(tmp_path):
        pass
    with monkeypatch.context() as newer:
        newer.setattr(database, "core_migrations", with_steps(core_migrations, "m0901_colour"))
        with open_store(tmp_path):
            pass
    assert steps_in(tmp_path / CORE)[-1] == "m0901_colour"
    return tmp_path


@pytest.mark.parametrize("source", step_names(core_migrations)[:-1])
def test_older_database_is_copied_whole_before_it_is_changed(
    tmp_path: Path, warned: pytest.LogCaptureFixture, source: str
) -> None:
    lay_down(tmp_path, source, "telemetry-m0001")
    before, rows = steps_in(tmp_path / CORE), rows_in(tmp_path / CORE)
    with open_store(tmp_path):
        pass
    step = step_names(core_migrations)[len(before)]
    copy = tmp_path / "copies" / f"before-{step}-core.db"
    assert copies_before(tmp_path / CORE) == [copy]
    assert [path.name for path in copies_before(tmp_path / TELEMETRY)] == ["before-m0002-telemetry.db"]
    assert (steps_in(copy), rows_in(copy)) == (before, rows)
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert step_names(core_migrations)[-1] == steps_in(tmp_path / CORE)[-1][:5]
    assert f"kept as {copy}" in warned.text
    # It is none of the hourly ones, which make way for each other.
    assert list_copies(tmp_path) == []


def test_new_database_and_one_of_today_are_not_copied(tmp_path: Path) -> None:
    with open_store(tmp_path, create=True):
        pass
    with open_store(tmp_path):
        pass
    assert not (tmp_path / "copies").exists()


@pytest.mark.parametrize("whole", [True, False])
def test_database_that_cannot_be_copied_is_left_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, whole: bool
) -> None:
    lay_down(tmp_path, "m0003", "telemetry-m0001")
    if whole:
        monkeypatch.setattr(copies, "SPARE", 1 << 60)
    else:
        monkeypatch.setattr(copies, "damage_of_copy", lambda _path: "its end is missing")
    with pytest.raises(ReadOnlyError if whole else DatabaseCorruptError), open_store(tmp_path):
        pass
    assert steps_in(tmp_path / CORE)[-1].startswith("m0003")
    assert copies_before(tmp_path / CORE) == []


def test_step_that_fails_leaves_the_database_and_its_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warned: pytest.LogCaptureFixture
) -> None:
    lay_down(tmp_path, "m0005", "telemetry-m0001")
    with open_store(tmp_path):
        pass
    broken = with_steps(core_migrations)

    @broken(name="m0901_colour")
    def colour(db: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as newer:
        newer.setattr(database, "core_migrations", broken)
        with pytest.raises(ZeroDivisionError), open_store(tmp_path):
            pass
    assert steps_in(tmp_path / CORE)[-1][:5] == NEWEST
    assert [path.name for path in copies_before(tmp_path / CORE)][-1] == "before-m0901-core.db"
    with open_store(tmp_path):
        pass


def test_copies_of_two_upgrades_are_kept_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warned: pytest.LogCaptureFixture
) -> None:
    lay_down(tmp_path, "m0001", "telemetry-m0001")
    count = len(step_names(core_migrations))
    for without in range(count - 2, -1, -1):
        with monkeypatch.context() as version:
            version.setattr(database, "core_migrations", with_steps(core_migrations, without=without))
            with open_store(tmp_path):
                pass
    kept = [f"before-{step}-core.db" for step in step_names(core_migrations)[-2:]]
    assert [path.name for path in copies_before(tmp_path / CORE)] == kept


def test_helm_of_before_refuses_and_names_the_way_back(newer: Path) -> None:
    with pytest.raises(NewerDatabaseError) as refused, open_store(newer):
        pass
    said = str(refused.value)
    assert "was written by a newer helm (its step m0901_colour): run that version again" in said
    assert f"{newer}/copies/before-m0901-core.db: helm revert --state {newer}" in said
    (newer / "copies/before-m0901-core.db").write_bytes(b"damaged")
    with pytest.raises(NewerDatabaseError, match="restore a backup from before it"), open_store(newer):
        pass


async def test_reverted_record_is_of_before_in_a_new_epoch(newer: Path) -> None:
    with closing(sqlite3.connect(newer / CORE)) as db:
        db.execute("UPDATE fleet SET colour = 'red'")
        db.commit()
        (epoch,) = db.execute("SELECT epoch FROM fleet").fetchone()
    done = revert(newer, sample_act())
    assert done.fleet.epoch > epoch
    assert {name: path.name for name, path in done.copies.items()} == {CORE: "before-m0901-core.db"}
    with open_store(newer) as store:
        fleet = await store.run(get_fleet)
    assert fleet == done.fleet
    assert steps_in(newer / CORE)[-1][:5] == NEWEST
    with closing(sqlite3.connect(done.kept / CORE)) as db:
        assert db.execute("SELECT colour FROM fleet").fetchone() == ("red",)
    assert not (newer / ".reverting").exists()
    with pytest.raises(BackupError, match="helm run takes them as they are"):
        revert(newer, sample_act())


def test_reverting_that_is_broken_off_is_done_by_the_same_again(newer: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    def fail(_from: Path, _to: Path) -> None:
        raise OSError(28, "full")

    with monkeypatch.context() as cut:
        cut.setattr(Path, "replace", fail)
        with pytest.raises(BackupError, match="make room there"):
            revert(newer, sample_act())
    assert steps_in(newer / CORE)[-1] == "m0901_colour"
    revert(newer, sample_act())
    assert steps_in(newer / CORE)[-1][:5] == NEWEST


def test_nobody_reverts_without_a_copy(newer: Path) -> None:
    (newer / "copies/before-m0901-core.db").unlink()
    with pytest.raises(BackupError, match=r"no whole copy of core\.db from before its step m0901_colour"):
        revert(newer, sample_act())


async def test_newer_history_goes_back_with_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warned: pytest.LogCaptureFixture
) -> None:
    lay_down(tmp_path, "m0005", "telemetry-m0002")
    with open_store(tmp_path):
        pass
    with monkeypatch.context() as newer:
        later = with_steps(telemetry_migrations)
        later(name="m0901_more")(lambda db: db.execute("CREATE TABLE more (id TEXT PRIMARY KEY)"))
        newer.setattr(database, "telemetry_migrations", later)
        with open_store(tmp_path):
            pass
    with pytest.raises(NewerDatabaseError, match=r"telemetry\.db was written by a newer helm"), open_store(tmp_path):
        pass
    done = revert(tmp_path, sample_act())
    assert list(done.copies) == [TELEMETRY]
    with open_store(tmp_path):
        pass
