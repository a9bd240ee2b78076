"""Hourly copies of ``core.db``, each one a whole database that can take its place."""

from __future__ import annotations

import datetime
import functools
import logging
import os
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

import trio

from pharos.helm.errors import BusyError, DatabaseCorruptError, ReadOnlyError
from pharos.helm.store.checks import BEFORE, COPIES, CORE, copies_before, damage_of_copy, list_copies, size_with_log
from pharos.helm.store.condition import explain
from pharos.helm.store.sums import keep as keep_sum
from pharos.helm.store.sums import sum_of, void
from pharos.helm.store.times import microseconds
from pharos.helm.store.writer import Database
from pharos.wire.files import PRIVATE_DIRECTORY, PRIVATE_FILE
from pharos.wire.units import HOURS, MIB, MINUTES
from pharos.wire.world import in_thread, this_world, wall_seconds

if TYPE_CHECKING:
    # The store itself has its files copied before it changes their schema.
    from pharos.helm.store.database import Store

log = logging.getLogger(__name__)

INTERVAL: Final = 1 * HOURS
# After one that failed, so that an hour's gap does not become two.
AGAIN: Final = 5 * MINUTES
# What a copy must leave free: some thousand changes of the record itself.
SPARE: Final = 16 * MIB
# Two upgrades may be taken back. Such a copy of telemetry.db may be large, and no more than two lie about.
KEPT_BEFORE: Final = 2
_SCRATCH: Final = ".core.new"
_TIME: Final = "core-%Y%m%dT%H%M%SZ.db"


def wall_clock() -> int:
    """Return the time in microseconds since 1970."""
    return microseconds(wall_seconds())


def make_copy(state: Path, at: int, *, keep: int) -> Path:
    """Copy the newest commit of ``core.db`` below ``state``, remove what is too old, and return the copy.

    It is durable and checked when this returns. Writers go on meanwhile. ``at`` is in microseconds since 1970. Blocks.

    Raises: ReadOnlyError — there is no room. BusyError. DatabaseCorruptError — ``core.db`` cannot be copied whole.
    """
    path = copy_whole(state / CORE, _named(at))
    _remove(functools.partial(list_copies, state), keep)
    return path


def copy_before(database: Path, step: str) -> Path:
    """Copy a database as it is before a step of its schema, ``m0006_onboard``, and return the copy: the way back.

    An older copy of the same name is of a helm that has gone back, and makes way. Of older steps few are kept. Blocks.

    Raises: as `make_copy`; the database is as it was.
    """
    path = copy_whole(database, f"{BEFORE}{step[:5]}-{database.name}")
    _remove(functools.partial(copies_before, database), KEPT_BEFORE)
    log.warning("%s is changed for this version of helm; as it was before, it is kept as %s", database, path)
    return path


def copy_whole(core: Path, name: str) -> Path:
    """Copy a database into the folder of copies, durable and checked, under a name. Raises: as `make_copy`."""
    folder = core.parent / COPIES
    scratch = folder / _SCRATCH
    try:
        if not folder.exists():
            folder.mkdir(mode=PRIVATE_DIRECTORY, exist_ok=True)
            # No copy in it outlives a power cut before its own name does.
            sync_folder(core.parent)
        check_room(core, folder)
        copy_database(core, scratch)
        if damage := damage_of_copy(scratch):
            raise DatabaseCorruptError(
                f"{core} gave a copy that is not whole ({damage}); stop helm, its next start checks the file"
            )
        path = folder / name
        # An older copy may have had this name.
        void(path)
        this_world().replace(scratch, path)
        sync_folder(folder)
        keep_sum(path)
    except sqlite3.Error as error:
        meaning = explain(core, error)
        if meaning is None:
            raise
        if isinstance(meaning, ReadOnlyError):
            # What is full is where the copy goes.
            meaning = ReadOnlyError(f"{folder} cannot be written ({error}); make room there")
        raise meaning from error
    except OSError as error:
        raise ReadOnlyError(f"{folder} cannot be written ({error.strerror}); make room there") from error
    finally:
        with suppress(OSError):
            this_world().unlink(scratch, missing_ok=True)
    return path


def _remove(find: Callable[[], Sequence[Path]], keep: int) -> None:
    try:
        copies = find()
    except OSError as error:
        log.warning("old copies could not be looked for: %s", error)
        return
    for old in copies[:-keep]:
        try:
            this_world().unlink(sum_of(old), missing_ok=True)
            this_world().unlink(old)
        except OSError as error:
            # The new one stands; the next copy tries again.
            log.warning("%s could not be removed: %s", old, error.strerror)


async def run_copies(
    store: Store, keep: Callable[[], Awaitable[int]], *, clock: Callable[[], int] = wall_clock
) -> NoReturn:
    """Copy ``core.db`` each hour, for as long as helm runs. What keeps it from that is logged, and tried again.

    ``keep`` says how many copies stay (setting ``copies.hourly``), and ``clock`` gives microseconds since 1970.
    """
    while True:
        try:
            await trio.sleep(_seconds_to_next(list_copies(store.state), clock()))
            work = functools.partial(make_copy, store.state, clock(), keep=await keep())
            copy = await in_thread(work)
        except DatabaseCorruptError as error:
            store.condition.found_corrupt(str(error))
            await trio.sleep_forever()
        except (BusyError, OSError) as error:
            log.error("the hourly copy of the record was not made: %s", error)
            await trio.sleep(AGAIN)
        else:
            log.info("the record was copied to %s", copy)


def _seconds_to_next(copies: list[Path], now: int) -> float:
    """Return when the next copy is due. One that is dated in the future says nothing: a clock was wrong."""
    times = [age for path in copies if (age := now / 1e6 - _time_of(path)) >= 0]
    return max(INTERVAL - min(times), 0) if times else 0


def _named(at: int) -> str:
    return datetime.datetime.fromtimestamp(at // 1_000_000, datetime.UTC).strftime(_TIME)


def _time_of(path: Path) -> float:
    try:
        return datetime.datetime.strptime(path.name, _TIME).replace(tzinfo=datetime.UTC).timestamp()
    except ValueError:
        # Named by somebody else, at no time that there is.
        return float("inf")


def check_room(core: Path, folder: Path) -> None:
    """Raises: ReadOnlyError — there is no room for a copy of a database in a folder."""
    wanted = size_with_log(core) + SPARE
    disk = os.statvfs(folder)
    free = disk.f_bavail * disk.f_frsize
    if free < wanted:
        raise ReadOnlyError(f"{folder} has {free // MIB} MiB free, and the next copy needs {wanted // MIB} MiB")


def copy_database(core: Path, scratch: Path) -> None:
    """Write the newest commit of a database into a file of its own, private and durable. Blocks.

    Raises: sqlite3.Error, OSError.
    """
    this_world().unlink(scratch, missing_ok=True)
    # VACUUM INTO takes an empty file as well as none, and leaves its mode alone.
    world = this_world()
    descriptor = world.open(scratch, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, PRIVATE_FILE)
    try:
        # A connection of its own: whoever reads a list does not wait for it.
        with closing(sqlite3.connect(f"{core.as_uri()}?mode=ro", uri=True)) as db:
            db.execute("VACUUM INTO ?", (str(scratch),))
        world.fsync(descriptor)
    finally:
        world.close(descriptor)


def write_anew(db: Database) -> None:
    """Write a copy's file anew: what was deleted from it stays in free pages until then."""
    db.execute("VACUUM")


def fold_log(db: Database) -> None:
    """Put all of a database into its one file, so that the file can be moved without the log at its side."""
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.execute("PRAGMA journal_mode = DELETE")


def sync_folder(folder: Path) -> None:
    """Make durable which files a folder has. Raises: OSError."""
    world = this_world()
    descriptor = world.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        world.fsync(descriptor)
    finally:
        world.close(descriptor)
