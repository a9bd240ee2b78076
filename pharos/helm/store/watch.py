"""What looks after the store while helm runs: alarms when it cannot be written, and the way back without anybody."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, NoReturn

import trio

from pharos.helm.errors import BusyError
from pharos.helm.store.checks import corrupt_error, find_damage
from pharos.helm.store.condition import RETRY_AFTER, Health, State
from pharos.helm.store.connections import open_reading
from pharos.helm.store.database import Database, File, Store
from pharos.wire.units import MIB, MINUTES
from pharos.wire.world import in_thread

log = logging.getLogger(__name__)

Announce = Callable[[Path, State], Awaitable[None]]
"""Is told each new state of a database; what it raises ends the watch."""

# A single row may find room in a file that exists already; with so much on the disk it is no stroke of luck.
ROOM: Final = 1 * MIB
# After a check of telemetry.db that could not be made.
CHECK_AGAIN: Final = 1 * MINUTES


async def watch_store(store: Store, announce: Announce, *, every: float = RETRY_AFTER) -> NoReturn:
    """Announce every change of the store's condition, and bring it back when its disk has room again."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_watch, store.core, announce, every)
        nursery.start_soon(_watch, store.telemetry, announce, every)
        if not store.telemetry_checked:
            nursery.start_soon(check_telemetry, store)
        await trio.sleep_forever()
    raise AssertionError("unreachable")


async def check_telemetry(store: Store) -> None:
    """Check a ``telemetry.db`` that was too large to be checked before helm started; what cannot be read, later."""
    while True:
        try:
            damage = await in_thread(_damage_in, store.telemetry.path)
            break
        except (BusyError, sqlite3.OperationalError) as error:
            log.warning("%s could not be checked: %s", store.telemetry.path, error)
            await trio.sleep(CHECK_AGAIN)
    if damage:
        store.telemetry.condition.found_corrupt(str(corrupt_error(store.telemetry.path, damage)))


async def _watch(file: File, announce: Announce, every: float) -> NoReturn:
    state = file.condition.state
    while True:
        if state.health is Health.READ_ONLY:
            with trio.move_on_after(every):
                await file.condition.wait_change(state)
            await _try_again(file)
            if file.condition.state == state:
                continue
            state = file.condition.state
        else:
            state = await file.condition.wait_change(state)
        await announce(file.path, state)


async def _try_again(file: File) -> None:
    if file.condition.state.health is not Health.READ_ONLY or not _has_room(file.path.parent):
        return
    try:
        await file.write(_probe)
    except BusyError:
        # It has noted that itself.
        return


def _has_room(folder: Path) -> bool:
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize >= ROOM


def _probe(db: Database) -> None:
    # The one table that both databases have, and that is never empty.
    db.execute("UPDATE _sqlite_migrations SET name = name")


def _damage_in(path: Path) -> str:
    with open_reading(path) as db:
        return find_damage(db)
