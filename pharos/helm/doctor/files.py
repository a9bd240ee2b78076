"""The state directory: private, whole, with room for what comes next."""

from __future__ import annotations

import datetime
import os
import shlex
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import sqlite_utils

from pharos.helm.ca.providers import Provider, provider_of
from pharos.helm.ca.vault import Vault, open_vault
from pharos.helm.store.checks import (
    CORE,
    TELEMETRY,
    check_private,
    corrupt_error,
    find_damage,
    list_copies,
    size_with_log,
)
from pharos.helm.store.copies import INTERVAL, SPARE
from pharos.helm.store.migrations import core_migrations
from pharos.helm.store.sums import difference
from pharos.wire.errors import StateFileError, WireError
from pharos.wire.findings import Finding, age_of, note, ok, problem, size_of
from pharos.wire.units import MIB

# With less than this a week of events may fill the disk.
COMFORTABLE: Final = 1_024 * MIB
# One copy may fail for want of room or time, and is made up for within minutes.
LATE: Final = 2 * INTERVAL


def check_modes(state: Path) -> Finding:
    """Look at who can reach the directory and what is in it."""
    try:
        check_private(state)
    except WireError as error:
        return problem("modes", str(error), "Do as it says: helm does not start before.")
    return ok("modes", "Nobody else can reach the state directory.")


def check_disk(state: Path) -> Finding:
    """Look whether the next copy of the record finds room."""
    disk = os.statvfs(state)
    free = disk.f_bavail * disk.f_frsize
    wanted = size_with_log(state / CORE) + SPARE
    says = f"The disk has {size_of(free)} free; the next copy of the record takes {size_of(wanted)}."
    if free < wanted:
        return problem("disk", says, f"Make room: the oldest files of {state / 'copies'} can go.")
    if free < COMFORTABLE:
        return note("disk", says, "Make room before it is full; helm reads only then, and tunnels go on.")
    return ok("disk", says)


def check_key(state: Path, *, running: bool) -> tuple[Finding, Vault | None]:
    """Look whether the data key is there; that it opens the secrets is seen when they are opened.

    A running helm has it open, and nobody is asked for a passphrase again.
    """
    lost = "Put data.key back, or restore a backup: helm restore FILE --state DIR"
    try:
        provider = provider_of(state)
    except (WireError, ValueError) as error:
        return problem("key", f"{error}.", lost), None
    kept = ok("key", f"The data key is there ({provider.value}).")
    if running:
        return kept, None
    try:
        return kept, open_vault(state)
    except WireError as error:
        if provider is Provider.KEY_FILE:
            return problem("key", f"{error}.", lost), None
        # Nobody gave the doctor what opens it; that says nothing about the service.
        return note("key", f"{error}.", "Nothing, if helm starts; nodes are not dialled this time."), None


def check_databases(state: Path) -> list[Finding]:
    """Look at the structure of both databases, page by page, and at what helm noted of them when it closed them."""
    findings = []
    for name in (CORE, TELEMETRY):
        path = state / name
        if not path.exists():
            continue
        try:
            with open_record(path) as db:
                damage = find_damage(db) or difference(path)
        except StateFileError as error:
            findings.append(problem(f"store:{name}", f"{error}.", "Do as it says: helm does not start before."))
            continue
        except (sqlite3.Error, OSError) as error:
            findings.append(
                problem(f"store:{name}", f"{path} cannot be read ({error}).", "See that no program holds it.")
            )
            continue
        if damage:
            findings.append(problem(f"store:{name}", str(corrupt_error(path, damage)), "Stop helm and do as it says."))
        else:
            findings.append(ok(f"store:{name}", f"{name} is whole."))
    return findings


def check_schema(db: sqlite3.Connection) -> Finding:
    """Compare the steps that the record has been through with those that this helm knows."""
    done = {step.name for step in core_migrations.applied(sqlite_utils.Database(db))}
    known = {step.name for step in core_migrations.pending(sqlite_utils.Database(memory=True))}
    if done - known:
        return problem(
            "schema",
            f"The record was written by a newer helm ({', '.join(sorted(done - known))}).",
            "Update this helm to that version or a later one.",
        )
    if known - done:
        return note(
            "schema", "The record is of an older schema.", "Nothing: the next start of helm brings it up to date."
        )
    return ok("schema", f"The record is of the newest schema ({max(known)}).")


def check_copies(state: Path, *, running: bool, now: datetime.datetime) -> Finding:
    """Look at the hourly copies."""
    copies = list_copies(state)
    if not copies:
        return note("copies", "There is no hourly copy of the record yet.", "Nothing: a running helm makes them.")
    age = now.timestamp() - copies[-1].stat().st_mtime
    says = f"The newest hourly copy of the record is {age_of(age)} old, of {len(copies)} that are kept."
    if running and age > LATE:
        return problem("copies", says, "See helm's log for why; it says so at ERROR.")
    return ok("copies", says)


@contextmanager
def open_record(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a database to look at, beside whoever writes it. Raises: sqlite3.Error."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None)) as db:
        db.row_factory = sqlite3.Row
        yield db


def found_nothing(state: Path) -> Finding:
    """Say that there is no fleet."""
    return problem(
        "fleet",
        f"{state} holds no fleet.",
        f"Make one (helm init --personal --state {shlex.quote(str(state))}), or restore a backup: helm restore FILE",
    )
