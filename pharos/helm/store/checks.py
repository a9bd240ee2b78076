"""Before helm trusts its state directory: nobody else reaches it, and the databases are whole."""

from __future__ import annotations

import os
import shlex
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from pharos.helm.errors import DatabaseCorruptError, NewerDatabaseError
from pharos.helm.store.sums import difference
from pharos.wire.errors import StateFileError

CORE: Final = "core.db"
TELEMETRY: Final = "telemetry.db"
COPIES: Final = "copies"
BEFORE: Final = "before-"
"""How copies are named that were made before a step of the schema: ``before-m0006-core.db``."""
_PATTERNS: Final = (f"{CORE}*", f"{TELEMETRY}*", "*.key", "*.sock", "lock", COPIES, f"{COPIES}/*")
_OTHERS: Final = 0o077


def check_private(state: Path) -> None:
    """Look at the modes of the state directory and of all in it that tells or controls something.

    Raises: StateFileError — another user can reach it (security.md row 57).
    """
    owners = {os.geteuid(), state.stat().st_uid}
    for path in (state, *_ours(state)):
        about = path.stat()
        mode = stat.S_IMODE(about.st_mode)
        if mode & _OTHERS:
            wanted = "700" if stat.S_ISDIR(about.st_mode) else "600"
            raise StateFileError(
                f"{path} is open to other users (mode {mode:04o}); run: chmod {wanted} {shlex.quote(str(path))}"
            )
        if about.st_uid not in owners:
            raise StateFileError(f"{path} belongs to user {about.st_uid}; chown it to the user that runs helm")


def _ours(state: Path) -> Iterator[Path]:
    for pattern in _PATTERNS:
        yield from sorted(state.glob(pattern))


def find_damage(db: sqlite3.Connection) -> str:
    """Return what is wrong with the structure of a database, an empty string where nothing is.

    This is SQLite's quick_check: every page, row and NOT NULL. A flipped bit inside of a value it does not see.

    Raises: sqlite3.OperationalError — it cannot be read at all, which says nothing about the file.
    """
    try:
        verdict: str = db.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        return str(error)
    except UnicodeDecodeError:
        # The message quotes what is damaged, and Python cannot read it.
        return "its schema is not text"
    # SQLite says where on a line of its own, and there is one place only.
    return "" if verdict == "ok" else " ".join(verdict.removeprefix("*** in database main ***").split())


def size_with_log(database: Path) -> int:
    """Return the bytes of a database and of its log, in which what is newest stands. Opens nothing. Raises: OSError."""
    size = 0
    for path in (database, database.with_name(f"{database.name}-wal")):
        with suppress(FileNotFoundError):
            size += path.stat().st_size
    return size


def list_copies(state: Path) -> list[Path]:
    """Return the hourly copies of ``core.db``, oldest first: their names are their times. Other files are let be."""
    return sorted((state / COPIES).glob("core-????????T??????Z.db"))


def copies_before(database: Path) -> list[Path]:
    """Return the copies of a database that were made before its schema was changed, oldest step first."""
    return sorted((database.parent / COPIES).glob(f"{BEFORE}m????-{database.name}"))


def copy_to_go_back_to(database: Path, step: str) -> Path | None:
    """Return the newest whole copy from before a step, ``m0006_onboard``, or None."""
    fits = [path for path in copies_before(database) if path.name <= f"{BEFORE}{step[:5]}-{database.name}"]
    return next((path for path in reversed(fits) if is_good(path)), None)


def newest_good_copy(state: Path) -> Path | None:
    """Return the newest copy whose structure is whole."""
    return next((path for path in reversed(list_copies(state)) if is_good(path)), None)


def is_good(path: Path) -> bool:
    """Return whether a file is a database whose structure is whole, and that is as its sum says where it has one."""
    try:
        return not damage_of_copy(path) and not difference(path)
    except (sqlite3.Error, StateFileError, OSError):
        return False


def damage_of_copy(path: Path) -> str:
    """Return what is wrong with the structure of a database that nobody writes; empty where nothing is.

    Raises: sqlite3.OperationalError, OSError — it cannot be read, which says nothing about it.
    """
    if path.stat().st_size == 0:
        return "it is empty"
    # immutable: it needs no lock and no files beside it.
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)) as db:
        return find_damage(db)


def corrupt_error(path: Path, why: str) -> DatabaseCorruptError:
    """Return the refusal of a damaged database, with what its owner can do."""
    state, found = path.parent, f"{path} is corrupt ({why}) and was left as it is"
    # With its -wal: SQLite would write that into whatever file stands at its side.
    away = f'mv {shlex.quote(str(path))}* "$(mktemp -d {shlex.quote(str(state))}/damaged-XXXXXX)"'
    if path.name != CORE:
        return DatabaseCorruptError(f"{found}. It holds samples and events only; to begin a new one: {away}")
    copy = newest_good_copy(state)
    if copy is None:
        return DatabaseCorruptError(
            f"{found}, and {state / COPIES} holds no good copy of it. Move it away and put one from a backup in its"
            f" place: {away}"
        )
    return DatabaseCorruptError(
        f"{found}. The newest good copy is {copy}. To go on with it: {away} &&"
        f" cp -p {shlex.quote(str(copy))} {shlex.quote(str(path))}"
    )


def newer_error(path: Path, step: str) -> NewerDatabaseError:
    """Return the refusal of a database that a newer helm has changed, ``step`` being the first that is unknown here."""
    found = f"{path} was written by a newer helm (its step {step}): run that version again"
    copy = copy_to_go_back_to(path, step)
    if copy is None:
        return NewerDatabaseError(f"{found}, or restore a backup from before it into another --state directory")
    return NewerDatabaseError(
        f"{found}, or go back to how it was before, {copy}: helm revert --state {shlex.quote(str(path.parent))}"
    )
