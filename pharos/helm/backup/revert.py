"""The way back to an older helm: the copies that a newer one made before it changed the databases.

The record that comes back is older than what nodes and devices hold, so it begins a new epoch as a restored one does,
and nothing of it lets anybody in. What is replaced stays in a folder of its own.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Final

import attrs
import sqlite_utils
from sqlite_utils import Migrations

from pharos.helm.backup.restore import renew_record
from pharos.helm.errors import BackupError
from pharos.helm.model.fleet import Fleet
from pharos.helm.store.changes import Act
from pharos.helm.store.checks import CORE, TELEMETRY, check_private, copy_to_go_back_to
from pharos.helm.store.connections import open_plainly, open_writing
from pharos.helm.store.copies import fold_log, sync_folder
from pharos.helm.store.database import transact
from pharos.helm.store.fleet import get_fleet
from pharos.helm.store.migrations import core_migrations, telemetry_migrations
from pharos.helm.store.sums import void
from pharos.wire.files import PRIVATE_FILE

WORK: Final = ".reverting"


@attrs.frozen(kw_only=True)
class Reverted:
    """What was done."""

    fleet: Fleet
    """As it is now, in its new epoch."""
    copies: dict[str, Path]
    """By database, what took its place."""
    kept: Path
    """Where the newer helm's databases are."""
    tickets: int
    """How many were withdrawn."""


def revert(state: Path, act: Act) -> Reverted:
    """Put what was before a newer helm in the place of the databases that it changed. Blocks; ``state`` is locked.

    It can be broken off and run again.

    Raises: BackupError — no newer helm has been here, or there is no copy from before it. StateFileError.
    """
    check_private(state)
    sources: dict[str, Path] = {}
    for name, migrations in ((CORE, core_migrations), (TELEMETRY, telemetry_migrations)):
        if (step := first_unknown(state / name, migrations)) is None:
            continue
        copy = copy_to_go_back_to(state / name, step)
        if copy is None:
            raise BackupError(f"there is no whole copy of {name} from before its step {step}; restore a backup instead")
        sources[name] = copy
    if not sources:
        raise BackupError("no newer helm has changed these databases: helm run takes them as they are")
    kept = Path(tempfile.mkdtemp(prefix="newer-", dir=state))
    work, tickets = state / WORK, 0
    try:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(mode=0o700)
        for name, copy in sources.items():
            shutil.copyfile(copy, work / name)
            (work / name).chmod(PRIVATE_FILE)
        # The record goes last: until then the same command does it all again.
        for name in sorted(sources, key=lambda name: name == CORE):
            if name == CORE:
                tickets = _renew(work / CORE, act, round(sources[CORE].stat().st_mtime * 1_000_000))
            _exchange(state / name, work / name, kept / name)
        shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        raise BackupError(f"{error.filename or state} cannot be written ({error.strerror}); make room there") from error
    with open_plainly(state / CORE) as db:
        fleet = get_fleet(db)
    return Reverted(fleet=fleet, copies=sources, kept=kept, tickets=tickets)


def first_unknown(path: Path, migrations: Migrations) -> str | None:
    """Return the first step in a database that this helm does not know."""
    if not path.exists():
        return None
    known = {step.name for step in migrations._migrations}
    with open_plainly(path) as db:
        applied = [step.name for step in migrations.applied(sqlite_utils.Database(db))]
    return next((name for name in applied if name not in known), None)


def _renew(core: Path, act: Act, made_at: int) -> int:
    # The copy may be of an older schema than ours.
    with open_writing(core, core_migrations, synchronous="FULL") as db:
        tickets = transact(db, renew_record, act, made_at=made_at, source="the copy")
        fold_log(db)
    return tickets


def _exchange(path: Path, new: Path, kept: Path) -> None:
    """Put ``new`` in the place of a database in one moment; what was there is at ``kept`` too before that."""
    void(path)
    with open_plainly(path) as db:
        # A log that stayed beside the new file would be written into it.
        fold_log(db)
    kept.hardlink_to(path)
    sync_folder(kept.parent)
    new.replace(path)
    sync_folder(path.parent)
