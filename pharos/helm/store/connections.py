"""Opening a database: private from its first byte, checked, durable as it has to be, and migrated."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import sqlite_utils
from sqlite_utils import Migrations

from pharos.helm.errors import DatabaseCorruptError, ReadOnlyError
from pharos.helm.store.checks import corrupt_error, find_damage, newer_error
from pharos.helm.store.condition import explain
from pharos.helm.store.writer import Database
from pharos.wire.files import PRIVATE_FILE, sync_directory
from pharos.wire.units import KIB, MIB, SECONDS
from pharos.wire.world import this_world

# A backup or a curious sqlite3 shell may hold the file for a moment; longer than that the caller is told to retry.
BUSY_TIMEOUT: Final = 5 * SECONDS
# quick_check reads some 400 MiB/s, and helm has to be back within a second.
CHECKED_AT_ONCE: Final = 128 * MIB
# A batch of 2,000 events touches some 3,000 pages of 4 KiB; SQLite's own 2 MiB would read most of them anew each time.
CACHE: Final = 16 * MIB
# Pages of the WAL before they are copied to where they belong, which takes two fsyncs: 16 MiB, a few such batches.
CHECKPOINT_AFTER: Final = 4_096


@contextmanager
def open_writing(
    path: Path,
    migrations: Migrations,
    *,
    synchronous: str,
    busy_timeout: float = BUSY_TIMEOUT,
    checked_at_once: float = float("inf"),
    before: Callable[[Path, str], object] | None = None,
) -> Iterator[Database]:
    """Open a database to read and write, whole and at the newest schema. ``busy_timeout`` is in seconds.

    Of a file of more than ``checked_at_once`` bytes SQLite sees only the header, the length and what tables there are;
    `is_checked_at_once` says so. ``before`` is called with the path and the name of the first step, before a
    database that was there is changed; what it raises leaves that as it was.

    Raises: DatabaseCorruptError. NewerDatabaseError. ReadOnlyError, BusyError — it cannot be opened now.
    """
    # SQLite takes an empty file for a new database; ours are never empty, so this one lost what it held.
    if path.exists() and path.stat().st_size == 0:
        raise corrupt_error(path, "it is empty")
    try:
        if not path.exists():
            _make(path)
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        raise ReadOnlyError(f"{path} cannot be written ({error.strerror}); make room, and start helm again") from error
    with _connected(path, busy_timeout) as db:
        with _explained(path):
            db.execute("PRAGMA journal_mode = WAL")
            db.execute(f"PRAGMA synchronous = {synchronous}")
            db.execute("PRAGMA foreign_keys = ON")
            db.execute(f"PRAGMA cache_size = -{CACHE // KIB}")
            db.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_AFTER}")
            if is_checked_at_once(path, checked_at_once) and (damage := find_damage(db)):
                raise corrupt_error(path, damage)
            _migrate(db, path, migrations, before)
        yield db


@contextmanager
def open_reading(path: Path, *, busy_timeout: float = BUSY_TIMEOUT) -> Iterator[Database]:
    """Open a database that is open for writing already, once more and to read only."""
    with _connected(path, busy_timeout) as db:
        with _explained(path):
            db.execute("PRAGMA query_only = ON")
        yield db


@contextmanager
def open_plainly(path: Path, *, busy_timeout: float = BUSY_TIMEOUT) -> Iterator[Database]:
    """Open a database as it is, whoever has written it: nothing is checked, and nothing migrated."""
    with _connected(path, busy_timeout) as db, _explained(path):
        yield db


def is_checked_at_once(path: Path, limit: float) -> bool:
    """Return whether a file is small enough to be checked whole before helm starts."""
    return path.stat().st_size <= limit


def _make(path: Path) -> None:
    """Make a database with nothing in it but its first page; whoever is killed meanwhile has made none.

    Raises: OSError. ReadOnlyError, BusyError — it cannot be made now.
    """
    scratch = path.with_name(f".{path.name}.new")
    for ending in ("", "-journal", "-wal"):
        path.with_name(f"{scratch.name}{ending}").unlink(missing_ok=True)
    # SQLite makes its files with the umask; ours has to be private from its first byte, and so have -wal and -shm.
    os.close(os.open(scratch, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_FILE))
    with _connected(scratch, BUSY_TIMEOUT) as db, _explained(scratch):
        db.execute("PRAGMA journal_mode = WAL")
    this_world().replace(scratch, path)
    sync_directory(path.parent)


def _migrate(db: Database, path: Path, migrations: Migrations, before: Callable[[Path, str], object] | None) -> None:
    database = sqlite_utils.Database(db)
    steps = [step.name for step in migrations._migrations]
    applied = [step.name for step in migrations.applied(database)]
    if strange := [name for name in applied if name not in steps]:
        raise newer_error(path, strange[0])
    pending = [name for name in steps if name not in applied]
    if applied and pending and before is not None:
        before(path, pending[0])
    migrations.apply(database)


@contextmanager
def _connected(path: Path, busy_timeout: float) -> Iterator[Database]:
    with _explained(path):
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=busy_timeout)
    db.row_factory = sqlite3.Row
    try:
        yield db
    finally:
        db.close()


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Say in helm's words what SQLite says while a file is opened."""
    try:
        yield
    except UnicodeDecodeError as error:
        # The message about a damaged schema quotes it, and Python cannot read the message.
        raise corrupt_error(path, "its schema is not text") from error
    except sqlite3.DatabaseError as error:
        meaning = explain(path, error)
        if meaning is None:
            raise
        if isinstance(meaning, DatabaseCorruptError):
            raise corrupt_error(path, str(error)) from error
        raise meaning from error
