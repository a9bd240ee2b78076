"""Open, check and migrate the two databases, and run plain functions on them from Trio."""

from __future__ import annotations

import math
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Concatenate, Final, ParamSpec, TypeVar

import sqlite_utils
import trio
from sqlite_utils import Migrations

from pharos.helm.errors import DatabaseCorruptError, NotInitialisedError
from pharos.helm.store.migrations import core_migrations, telemetry_migrations
from pharos.wire.files import PRIVATE_FILE
from pharos.wire.units import SECONDS

Database = sqlite3.Connection
"""What every store function takes first; it runs inside one transaction of ``Store.run``."""

P = ParamSpec("P")
R = TypeVar("R")

CORE: Final = "core.db"
TELEMETRY: Final = "telemetry.db"
# A backup or a curious sqlite3 shell may hold the file for a moment; longer than that the caller is told to retry.
BUSY_TIMEOUT: Final = 5 * SECONDS


class Store:
    """The two open databases; ``run`` and ``record`` are the only bridges from Trio to SQLite."""

    def __init__(self, core: Database, telemetry: Database) -> None:
        self._core = core
        self._telemetry = telemetry
        # One thread at a time per file: SQLite has one writer, and a connection belongs to one thread at a time.
        self._core_turn = trio.CapacityLimiter(1)
        self._telemetry_turn = trio.CapacityLimiter(1)
        self._commits = 0
        self._committed = trio.lowlevel.ParkingLot()

    @property
    def commits(self) -> int:
        """How many transactions have changed ``core.db`` through this store."""
        return self._commits

    async def run(self, function: Callable[Concatenate[Database, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run ``function(db, …)`` in one durable transaction on ``core.db``; its exceptions roll back and propagate.

        A cancelled caller still waits for its transaction: half a write does not exist.
        """
        result, wrote = await trio.to_thread.run_sync(
            lambda: _counted(self._core, function, *args, **kwargs), limiter=self._core_turn
        )
        if wrote:
            self._commits += 1
            self._committed.unpark_all()
        return result

    async def record(self, function: Callable[Concatenate[Database, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run ``function(db, …)`` in one transaction on ``telemetry.db``, which never delays a durable commit."""
        result, _ = await trio.to_thread.run_sync(
            lambda: _counted(self._telemetry, function, *args, **kwargs), limiter=self._telemetry_turn
        )
        return result

    async def wait_commit(self, seen: int) -> int:
        """Return the number of commits once it is larger than ``seen``."""
        while self._commits <= seen:
            await self._committed.park()
        return self._commits


def transact(db: Database, function: Callable[Concatenate[Database, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run ``function(db, …)`` in one transaction; commit if it returns, roll back if it raises."""
    db.execute("BEGIN IMMEDIATE")
    try:
        result = function(db, *args, **kwargs)
        db.execute("COMMIT")
    except BaseException:
        # SQLite has rolled back by itself where the disk was full; COMMIT may fail and leave the transaction open.
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    return result


def _counted(
    db: Database, function: Callable[Concatenate[Database, P], R], *args: P.args, **kwargs: P.kwargs
) -> tuple[R, bool]:
    before = db.total_changes
    return transact(db, function, *args, **kwargs), db.total_changes != before


@contextmanager
def open_store(state: Path, *, create: bool = False) -> Iterator[Store]:
    """Open both databases below ``state``, checked and migrated.

    Raises: NotInitialisedError — there is none and ``create`` is false. DatabaseCorruptError — a file is damaged.
    """
    if not create and not (state / CORE).exists():
        raise NotInitialisedError(f"{state} holds no fleet; run: helm init --personal --state {state}")
    with (
        _open(state / CORE, core_migrations, synchronous="FULL") as core,
        _open(state / TELEMETRY, telemetry_migrations, synchronous="NORMAL") as telemetry,
    ):
        yield Store(core, telemetry)


@contextmanager
def _open(path: Path, migrations: Migrations, *, synchronous: str) -> Iterator[Database]:
    # SQLite takes an empty file for a new database; ours are never empty, so this one lost what it held.
    if path.exists() and path.stat().st_size == 0:
        raise _corrupt(path, "it is empty")
    # SQLite makes its files with the umask; ours has to be private from its first byte, and so have -wal and -shm.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE))
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=BUSY_TIMEOUT)
    try:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute(f"PRAGMA synchronous = {synchronous}")
            db.execute("PRAGMA foreign_keys = ON")
            verdict = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        except sqlite3.DatabaseError as error:
            raise _corrupt(path, str(error)) from error
        if verdict != "ok":
            raise _corrupt(path, verdict)
        db.row_factory = sqlite3.Row
        migrations.apply(sqlite_utils.Database(db))
        yield db
    finally:
        db.close()


def _corrupt(path: Path, why: str) -> DatabaseCorruptError:
    return DatabaseCorruptError(
        f"{path} is corrupt ({why}) and was left as it is; move it away and put a copy from a backup in its place"
    )


def microseconds(seconds: float) -> int:
    """Return a wall-clock time in whole microseconds, as every table keeps it."""
    return math.floor(seconds * 1_000_000)
