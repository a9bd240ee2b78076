"""What a database was when it was closed: its size and SHA-256, in a small file beside it.

SQLite's own check sees no bit that flips inside of a value; a sum sees each one that flips while nobody has the file
open. Whoever opens a database to write compares it first and then takes the sum away, durably, so that whoever dies
leaves none: a sum that is there is of a file that nobody has changed since.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shlex
from pathlib import Path
from typing import Final

from pharos.helm.errors import ReadOnlyError
from pharos.wire.files import Json, StateFile, sync_directory
from pharos.wire.world import this_world

log = logging.getLogger(__name__)

_FORMAT: Final = "pharos/helm-database-sum/v1"


def sum_of(database: Path) -> Path:
    """Return where the sum of a database is: ``core.db.sum``."""
    return database.with_name(f"{database.name}.sum")


def difference(database: Path) -> str:
    """Return how a database differs from its sum; empty where it does not, or where there is no sum. Reads it whole.

    It may be asked beside a helm that runs or begins to.

    Raises: StateFileError — the sum is damaged. OSError.
    """
    file = _file(database)
    wanted = file.load()
    if wanted is None or not database.exists() or _measured(database) == wanted:
        return ""
    # helm takes the sum away before it writes: one that is still there says that nobody writes.
    if file.load() != wanted:
        return ""
    if database.stat().st_size == 0:
        return "it is empty"
    path = sum_of(database)
    return (
        f"it is not what helm closed, by its checksum in {path.name}; if you have changed it on purpose, accept that:"
        f" rm {shlex.quote(str(path))}"
    )


def void(database: Path) -> None:
    """Take the sum away, before the database is changed. Raises: ReadOnlyError — nothing can be changed there."""
    try:
        this_world().unlink(sum_of(database), missing_ok=True)
        # Also where there is none: somebody who was killed may have taken it away, and not durably.
        sync_directory(database.parent)
    except OSError as error:
        raise ReadOnlyError(
            f"{database} cannot be written ({error.strerror}); make room, and start helm again"
        ) from error


def keep(database: Path, *, at_most: float = float("inf")) -> None:
    """Write the sum of a database that nobody has open. What keeps it from that is logged: then there is none.

    There is none of a file of more than ``at_most`` bytes either, and none where a log beside it has what is newest.
    """
    try:
        if database.with_name(f"{database.name}-wal").exists() or database.stat().st_size > at_most:
            return
        # First the database itself: a sum that outlives it would refuse what is left.
        _sync(database)
        _file(database).save(_measured(database))
    except OSError as error:
        log.warning("%s was closed without a checksum (%s); its next start checks less", database, error.strerror)


def _file(database: Path) -> StateFile:
    path = sum_of(database)
    return StateFile(
        path,
        _FORMAT,
        f"it is needed for nothing but a comparison. Remove it, and {database.name} is checked without it:"
        f" rm {shlex.quote(str(path))}",
    )


def _measured(database: Path) -> Json:
    with database.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
        return {"size": content.tell(), "sha256": digest}


def _sync(database: Path) -> None:
    world = this_world()
    descriptor = world.open(database, os.O_RDONLY | os.O_CLOEXEC)
    try:
        world.fsync(descriptor)
    finally:
        world.close(descriptor)
