"""The way back: a backup becomes the state directory of a helm, in a new epoch, with nothing that lets anybody in.

Everything happens in a folder of its own below the state directory. ``core.db`` is put in place last: until then there
is no fleet, and the same command does it all again.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import BinaryIO, Final

import attrs

from pharos.helm.accounts.tickets import withdraw_ticket
from pharos.helm.backup.archive import copy_contents, open_members
from pharos.helm.backup.fence import next_epoch, set_epoch
from pharos.helm.ca.kit import ROOT, data_key_of, kit_key_of, learn_kit
from pharos.helm.ca.sealedfile import BackupHeader, SealedReader
from pharos.helm.ca.vault import RecoveryKit, Vault, keep_data_key
from pharos.helm.errors import AlreadyInitialisedError, BackupError
from pharos.helm.model.fleet import Fleet
from pharos.helm.model.tickets import TicketState
from pharos.helm.store.audit import append_audit
from pharos.helm.store.changes import Act
from pharos.helm.store.checks import CORE, TELEMETRY, is_good
from pharos.helm.store.connections import open_writing
from pharos.helm.store.copies import fold_log, sync_folder
from pharos.helm.store.database import Database, transact
from pharos.helm.store.fleet import get_fleet, has_fleet
from pharos.helm.store.migrations import core_migrations, telemetry_migrations
from pharos.helm.store.records import get_record
from pharos.helm.store.tickets import TICKETS
from pharos.helm.store.times import rfc3339
from pharos.wire.files import PRIVATE_DIRECTORY

WORK: Final = ".restoring"
_KEY_FILE: Final = "data.key"
_LOCK: Final = "lock"


@attrs.frozen(kw_only=True)
class Restored:
    """What was restored."""

    fleet: Fleet
    """As it is now, in its new epoch."""
    made_at: int
    """When the backup was made, in microseconds since 1970."""
    with_root: bool
    """Whether the root's key is in it, and the authorities can be rotated."""
    tickets: int
    """How many were withdrawn."""


def check_empty(state: Path) -> None:
    """Check that a state directory holds nothing but what an interrupted restore left.

    Raises: AlreadyInitialisedError — it holds something else.
    """
    found = {path.name for path in state.iterdir()} - {_LOCK}
    ours = {WORK, _KEY_FILE, TELEMETRY} if WORK in found else set()
    if found - ours:
        raise AlreadyInitialisedError(
            f"{state} is not empty ({', '.join(sorted(found - ours))}); restore into another --state directory"
        )


def restore_backup(file: BinaryIO, state: Path, kit: RecoveryKit, act: Act) -> Restored:
    """Open a backup with the recovery kit and make a helm of it in ``state``, which is empty and locked. Blocks.

    The epoch is new, all tickets, sessions and sign-in links are void, and no node is told anything before it was read.

    Raises: AlreadyInitialisedError. BackupError — it is damaged or there is no room. InvalidRequestError — the kit is
    another fleet's. DatabaseCorruptError.
    """
    check_empty(state)
    header = BackupHeader.read(file)
    reader = SealedReader(file, header, header.key_by_kit(kit))
    work = state / WORK
    try:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(mode=PRIVATE_DIRECTORY)
        with open_members(reader) as members:
            for name, content in members:
                copy_contents(content, work / name)
        restored = _renew(work, header, kit, act)
        names = [name for name in (_KEY_FILE, TELEMETRY, CORE) if (work / name).exists()]
        for name in names:
            (work / name).rename(state / name)
            sync_folder(state)
        shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        where = error.filename or state
        raise BackupError(f"{where} cannot be written ({error.strerror}); make room and restore again") from error
    return restored


def _renew(work: Path, header: BackupHeader, kit: RecoveryKit, act: Act) -> Restored:
    core = work / CORE
    if not is_good(core):
        raise BackupError("the record in this backup is damaged; take an older backup")
    # It may be of an older schema.
    with open_writing(core, core_migrations, synchronous="FULL") as db:
        if not has_fleet(db) or get_fleet(db).id != header.fleet:
            raise BackupError("the record in this backup is of another fleet than its header says")
        data_key = data_key_of(db, kit)
        vault = keep_data_key(work, data_key)
        restored = transact(db, begin_anew, vault, kit, header, act)
        fold_log(db)
    if (work / TELEMETRY).exists():
        with open_writing(work / TELEMETRY, telemetry_migrations, synchronous="FULL") as db:
            fold_log(db)
    return restored


def begin_anew(db: Database, vault: Vault, kit: RecoveryKit, header: BackupHeader, act: Act) -> Restored:
    """Make of a copy of the record the record of a helm that begins again."""
    learn_kit(db, vault, kit)
    # An altered secret is found now rather than at the next start.
    kit_key_of(db, vault)
    tickets = renew_record(db, act, made_at=header.at, source="the backup")
    db.execute("UPDATE fleet SET backed_up_at = ?", (header.at,))
    with_root = db.execute("SELECT 1 FROM secrets WHERE name = ?", (ROOT,)).fetchone() is not None
    return Restored(fleet=get_fleet(db), made_at=header.at, with_root=with_root, tickets=tickets)


def renew_record(db: Database, act: Act, *, made_at: int, source: str) -> int:
    """Begin a new epoch with an older record, in which nothing lets anybody in; return how many tickets were withdrawn.

    ``made_at`` is of when the record is, in microseconds since 1970; the audit names the ``source`` of it.
    """
    before = get_fleet(db)
    set_epoch(db, next_epoch(before.epoch, act.at))
    db.execute("UPDATE fleet SET restored_at = ?", (act.at,))
    tickets = _withdraw_tickets(db, act)
    # Whoever signed out, or was put out, after the backup would be in again; and a request that was repeated would get
    # an answer that nothing stands behind.
    for table in ("admin_sessions", "admin_links", "idempotency"):
        db.execute(f"DELETE FROM {table}")  # noqa: S608 -- constant text
    fleet = get_fleet(db)
    append_audit(
        db,
        at=act.at,
        actor=act.actor,
        via=act.via,
        verb="fleet_restored",
        subject=fleet.id,
        detail=f"from {source} of {rfc3339(made_at)}; epoch {before.epoch} became {fleet.epoch}",
    )
    return tickets


def _withdraw_tickets(db: Database, act: Act) -> int:
    unused = db.execute("SELECT id FROM tickets WHERE used_at IS NULL AND withdrawn_at IS NULL").fetchall()
    withdrawn = 0
    for row in unused:
        ticket = get_record(db, TICKETS, row["id"])
        if ticket.state(act.at) is TicketState.OPEN:
            withdraw_ticket(db, act, ticket.id, ticket.version)
            withdrawn += 1
    # A clock that is set back must not bring the expired ones back either.
    db.execute("UPDATE tickets SET withdrawn_at = ? WHERE used_at IS NULL AND withdrawn_at IS NULL", (act.at,))
    return withdrawn
