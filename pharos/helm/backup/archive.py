"""Making a backup: one sealed file, read back before it has its name. Works beside a running helm, and without one."""

from __future__ import annotations

import datetime
import hashlib
import os
import shutil
import sqlite3
import tarfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, BinaryIO, Final, cast

import attrs

import pharos
from pharos.helm.backup.scratch import open_scratch
from pharos.helm.ca.kit import ROOT, kit_key_of, learn_kit
from pharos.helm.ca.sealedfile import BackupHeader, SealedReader, SealedWriter
from pharos.helm.ca.vault import RecoveryKit, Vault, open_vault
from pharos.helm.errors import BackupError, NotInitialisedError
from pharos.helm.store.checks import CORE, TELEMETRY, damage_of_copy
from pharos.helm.store.condition import explain
from pharos.helm.store.copies import copy_database, sync_folder, write_anew
from pharos.helm.store.database import transact
from pharos.helm.store.fleet import get_fleet
from pharos.wire.files import PRIVATE_FILE
from pharos.wire.units import MIB

MEMBERS: Final = (CORE, TELEMETRY)
"""What may be in a backup."""
SUFFIX: Final = ".backup"
_BLOCK: Final = 1 * MIB
_TIME: Final = "%Y%m%dT%H%M%SZ"


@attrs.frozen(kw_only=True)
class Made:
    """A backup that was read back."""

    path: Path
    header: BackupHeader
    size: int
    sha256: str
    """Of the file."""


def make_backup(
    state: Path,
    folder: Path,
    *,
    at: int,
    with_root: bool = False,
    with_telemetry: bool = False,
    kit: RecoveryKit | None = None,
) -> Made:
    """Write a backup of the newest commit into ``folder`` and return it, durable and read back. Blocks.

    ``at`` is in microseconds since 1970. ``kit`` is needed once, by a fleet that an older helm made. Without
    ``with_root`` the root's key is left out, and what is restored can run the fleet but not rotate its authorities.

    Raises: NotInitialisedError — there is no fleet. BackupError — there is no room, or what was written is not what is
    read. BusyError, DatabaseCorruptError. StateFileError — the data key is not this fleet's.
    """
    core = state / CORE
    if not core.exists():
        raise NotInitialisedError(f"{state} holds no fleet; run: helm init --personal --state {state}")
    vault = open_vault(state)
    with _explained(core, folder), open_scratch(state) as scratch:
        copies = [_copied(core, scratch)]
        if with_telemetry and (state / TELEMETRY).exists():
            copies.append(_copied(state / TELEMETRY, scratch))
        with closing(sqlite3.connect(copies[0], isolation_level=None)) as db:
            db.row_factory = sqlite3.Row
            if kit is not None:
                transact(db, learn_kit, vault, kit)
            if not with_root:
                db.execute("DELETE FROM secrets WHERE name = ?", (ROOT,))
                write_anew(db)
            fleet, kit_key = get_fleet(db), kit_key_of(db, vault)
        name = datetime.datetime.fromtimestamp(at // 1_000_000, datetime.UTC).strftime(f"pharos-{fleet.id}-{_TIME}")
        path = folder / f"{name}{SUFFIX}"
        unnamed = folder / f".{path.name}.new"
        unnamed.unlink(missing_ok=True)
        descriptor = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, PRIVATE_FILE)
        try:
            with os.fdopen(descriptor, "r+b") as file:
                sealed = SealedWriter(
                    file,
                    kit_key=kit_key,
                    vault=vault,
                    fleet=fleet.id,
                    at=at,
                    epoch=fleet.epoch,
                    with_root=with_root,
                    by=pharos.__version__,
                )
                _fill(sealed, copies)
                file.flush()
                os.fsync(file.fileno())
            digest = _verify(unnamed, vault, {copy.name: _digest(copy) for copy in copies})
            unnamed.rename(path)
            sync_folder(folder)
        finally:
            unnamed.unlink(missing_ok=True)
    return Made(path=path, header=sealed.header, size=path.stat().st_size, sha256=digest)


@contextmanager
def open_members(reader: SealedReader) -> Iterator[Iterator[tuple[str, IO[bytes]]]]:
    """Give what is in a backup, name and contents, each to be read before the next; whole once the block is left.

    Raises: BackupError — something that no backup holds, or the file was cut or altered.
    """
    try:
        with tarfile.open(fileobj=cast(BinaryIO, reader), mode="r|", format=tarfile.PAX_FORMAT) as tar:
            yield _members(tar)
    except tarfile.TarError as error:
        raise BackupError(f"this backup is damaged: {error}") from error
    reader.finish()


def _members(tar: tarfile.TarFile) -> Iterator[tuple[str, IO[bytes]]]:
    seen: set[str] = set()
    for member in tar:
        # Names become paths of the same name below a folder of ours, and no others do.
        if member.name not in MEMBERS or member.name in seen or not member.isreg():
            raise BackupError(f"this backup holds {member.name!r}, which no backup does")
        seen.add(member.name)
        content = tar.extractfile(member)
        assert content is not None, "a regular file has contents"
        yield member.name, content
    if CORE not in seen:
        raise BackupError("this backup is damaged: there is no record in it")


def _copied(path: Path, scratch: Path) -> Path:
    copy = scratch / path.name
    copy_database(path, copy)
    if damage := damage_of_copy(copy):
        raise BackupError(f"{path} gave a copy that is not whole ({damage}); stop helm, its next start checks the file")
    return copy


def _fill(sealed: SealedWriter, copies: list[Path]) -> None:
    with tarfile.open(fileobj=cast(BinaryIO, sealed), mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for copy in copies:
            # Nothing of this machine's users or times goes along.
            about = tarfile.TarInfo(copy.name)
            about.size, about.mode = copy.stat().st_size, PRIVATE_FILE
            with copy.open("rb") as content:
                tar.addfile(about, content)
    sealed.close()


def _verify(path: Path, vault: Vault, wanted: dict[str, str]) -> str:
    """Read a backup back; return the SHA-256 of the file."""
    with path.open("rb") as file:
        header = BackupHeader.read(file)
        found = {}
        with open_members(SealedReader(file, header, header.key_by_vault(vault))) as members:
            for name, content in members:
                found[name] = hashlib.file_digest(content, "sha256").hexdigest()  # type: ignore[arg-type]
    if found != wanted:
        raise BackupError(f"{path} is not what was written to it; its disk is not to be trusted")
    return _digest(path)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _explained(core: Path, folder: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        meaning = explain(core, error)
        if meaning is None:
            raise
        raise meaning from error
    except OSError as error:
        raise BackupError(
            f"{error.filename or folder} cannot be written ({error.strerror}); make room there"
        ) from error


def copy_contents(content: IO[bytes], path: Path) -> None:
    """Write a new private file, durable. Raises: OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, PRIVATE_FILE)
    with os.fdopen(descriptor, "wb") as file:
        shutil.copyfileobj(content, file, _BLOCK)
        file.flush()
        os.fsync(file.fileno())
