"""Whether a database can be written, since when, and why not; SQLite's errors in helm's own words."""

from __future__ import annotations

import enum
import logging
import sqlite3
from pathlib import Path
from typing import Final

import attrs
import trio

from pharos.helm.errors import BusyError, DatabaseCorruptError, HelmError, ReadOnlyError
from pharos.helm.store.times import microseconds
from pharos.wire.units import SECONDS
from pharos.wire.world import wall_seconds

log = logging.getLogger(__name__)

# While nothing can be written, one write in so many seconds is tried in earnest: helm recovers within it.
RETRY_AFTER: Final = 1 * SECONDS

_NO_ROOM: Final = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_IOERR: "the disk reports errors",
    sqlite3.SQLITE_READONLY: "the file system is read-only",
    sqlite3.SQLITE_CANTOPEN: "its files cannot be opened",
}
_HELD: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
# Extended result codes hold the primary one in their low octet (sqlite.org/rescode.html).
_PRIMARY: Final = 0xFF


class Health(enum.Enum):
    """What a database is good for."""

    WRITABLE = "writable"
    READ_ONLY = "read-only"
    """Reads go on, and writes are tried again by themselves."""
    CORRUPT = "corrupt"
    """Nothing is written any more; helm has to be stopped and a copy put in place."""


@attrs.frozen(kw_only=True)
class State:
    """One state of a database, as an alarm shows it."""

    health: Health
    reason: str
    """For people; empty while all is well."""
    since: int
    """Microseconds since 1970."""


def code_of(error: sqlite3.Error) -> int:
    """Return the primary result code of an error, 0 for one that Python's module raised by itself."""
    return getattr(error, "sqlite_errorcode", 0) & _PRIMARY


def explain(path: Path, error: sqlite3.Error) -> HelmError | None:
    """Return what an error of SQLite means for helm, None where it is a bug of ours."""
    code = code_of(error)
    if code in _HELD:
        return BusyError(f"{path} is held by another program; nothing was changed, try again in a few seconds")
    if code in _NO_ROOM:
        return ReadOnlyError(
            f"{path} cannot be written: {_NO_ROOM[code]} ({error}); nothing was changed."
            " Make room, and helm goes on by itself"
        )
    if code in _DAMAGED:
        return DatabaseCorruptError(f"{path} is corrupt ({error}); stop helm, its next start names the way out")
    return None


class Condition:
    """The state of one database; used from Trio only. Whoever shows an alarm waits for changes."""

    def __init__(self, path: Path, *, retry_after: float = RETRY_AFTER) -> None:
        self._path = path
        self._retry_after = retry_after
        self._tried_at = 0.0
        self._state = State(health=Health.WRITABLE, reason="", since=microseconds(wall_seconds()))
        self._changed = trio.lowlevel.ParkingLot()

    @property
    def state(self) -> State:
        """The state as it is now."""
        return self._state

    async def wait_change(self, seen: State) -> State:
        """Return the state once it is another than ``seen``."""
        while self._state == seen:
            await self._changed.park()
        return self._state

    def may_try(self) -> bool:
        """Return whether a write should be tried now; a read-only database is not tried by every caller."""
        if self._state.health is Health.CORRUPT:
            return False
        if self._state.health is Health.WRITABLE:
            return True
        if trio.current_time() - self._tried_at < self._retry_after:
            return False
        self._tried_at = trio.current_time()
        return True

    def refusal(self) -> HelmError:
        """Return what a caller is told whose write is not tried."""
        kind = DatabaseCorruptError if self._state.health is Health.CORRUPT else ReadOnlyError
        return kind(self._state.reason)

    def judge(self, error: sqlite3.Error) -> HelmError | None:
        """Take note of a failed transaction; return what its caller is told, None where the error is a bug of ours."""
        meaning = explain(self._path, error)
        if isinstance(meaning, ReadOnlyError):
            self._tried_at = trio.current_time()
            self._become(Health.READ_ONLY, str(meaning))
        elif isinstance(meaning, DatabaseCorruptError):
            self.found_corrupt(str(meaning))
        return meaning

    def found_corrupt(self, reason: str) -> None:
        """Take note of damage: nothing is written any more."""
        self._become(Health.CORRUPT, reason)

    def wrote(self) -> None:
        """Take note of a committed change."""
        if self._state.health is Health.READ_ONLY:
            self._become(Health.WRITABLE, "")

    def _become(self, health: Health, reason: str) -> None:
        # What is corrupt stays so, and an alarm keeps the time at which it began.
        if self._state.health in (health, Health.CORRUPT):
            return
        self._state = State(health=health, reason=reason, since=microseconds(wall_seconds()))
        if health is Health.WRITABLE:
            log.warning("%s can be written again", self._path)
        else:
            log.error("%s", reason)
        self._changed.unpark_all()
