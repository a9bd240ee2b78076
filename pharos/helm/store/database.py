"""The two databases of a helm, and the only bridges from Trio to them."""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Concatenate, Final, ParamSpec, TypeVar

import trio

from pharos.helm.errors import NotInitialisedError
from pharos.helm.store.checks import CORE as CORE
from pharos.helm.store.checks import TELEMETRY as TELEMETRY
from pharos.helm.store.checks import check_private, corrupt_error
from pharos.helm.store.condition import RETRY_AFTER, Condition, Health, code_of
from pharos.helm.store.connections import BUSY_TIMEOUT, CHECKED_AT_ONCE, is_checked_at_once, open_reading, open_writing
from pharos.helm.store.copies import copy_before
from pharos.helm.store.migrations import core_migrations, telemetry_migrations
from pharos.helm.store.sums import difference, keep, void
from pharos.helm.store.times import microseconds as microseconds
from pharos.helm.store.writer import GROUP, Writer
from pharos.helm.store.writer import Database as Database
from pharos.helm.store.writer import transact as transact
from pharos.wire.world import in_thread

P = ParamSpec("P")
R = TypeVar("R")


class File:
    """One open database: who writes, who reads beside them, and its condition."""

    def __init__(self, path: Path, writing: Database, reading: Database, *, group: int, retry_after: float) -> None:
        self.path: Final = path
        self.condition: Final = Condition(path, retry_after=retry_after)
        self._writer = Writer(writing, group=group)
        self._reading = reading
        self._reader = trio.CapacityLimiter(1)
        self.commits = 0
        self.commit_seconds = 0.0
        """How long those who changed something waited for it, together."""

    async def write(self, work: Callable[[Database], R]) -> tuple[R, bool]:
        """Run a function in a durable transaction; return its result, and whether it changed anything.

        While nothing can be written, functions that only read go on.

        Raises: BusyError, ReadOnlyError, DatabaseCorruptError.
        """
        if not self.condition.may_try():
            return await self._read_instead(work), False
        began = trio.current_time()
        try:
            result, wrote = await self._writer.run(work)
        except sqlite3.Error as error:
            if (meaning := self.condition.judge(error)) is None:
                raise
            raise meaning from error
        if wrote:
            self.condition.wrote()
            self.commits += 1
            self.commit_seconds += trio.current_time() - began
        return result, wrote

    async def read(self, work: Callable[[Database], R]) -> R:
        """Run a function on one snapshot, beside the writer.

        Raises: BusyError, DatabaseCorruptError.
        """
        try:
            return await in_thread(_at_one_moment, self._reading, work, limiter=self._reader)
        except sqlite3.Error as error:
            if _would_write(error) or (meaning := self.condition.judge(error)) is None:
                raise
            raise meaning from error

    async def _read_instead(self, work: Callable[[Database], R]) -> R:
        try:
            return await self.read(work)
        except sqlite3.OperationalError as error:
            if not _would_write(error):
                raise
        raise self.condition.refusal()


class Store:
    """The two open databases.

    ``run`` and ``record`` change them, ``read`` and ``read_telemetry`` look at what is committed and wait for nobody.
    """

    def __init__(self, state: Path, core: File, telemetry: File, *, telemetry_checked: bool) -> None:
        self.state: Final = state
        self.core: Final = core
        self.telemetry: Final = telemetry
        self.telemetry_checked: Final = telemetry_checked
        """Whether ``telemetry.db`` was small enough to be checked whole at start."""
        self._commits = 0
        self._committed = trio.lowlevel.ParkingLot()

    @property
    def condition(self) -> Condition:
        """Whether the record can be changed."""
        return self.core.condition

    @property
    def commits(self) -> int:
        """How many transactions have changed ``core.db`` through this store."""
        return self._commits

    async def run(self, function: Callable[Concatenate[Database, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run ``function(db, …)`` in one durable transaction on ``core.db``; its exceptions roll back and propagate.

        A cancelled caller still waits for its transaction: half a write does not exist.

        Raises: BusyError, ReadOnlyError, DatabaseCorruptError — nothing was changed.
        """
        result, wrote = await self.core.write(lambda db: function(db, *args, **kwargs))
        if wrote:
            self._commits += 1
            self._committed.unpark_all()
        return result

    async def read(self, function: Callable[Concatenate[Database, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run ``function(db, …)`` on one snapshot of ``core.db``, which holds every change acknowledged before.

        It waits for no write, and may make none.

        Raises: BusyError, DatabaseCorruptError.
        """
        return await self.core.read(lambda db: function(db, *args, **kwargs))

    async def record(self, function: Callable[Concatenate[Database, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run ``function(db, …)`` in one transaction on ``telemetry.db``, which never delays a durable commit.

        Raises: as ``run``.
        """
        result, _ = await self.telemetry.write(lambda db: function(db, *args, **kwargs))
        return result

    async def read_telemetry(
        self, function: Callable[Concatenate[Database, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run ``function(db, …)`` on one snapshot of ``telemetry.db``, beside those who record."""
        return await self.telemetry.read(lambda db: function(db, *args, **kwargs))

    async def wait_commit(self, seen: int) -> int:
        """Return the number of commits once it is larger than ``seen``."""
        while self._commits <= seen:
            await self._committed.park()
        return self._commits


@contextmanager
def open_store(
    state: Path,
    *,
    create: bool = False,
    busy_timeout: float = BUSY_TIMEOUT,
    retry_after: float = RETRY_AFTER,
    group: int = GROUP,
    checked_at_once: int = CHECKED_AT_ONCE,
) -> Iterator[Store]:
    """Open both databases below ``state``, checked and migrated; what is migrated was copied first. The caller holds
    the directory's lock. Once they are closed each has a sum beside it, by which the next opening sees any damage.

    Times are in seconds; ``group`` is how many changes may share a commit, ``checked_at_once`` how large, in bytes, a
    ``telemetry.db`` may be that is checked whole before this returns.

    Raises: NotInitialisedError — there is none and ``create`` is false. DatabaseCorruptError — a file is damaged.
    NewerDatabaseError — a newer helm has changed it. StateFileError — another user can reach them, or a sum is damaged.
    ReadOnlyError, BusyError — they cannot be opened now.
    """
    if not create and not (state / CORE).exists():
        raise NotInitialisedError(f"{state} holds no fleet; run: helm init --personal --state {state}")
    check_private(state)
    core_path, telemetry_path = state / CORE, state / TELEMETRY
    _take_sums(core_path, telemetry_path)
    opened: list[File] = []
    with ExitStack() as stack:
        # When their connections are closed.
        stack.callback(_keep_sums, opened, checked_at_once)
        writing = functools.partial(open_writing, busy_timeout=busy_timeout, before=copy_before)
        core = stack.enter_context(writing(core_path, core_migrations, synchronous="FULL"))
        telemetry = stack.enter_context(
            writing(telemetry_path, telemetry_migrations, synchronous="NORMAL", checked_at_once=checked_at_once)
        )
        opened += (
            File(
                path,
                db,
                stack.enter_context(open_reading(path, busy_timeout=busy_timeout)),
                group=group,
                retry_after=retry_after,
            )
            for path, db in ((core_path, core), (telemetry_path, telemetry))
        )
        yield Store(state, *opened, telemetry_checked=is_checked_at_once(telemetry_path, checked_at_once))


def _take_sums(*databases: Path) -> None:
    """Compare databases with their sums, and take those away once all are as they were closed."""
    for path in databases:
        if why := difference(path):
            raise corrupt_error(path, why)
    for path in databases:
        void(path)


def _keep_sums(opened: list[File], at_most: int) -> None:
    for file in opened:
        # What is known to be damaged must not look whole at the next start.
        if file.condition.state.health is not Health.CORRUPT:
            keep(file.path, at_most=at_most if file.path.name == TELEMETRY else float("inf"))


def _at_one_moment(db: Database, work: Callable[[Database], R]) -> R:
    db.execute("BEGIN")
    try:
        return work(db)
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


def _would_write(error: sqlite3.Error) -> bool:
    return code_of(error) == sqlite3.SQLITE_READONLY
